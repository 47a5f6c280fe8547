"""DIMSE peers by AE title, as the JSON that describes them."""

from __future__ import annotations

from app.catalog.engine import Catalog

_ALL = "SELECT aet, json FROM peer ORDER BY aet"
_ONE = "SELECT json FROM peer WHERE aet = $1"
_PUT = """
INSERT INTO peer (aet, json) VALUES ($1, $2::jsonb)
    ON CONFLICT (aet) DO UPDATE SET json = excluded.json, updated_at = now()
RETURNING xmax = 0
"""
_DELETE = "DELETE FROM peer WHERE aet = $1 RETURNING aet"


async def everyone(catalog: Catalog) -> list[tuple[str, str]]:
    """(AE title, JSON text) of every peer, by AE title."""
    return [(row["aet"], row["json"]) for row in await catalog.fetch(_ALL)]


async def find(catalog: Catalog, aet: str) -> str | None:
    """The JSON text of a peer; None when it is not registered."""
    found: str | None = await catalog.fetchval(_ONE, aet)
    return found


async def put(catalog: Catalog, aet: str, text: str) -> bool:
    """Registers a peer, or replaces what was known of it; whether it is new."""
    return bool(await catalog.fetchval(_PUT, aet, text))


async def delete(catalog: Catalog, aet: str) -> bool:
    """Forgets a peer; False when there is none."""
    return await catalog.fetchval(_DELETE, aet) is not None
