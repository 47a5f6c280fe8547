"""The change feed (migrations/sql/0007_changes.sql): what was stored, replaced, deleted, undone or has become quiet, in
an order in which one transaction that began after another had ended comes after it.

Ids are of one sequence and taken by transactions that have an id already. The sequencer notes the last id, then takes a
transaction id; when every transaction before that one has ended, no id up to there can come any more: the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from app.catalog.engine import Catalog

KINDS = (
    *("stored", "replaced", "kept", "deleted", "undone"),
    *("series-quiet", "study-quiet", "step-completed", "study-completed"),
)
"""Of events."""

_LAST = "SELECT last_value - (NOT is_called)::integer FROM instance_id_seq"
_TRANSACTION = "SELECT pg_current_xact_id()::text::bigint"
"""Greater than the id of every transaction that has one by now. The end of a snapshot (`xmax`) is not: it stands behind
the newest transaction that has ended, and one that runs may be newer."""
_OLDEST = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_HORIZON = "SELECT id FROM change_cursor WHERE name = 'horizon'"
_ADVANCE = """
WITH moved AS (UPDATE change_cursor SET id = $1 WHERE name = 'horizon' AND id < $1 RETURNING id)
SELECT pg_notify('fileroom_changes', id::text) FROM moved
"""
_PAGE = """
WITH horizon AS MATERIALIZED (SELECT id FROM change_cursor WHERE name = 'horizon'), page AS (
    (SELECT i.id, i.created_at AS at, coalesce(c.kind, 'stored') AS kind, s.uid AS study, e.uid AS series, i.uid AS sop,
            '{}'::jsonb AS detail
       FROM instance i JOIN series e ON e.id = i.series_id JOIN study s ON s.id = e.study_id
       LEFT JOIN LATERAL (SELECT kind FROM conflict WHERE study_uid = s.uid AND sop_uid = i.uid
                             AND detail->>'arrived' = i.version LIMIT 1) AS c ON true
      WHERE i.id > $1 AND i.id <= (SELECT id FROM horizon) ORDER BY i.id LIMIT $2)
    UNION ALL
    (SELECT id, at, kind, study_uid, series_uid, sop_uid, detail FROM change
      WHERE id > $1 AND id <= (SELECT id FROM horizon) ORDER BY id LIMIT $2)
)
SELECT id, at, kind, study, series, sop, detail FROM page ORDER BY id LIMIT $2
"""
_QUIET = "SELECT watch_quiet($1, $2)"
_IS_BEHIND = """
SELECT (SELECT last_value - (NOT is_called)::integer FROM instance_id_seq)
       > (SELECT id FROM change_cursor WHERE name = 'horizon')
"""
_NEXT_DUE = """
SELECT CASE WHEN EXISTS (SELECT FROM change_cursor c, change_cursor h
                          WHERE h.name = 'horizon' AND c.name IN ('quiet', 'routes') AND c.id < h.id) THEN 0
            ELSE extract(epoch FROM (SELECT min(changed_at + make_interval(secs => seconds)) FROM quiet_watch) - now())
       END::float8
"""
_MOST = 10_000


class Change(NamedTuple):
    """One event; UIDs below the level that it is about are empty."""

    id: int
    at: datetime
    kind: str
    study: str
    series: str
    sop: str
    detail: dict[str, Any]


class Barrier(NamedTuple):
    """`last` is the newest id that was taken before `transaction` began."""

    last: int
    transaction: int


async def sequence(catalog: Catalog, barrier: Barrier | None) -> Barrier | None:
    """One turn of the sequencer: moves the horizon to `barrier` when that is settled, and gives the next barrier.
    Several may run at once."""
    if barrier is None:
        last = await catalog.fetchval(_LAST)  # before the transaction: who took an id by now has a smaller one
        barrier = Barrier(last, await catalog.fetchval(_TRANSACTION))
    if await catalog.fetchval(_OLDEST) < barrier.transaction:
        return barrier
    await catalog.execute(_ADVANCE, barrier.last)
    return None


async def is_behind(catalog: Catalog) -> bool:
    """Whether ids were taken that are beyond the horizon."""
    return bool(await catalog.fetchval(_IS_BEHIND))


async def horizon(catalog: Catalog) -> int:
    """The id up to which events may be read."""
    return int(await catalog.fetchval(_HORIZON))


async def page(executor: Any, after: int, most: int) -> list[Change]:
    """Events behind the id `after`, by a catalog or a connection of it."""
    rows = await executor.fetch(_PAGE, after, most)
    return [Change._make((*tuple(row)[:6], orjson.loads(row["detail"]))) for row in rows]


async def watch_quiet(catalog: Catalog, seconds: Sequence[int]) -> None:
    """Adds the events of series and studies that have not changed for one of `seconds`."""
    await catalog.execute(_QUIET, list(seconds), _MOST)
    catalog.bell.ring()


async def next_due(catalog: Catalog) -> float | None:
    """Seconds until a series or study can be quiet, 0 or less when one is or when there are events that `watch_quiet`
    or the routes have not seen; None when nothing changes."""
    seconds: float | None = await catalog.fetchval(_NEXT_DUE)
    return seconds
