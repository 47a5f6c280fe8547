"""How far the change feed was followed for the routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.catalog.engine import Catalog

_BEHIND = """
SELECT EXISTS (SELECT FROM change_cursor r, change_cursor h
                WHERE r.name = 'routes' AND h.name = 'horizon' AND r.id < h.id)
"""
_FOLLOW = "SELECT id FROM change_cursor WHERE name = 'routes' FOR UPDATE SKIP LOCKED"
_SHOWN = """
SELECT e.uid, i.uid
  FROM deletion d JOIN instance i ON i.id = ANY (d.instances) AND i.state = 0 JOIN series e ON e.id = i.series_id
 WHERE d.id = $1 ORDER BY i.id
"""
_FOLLOWED = "UPDATE change_cursor SET id = $1 WHERE name = 'routes'"


async def is_behind(catalog: Catalog) -> bool:
    """Whether there are events that no route was asked about."""
    return bool(await catalog.fetchval(_BEHIND))


@asynccontextmanager
async def following(catalog: Catalog) -> AsyncIterator[tuple[Any, int] | None]:
    """A connection inside a transaction, and how far the feed was followed; None when another process follows it now.
    Jobs that are added and `followed` are committed together, so that each event makes its jobs once."""
    async with catalog.connection() as connection, connection.transaction():
        position = await connection.fetchval(_FOLLOW)
        yield None if position is None else (connection, position)


async def shown_again(connection: Any, deletion: int) -> list[tuple[str, str]]:
    """Series and SOP Instance UIDs of what a deletion had hidden and is visible now."""
    return [tuple(row) for row in await connection.fetch(_SHOWN, deletion)]


async def followed(connection: Any, position: int) -> None:
    """The feed was followed up to `position`."""
    await connection.execute(_FOLLOWED, position)
