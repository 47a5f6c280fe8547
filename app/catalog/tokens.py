"""API tokens: only the SHA-256 of a token is kept, so that the catalog's dump opens no door."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.catalog.engine import Catalog

_CREATE = "INSERT INTO token (name, hash, scopes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id"
_LIST = "SELECT name, scopes, created_at, last_used_at, revoked_at FROM token ORDER BY id"
_REVOKE = "UPDATE token SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL RETURNING id"
_FIND = "SELECT name, scopes, last_used_at FROM token WHERE hash = $1 AND revoked_at IS NULL"
_TOUCH = """
UPDATE token SET last_used_at = now()
 WHERE hash = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token, which is not the token itself."""

    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


async def create(catalog: Catalog, name: str, digest: bytes, scopes: tuple[str, ...]) -> bool:
    """Keeps a new token; False when the name is taken, which a revoked token's name stays."""
    return await catalog.fetchval(_CREATE, name, digest, list(scopes)) is not None


async def everyone(catalog: Catalog) -> list[Token]:
    """Every token, revoked ones too, oldest first."""
    rows = await catalog.fetch(_LIST)
    return [
        Token(row["name"], tuple(row["scopes"]), row["created_at"], row["last_used_at"], row["revoked_at"])
        for row in rows
    ]


async def revoke(catalog: Catalog, name: str) -> bool:
    """Ends a token; False when there is none of that name that is valid."""
    return await catalog.fetchval(_REVOKE, name) is not None


async def find(catalog: Catalog, digest: bytes) -> tuple[str, frozenset[str]] | None:
    """(name, scopes) of the valid token with this SHA-256; notes its use, to the minute."""
    row = await catalog.fetchrow(_FIND, digest)
    if row is None:
        return None
    await catalog.execute(_TOUCH, digest)
    return row["name"], frozenset(row["scopes"])
