"""The models say what the migrated database is."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import BigInteger, Connection, Text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from app.catalog import tables


async def differences(url: str) -> list[Any]:
    """What alembic would do to the database to make it equal to the models."""

    def compare(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        found: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata)
        return found

    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


async def test_models_equal_the_migrated_database(database_url: str) -> None:
    assert await differences(database_url) == []


async def test_a_forgotten_column_would_be_seen(database_url: str) -> None:
    column = tables.Study.__table__.columns["accession_number"]  # type: ignore[attr-defined]
    kept, column.type = column.type, BigInteger()
    try:
        assert await differences(database_url)
    finally:
        column.type = kept
    assert isinstance(kept, Text)
