"""Rules by which instances are sent on, as the JSON that describes them; and how far the feed was followed for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.catalog.engine import Catalog

_ALL = "SELECT name, json FROM route ORDER BY name"
_ONE = "SELECT json FROM route WHERE name = $1"
_PUT = """
INSERT INTO route (name, json) VALUES ($1, $2::jsonb)
    ON CONFLICT (name) DO UPDATE SET json = excluded.json, updated_at = now()
RETURNING xmax = 0
"""
_DELETE = "DELETE FROM route WHERE name = $1 RETURNING name"
_BEHIND = """
SELECT EXISTS (SELECT FROM change_cursor r, change_cursor h
                WHERE r.name = 'routes' AND h.name = 'horizon' AND r.id < h.id)
"""
_FOLLOW = "SELECT id FROM change_cursor WHERE name = 'routes' FOR UPDATE SKIP LOCKED"
_FOLLOWED = "UPDATE change_cursor SET id = $1 WHERE name = 'routes'"


async def everyone(catalog: Catalog) -> list[tuple[str, str]]:
    """(name, JSON text) of every route, by name."""
    return [(row["name"], row["json"]) for row in await catalog.fetch(_ALL)]


async def find(catalog: Catalog, name: str) -> str | None:
    """The JSON text of a route; None when there is none."""
    found: str | None = await catalog.fetchval(_ONE, name)
    return found


async def put(catalog: Catalog, name: str, text: str) -> bool:
    """Adds a route, or replaces it; whether it is new."""
    return bool(await catalog.fetchval(_PUT, name, text))


async def delete(catalog: Catalog, name: str) -> bool:
    """Removes a route; False when there is none."""
    return await catalog.fetchval(_DELETE, name) is not None


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


async def followed(connection: Any, position: int) -> None:
    """The feed was followed up to `position`."""
    await connection.execute(_FOLLOWED, position)
