"""Brings the catalog's schema up to date, and refuses servers that would lose what was committed."""

from __future__ import annotations

import asyncio
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from app.errors import CannotStart

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0016"
OLDEST_MAJOR = 14
_LOCK = 0x66696C65  # any number that no other program locks: 'file'
_MUST_BE_ON = ("fsync", "full_page_writes", "synchronous_commit")
_CONNECT_ERRORS = (OSError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, asyncio.TimeoutError)


async def prepare(url: str, *, patience: float = 60.0) -> None:
    """Waits up to `patience` seconds for the server, checks it, and runs the steps that are missing.

    Several nodes may call it at once. Raises `CannotStart`."""
    connection = await _connect(url, patience)
    try:
        await _check_server(connection)
        if await _revision(connection) == HEAD:
            return
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)  # until this connection closes
        if await _revision(connection) != HEAD:
            await _upgrade(url)
    finally:
        await connection.close()


async def _connect(url: str, patience: float) -> Any:
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            return await asyncpg.connect(url, timeout=10)
        except _CONNECT_ERRORS as error:
            if asyncio.get_running_loop().time() > deadline:
                raise CannotStart(f"The database cannot be reached: {type(error).__name__}: {error}") from error
        except (asyncpg.PostgresError, ValueError, asyncpg.InterfaceError) as error:
            raise CannotStart(f"The database refuses us: {error}. Check FILEROOM_DATABASE_URL.") from error
        await asyncio.sleep(0.5)


async def _check_server(connection: Any) -> None:
    """A server that forgets commits after a power loss would make our success a lie."""
    major = connection.get_server_version().major
    if major < OLDEST_MAJOR:
        raise CannotStart(f"The database is PostgreSQL {major}; Fileroom needs {OLDEST_MAJOR} or newer.")
    for name in _MUST_BE_ON:
        value = await connection.fetchval("SELECT current_setting($1)", name)
        if value == "off":
            raise CannotStart(
                f"The database runs with {name} = off, so a power loss could take what was stored successfully.\n"
                f"Type: psql -c 'ALTER SYSTEM SET {name} = on' -c 'SELECT pg_reload_conf()'"
            )


async def _revision(connection: Any) -> str | None:
    """The step that the database is at; None before the first one. Refuses a step that only newer code can know."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    if revision is not None and revision > HEAD:
        raise CannotStart(
            f"The database is newer than this Fileroom: it is at step {revision}, and we know the steps up to {HEAD}.\n"
            "Install the Fileroom that made it, or a newer one."
        )
    return revision


async def _upgrade(url: str) -> None:
    # Imported here: a server whose schema is up to date needs neither in memory.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    def run_steps(connection: Connection, folder: Path) -> None:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async def connect() -> Any:  # asyncpg reads the address, whose options SQLAlchemy does not all know
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        with as_file(files("migrations")) as folder:
            await connection.run_sync(run_steps, folder)
        await connection.commit()
    await engine.dispose()
