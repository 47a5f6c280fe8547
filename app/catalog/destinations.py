"""Other DICOMweb servers by name, as the JSON that describes them."""

from __future__ import annotations

from app.catalog.engine import Catalog

_ALL = "SELECT name, json FROM destination ORDER BY name"
_ONE = "SELECT json FROM destination WHERE name = $1"
_PUT = """
INSERT INTO destination (name, json) VALUES ($1, $2::jsonb)
    ON CONFLICT (name) DO UPDATE SET json = excluded.json, updated_at = now()
RETURNING xmax = 0
"""
_DELETE = "DELETE FROM destination WHERE name = $1 RETURNING name"


async def everyone(catalog: Catalog) -> list[tuple[str, str]]:
    """(name, JSON text) of every destination, by name."""
    return [(row["name"], row["json"]) for row in await catalog.fetch(_ALL)]


async def find(catalog: Catalog, name: str) -> str | None:
    """The JSON text of a destination; None when it is not registered."""
    found: str | None = await catalog.fetchval(_ONE, name)
    return found


async def put(catalog: Catalog, name: str, text: str) -> bool:
    """Registers a destination, or replaces what was known of it; whether it is new."""
    return bool(await catalog.fetchval(_PUT, name, text))


async def delete(catalog: Catalog, name: str) -> bool:
    """Forgets a destination; False when there is none."""
    return await catalog.fetchval(_DELETE, name) is not None
