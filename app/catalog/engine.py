"""The catalog's connections: an asyncpg pool, one call a statement; the one place where its errors get a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from app.errors import BadRequest, DatabaseDown

_DOWN = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
)


class _Connection(asyncpg.Connection):
    """Given back without the usual clean-up, a round trip of its own: no statement of ours leaves anything behind."""

    def get_reset_query(self) -> str:
        """Nothing to undo."""
        return ""


class Catalog:
    """A pool that opens by itself and again after the database came back. Statements are constant SQL with `$n`."""

    def __init__(self, url: str, *, size: int = 8, statement_seconds: float = 5.0) -> None:
        self.url = url
        self._size = size
        self._statement_seconds = statement_seconds
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        """The pool, opened at first use."""
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        self.url,
                        min_size=1,
                        max_size=self._size,
                        max_inactive_connection_lifetime=0,
                        timeout=5,
                        connection_class=_Connection,
                        command_timeout=60,
                        server_settings={"application_name": "fileroom", "jit": "off", "synchronous_commit": "on"},
                    )
        return self._pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of the pool; whatever says that the database is away becomes `DatabaseDown`."""
        try:
            pool = self._pool or await self.pool()
            connection = await pool.acquire(timeout=10)
        except _DOWN as error:
            raise DatabaseDown("the catalog cannot be reached") from error
        try:
            yield connection
        except asyncpg.QueryCanceledError as error:
            raise BadRequest("the search takes longer than the server allows; add a selective key") from error
        except _DOWN as error:
            raise DatabaseDown("the connection to the catalog broke") from error
        finally:
            await pool.release(connection)

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """All rows of one statement."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *args)  # type: ignore[no-any-return]

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        """The first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args)  # type: ignore[no-any-return]

    async def fetchval(self, sql: str, *args: object) -> Any:
        """The first column of the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        """Runs one statement; its command tag."""
        async with self.connection() as connection:
            return await connection.execute(sql, *args)  # type: ignore[no-any-return]

    async def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Runs one statement for each row, in one transaction."""
        async with self.connection() as connection:
            await connection.executemany(sql, rows)

    async def search(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """As `fetch`, within the statement limit of searches."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *args, timeout=self._statement_seconds)  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Closes every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None
