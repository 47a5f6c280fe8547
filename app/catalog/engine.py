"""The catalog's connections: one call a statement; the one place where its errors get a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from app.catalog.bell import Bell
from app.catalog.committed_values import CommittedValues
from app.errors import BadRequest, DatabaseDown

_DOWN = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
)

_SESSION = {"application_name": "fileroom", "jit": "off", "synchronous_commit": "on"}


class Catalog:
    """A few connections, opened at need and again after the database came back. Statements are constant SQL with `$n`.

    asyncpg's own pool costs a task and a clean-up round trip for each statement; no statement of ours leaves anything
    behind on its connection, and one whose statement was cut short is closed."""

    def __init__(self, url: str, *, size: int = 8, statement_seconds: float = 5.0) -> None:
        self.url = url
        self.bell = Bell()
        self.committed = CommittedValues()
        self._statement_seconds = statement_seconds
        self._idle: list[Any] = []
        self._places = asyncio.Semaphore(size)
        self.busy = 0

    @property
    def idle(self) -> int:
        """Connections that wait for a statement; `busy` is how many run one."""
        return len(self._idle)

    async def _take(self) -> Any:
        await self._places.acquire()
        self.busy += 1
        try:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
            return await asyncpg.connect(self.url, timeout=5, command_timeout=60, server_settings=_SESSION)
        except BaseException as error:
            self.busy -= 1
            self._places.release()
            if isinstance(error, _DOWN):
                raise Unreached("the catalog cannot be reached") from error
            raise

    def _give(self, connection: Any, error: BaseException | None) -> None:
        if error is None or isinstance(error, asyncpg.PostgresError):
            self._idle.append(connection)
        else:
            connection.terminate()
        self.busy -= 1
        self._places.release()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for several statements; whatever says that the database is away becomes `DatabaseDown`."""
        connection = await self._take()
        failure: BaseException | None = None
        try:
            yield connection
        except BaseException as error:
            failure = error
            if (named := _named(error)) is None:
                raise
            raise named from error
        finally:
            self._give(connection, failure)

    async def _run(self, method: str, sql: str, args: tuple[object, ...], timeout: float | None = None) -> Any:
        connection = await self._take()
        failure: BaseException | None = None
        try:
            return await getattr(connection, method)(sql, *args, timeout=timeout)
        except BaseException as error:
            failure = error
            if (named := _named(error)) is None:
                raise
            raise named from error
        finally:
            self._give(connection, failure)

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """All rows of one statement."""
        return await self._run("fetch", sql, args)  # type: ignore[no-any-return]

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        """The first row, or None."""
        return await self._run("fetchrow", sql, args)  # type: ignore[no-any-return]

    async def fetchval(self, sql: str, *args: object) -> Any:
        """The first column of the first row, or None."""
        return await self._run("fetchval", sql, args)

    async def execute(self, sql: str, *args: object) -> str:
        """Runs one statement; its command tag."""
        return await self._run("execute", sql, args)  # type: ignore[no-any-return]

    async def search(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """As `fetch`, within the statement limit of searches; raises `BadRequest` over it."""
        try:
            return await self._run("fetch", sql, args, self._statement_seconds)  # type: ignore[no-any-return]
        except TooSlow as error:
            raise BadRequest("the search takes longer than the server allows; add a selective key") from error

    async def close(self) -> None:
        """Closes every idle connection."""
        while self._idle:
            await self._idle.pop().close()


class Unreached(DatabaseDown):
    """No connection could be had: for certain nothing was done."""


class TooSlow(DatabaseDown):
    """The statement did not end within its time."""


def _named(error: BaseException) -> DatabaseDown | None:
    """The error of ours for one that says that the database is away or slow; None for any other."""
    if isinstance(error, TimeoutError | asyncpg.QueryCanceledError | asyncpg.DeadlockDetectedError):
        return TooSlow("the catalog did not answer in time")
    if isinstance(error, _DOWN):
        return DatabaseDown("the connection to the catalog broke")
    return None
