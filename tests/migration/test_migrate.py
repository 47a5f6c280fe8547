"""The steps of the schema: run once by many, refused when the database is newer, and equal to the models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.catalog import migrate
from app.catalog.embedded import Embedded
from app.catalog.migrate import prepare
from app.errors import CannotStart
from tests.support.database import DatabaseServer, execute


@pytest.fixture
def empty_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create(migrated=False)
    yield url
    database_server.drop(url)


async def test_several_nodes_may_start_at_once(empty_url: str) -> None:
    await asyncio.gather(*(prepare(empty_url) for _ in range(4)))
    connection = await asyncpg.connect(empty_url)
    assert [row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version")] == [migrate.HEAD]
    assert await connection.fetchval("SELECT count(*) FROM instance") == 0
    await connection.close()


async def test_newer_database_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(CannotStart, match="newer than this Fileroom: it is at step 9999"):
        await prepare(database_url)


def test_head_is_the_last_step() -> None:
    from importlib.resources import files

    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_server_that_forgets_commits_is_refused(tmp_path: Path, name: str) -> None:
    server = Embedded()
    try:
        url = server.start(tmp_path / "data")
        execute(url, f"ALTER SYSTEM SET {name} = off", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)")
        with pytest.raises(CannotStart, match=f"{name} = off"):
            asyncio.run(prepare(url))
    finally:
        server.stop()


async def test_unreachable_database_is_named() -> None:
    with pytest.raises(CannotStart, match="cannot be reached"):
        await prepare("postgresql://postgres@127.0.0.1:1/none", patience=0)
