"""A PostgreSQL server for the tests, and a fresh migrated database for each test that asks for one.

FILEROOM_TEST_DATABASE_URL names a server to use (its role may create databases); without it an embedded one starts.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from app.catalog.embedded import Embedded
from app.catalog.engine import Catalog
from app.catalog.migrate import prepare


def with_database(url: str, name: str) -> str:
    """`url` with another database name."""
    return re.sub(r"^(postgresql://[^/]*)/?[^?]*", rf"\1/{name}", url)


def execute(url: str, *statements: str) -> None:
    """Runs statements on a connection of their own."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


class DatabaseServer:
    """Makes and drops databases. `url` names a database that exists."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.template = f"fileroom_template_{uuid4().hex[:8]}"
        execute(url, f"CREATE DATABASE {self.template}")
        asyncio.run(prepare(with_database(url, self.template)))

    def create(self, *, migrated: bool = True) -> str:
        """The URL of a new database, with the whole schema or with nothing in it."""
        name = f"fileroom_test_{uuid4().hex[:12]}"
        template = self.template if migrated else "template0"
        execute(self.url, f"CREATE DATABASE {name} TEMPLATE {template}")
        return with_database(self.url, name)

    def drop(self, url: str) -> None:
        """Drops a database of `create`, whoever is connected."""
        match = re.search(r"fileroom_\w+", url)
        assert match is not None
        execute(self.url, f"DROP DATABASE IF EXISTS {match[0]} WITH (FORCE)")


@pytest.fixture(scope="session")
def database_server() -> Iterator[DatabaseServer]:
    """The server of the whole run."""
    given = os.environ.get("FILEROOM_TEST_DATABASE_URL")
    if given:
        server = DatabaseServer(given)
        yield server
        execute(server.url, f"DROP DATABASE {server.template} WITH (FORCE)")
        return
    data = Path(tempfile.mkdtemp(prefix="fileroom-"))
    embedded = Embedded()
    try:
        yield DatabaseServer(embedded.start(data))
    finally:
        embedded.stop()
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def database_url(database_server: DatabaseServer) -> Iterator[str]:
    """A fresh, migrated database."""
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    """A catalog on a fresh, migrated database."""
    catalog = Catalog(database_url)
    yield catalog
    await catalog.close()
