"""The messages of the HL7 feed, as they came and how they were acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from app.catalog.engine import Catalog

Row = asyncpg.Record

_KEEP = "INSERT INTO hl7_message (sender, kind, control_id, message) VALUES ($1, $2, $3, $4) RETURNING id"
_ACKNOWLEDGED = "UPDATE hl7_message SET acknowledged = $2, reason = $3 WHERE id = $1"
_REPLAYED = "UPDATE hl7_message SET acknowledged = $2, reason = $3, replayed_at = now() WHERE id = $1"
_PAGE = """
SELECT id, received_at, sender, kind, control_id, message, acknowledged, reason, replayed_at FROM hl7_message
 WHERE id > $1 AND received_at >= $2 AND ($3 = 0 OR id = $3) AND (NOT $4 OR acknowledged <> 'AA')
 ORDER BY id LIMIT $5"""
_FORGET = "DELETE FROM hl7_message WHERE received_at < now() - $1::float8 * interval '1 day'"
_EVER = datetime(1970, 1, 1)


async def keep(catalog: Catalog, sender: str, kind: str, control_id: str, message: bytes) -> int:
    """Keeps a message before anything is done with it; its number."""
    number: int = await catalog.fetchval(_KEEP, sender, kind, control_id, message)
    return number


async def acknowledge(catalog: Catalog, number: int, code: str, reason: str, *, again: bool = False) -> None:
    """Notes what was made of a message; `again`: it was replayed."""
    await catalog.execute(_REPLAYED if again else _ACKNOWLEDGED, number, code, reason)


async def page(
    catalog: Catalog, after: int, limit: int, *, since: datetime | None = None, number: int = 0, failed: bool = False
) -> Sequence[Row]:
    """Messages in the order they came, from behind the one numbered `after`: since a moment, the one of a number, those
    that were not accepted."""
    return await catalog.fetch(_PAGE, after, (since or _EVER).astimezone(), number, failed, limit)


async def forget(catalog: Catalog, days: float) -> int:
    """Removes messages older than `days`; how many."""
    return int((await catalog.execute(_FORGET, days)).rpartition(" ")[2])
