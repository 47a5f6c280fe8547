"""Deletes, their undo, and what the sweeper takes out for good. The functions are in migrations/sql/0001_delete.sql."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.catalog.engine import Catalog

_DELETE = "SELECT deletion, series_uid, sop_uid, version FROM delete_instances($1, $2, $3, $4, $5)"
_UNDO = "SELECT study_uid, series_uid, sop_uid, version FROM undo_deletion($1)"
_PURGE = "SELECT study_uid, series_uid, sop_uid, version FROM purge_deletions($1)"
_LIST = """
SELECT id, at, principal, study_uid, series_uid, sop_uid, cardinality(instances) AS instances, purge_after, ended
  FROM deletion ORDER BY id DESC LIMIT $1
"""
_KNOWN = """
SELECT i.version FROM study st JOIN series se ON se.study_id = st.id JOIN instance i ON i.series_id = se.id
 WHERE st.uid = ANY ($2) AND i.version = ANY ($1)
"""
_SIGHT = "INSERT INTO orphan (key) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
_FORGET = "DELETE FROM orphan WHERE NOT key = ANY ($1)"
_RIPE = "SELECT key FROM orphan WHERE first_seen <= now() - make_interval(secs => $1 * 3600)"
_GONE = "DELETE FROM orphan WHERE key = ANY ($1)"


@dataclass(frozen=True, slots=True)
class Deletion:
    """One delete, as listed. UIDs below the deleted level are empty; `ended` is empty while it can be undone."""

    id: int
    at: datetime
    principal: str
    study_uid: str
    series_uid: str
    sop_uid: str
    instances: int
    purge_after: datetime
    ended: str


@dataclass(frozen=True, slots=True)
class VersionName:
    """What a blob key is made of."""

    study: str
    series: str
    sop: str
    version: str


async def hide(
    catalog: Catalog, uids: tuple[str, str, str], principal: str, undo_hours: float
) -> tuple[int, list[VersionName]] | None:
    """Hides a study, series or instance (`uids`, "" below the level). The deletion's id and the hidden versions, or
    None when nothing was visible."""
    rows = await catalog.fetch(_DELETE, *uids, principal, undo_hours)
    if not rows:
        return None
    catalog.bell.ring()
    return rows[0]["deletion"], [VersionName(uids[0], *tuple(row)[1:]) for row in rows]


async def undo(catalog: Catalog, deletion: int) -> list[VersionName]:
    """Shows again what `deletion` hid; the versions, none when there is nothing to undo."""
    rows = await catalog.fetch(_UNDO, deletion)
    catalog.bell.ring()
    return [VersionName(*row) for row in rows]


async def listed(catalog: Catalog, most: int) -> list[Deletion]:
    """The newest deletions."""
    return [Deletion(**dict(row)) for row in await catalog.fetch(_LIST, most)]


async def purge(catalog: Catalog, most: int) -> list[VersionName]:
    """Takes up to `most` versions whose grace period is over out of the catalog; empty when none is left."""
    return [VersionName(*row) for row in await catalog.fetch(_PURGE, most)]


async def known_versions(catalog: Catalog, versions: Sequence[str], studies: Collection[str]) -> set[str]:
    """Which of `versions`, all of instances in `studies`, have a row, in whatever state."""
    return {row["version"] for row in await catalog.fetch(_KNOWN, list(versions), list(studies))}


async def sight_orphans(catalog: Catalog, keys: Sequence[str], hours: float) -> list[str]:
    """Records that `keys` are blobs without a row and forgets all others; those first seen `hours` ago or earlier."""
    await catalog.execute(_FORGET, list(keys))
    ripe = {row["key"] for row in await catalog.fetch(_RIPE, hours)}
    await catalog.execute(_SIGHT, list(keys))
    return [key for key in keys if key in ripe]


async def forget_orphans(catalog: Catalog, keys: Sequence[str]) -> None:
    """The blobs of `keys` are removed."""
    await catalog.execute(_GONE, list(keys))
