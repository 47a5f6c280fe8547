"""What administrators register by name, as the JSON that describes it: one table of names and JSON each."""

from __future__ import annotations

from dataclasses import dataclass

from app.catalog.engine import Catalog


@dataclass(frozen=True, slots=True)
class Registry:
    """The statements about one table, which has the columns name, json and updated_at."""

    all: str
    one: str
    insert: str
    remove: str

    async def everyone(self, catalog: Catalog) -> list[tuple[str, str]]:
        """(name, JSON text) of each, by name."""
        return [(row["name"], row["json"]) for row in await catalog.fetch(self.all)]

    async def find(self, catalog: Catalog, name: str) -> str | None:
        """The JSON text of one; None when it is not registered."""
        found: str | None = await catalog.fetchval(self.one, name)
        return found

    async def put(self, catalog: Catalog, name: str, text: str) -> bool:
        """Registers one, or replaces what was known of it; whether it is new."""
        return bool(await catalog.fetchval(self.insert, name, text))

    async def delete(self, catalog: Catalog, name: str) -> bool:
        """Forgets one; False when there is none."""
        return await catalog.fetchval(self.remove, name) is not None


DESTINATIONS = Registry(
    "SELECT name, json FROM destination ORDER BY name",
    "SELECT json FROM destination WHERE name = $1",
    "INSERT INTO destination (name, json) VALUES ($1, $2::jsonb)"
    " ON CONFLICT (name) DO UPDATE SET json = excluded.json, updated_at = now() RETURNING xmax = 0",
    "DELETE FROM destination WHERE name = $1 RETURNING name",
)
"""Other DICOMweb servers."""
ROUTES = Registry(
    "SELECT name, json FROM route ORDER BY name",
    "SELECT json FROM route WHERE name = $1",
    "INSERT INTO route (name, json) VALUES ($1, $2::jsonb)"
    " ON CONFLICT (name) DO UPDATE SET json = excluded.json, updated_at = now() RETURNING xmax = 0",
    "DELETE FROM route WHERE name = $1 RETURNING name",
)
"""Rules by which instances are sent on."""
