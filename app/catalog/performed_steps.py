"""Modality performed procedure steps, and the images that one of a wrong worklist entry hides. The functions are in
migrations/sql/0004_performed_steps.sql."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.catalog.deletions import VersionName
from app.catalog.engine import Catalog
from app.catalog.worklist import Executor

_CREATE = """
INSERT INTO performed_step (uid, json, study_uids, series_uids, sop_uids) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (uid) DO NOTHING RETURNING true
"""
_LOCK = "SELECT state, json FROM performed_step WHERE uid = $1 FOR UPDATE"
_UPDATE = """
UPDATE performed_step
   SET state = $2::smallint, wrong_entry = $3::boolean, json = $4, study_uids = $5, series_uids = $6,
       sop_uids = $7::text[], updated_at = now(), missing = cardinality($7::text[]),
       ended_at = CASE WHEN $2::smallint > 0 THEN now() END,
       look_at = CASE WHEN $2::smallint = 1 OR $3::boolean THEN now() END
 WHERE uid = $1
"""
_REFUSE = """
INSERT INTO refused_instance (sop_uid, series_uid, step_uid, undo_hours)
SELECT sop, series, uid, $2 FROM performed_step, unnest(sop_uids, series_uids) AS r (sop, series) WHERE uid = $1
    ON CONFLICT DO NOTHING
"""
_GET = "SELECT json FROM performed_step WHERE uid = $1"
_LIST = """
SELECT uid, state, wrong_entry, study_uids, cardinality(sop_uids) AS instances, missing, created_at, ended_at,
       complete_at
  FROM performed_step WHERE $1 = '' OR study_uids @> ARRAY[$1] ORDER BY created_at DESC, uid LIMIT $2
"""
_HIDE = "SELECT study_uid, series_uid, sop_uid, version FROM hide_performed($1)"
_HIDE_AGAIN = (
    "UPDATE performed_step SET look_at = CASE WHEN now() < ended_at + $2::interval THEN now() + $2 END WHERE uid = $1"
)
_ARRIVED = """
SELECT a.instance_id, st.uid AS study, se.uid AS series, i.uid AS sop, i.version, i.state
  FROM hidden_arrival a LEFT JOIN instance i ON i.id = a.instance_id LEFT JOIN series se ON se.id = i.series_id
  LEFT JOIN study st ON st.id = se.study_id
 ORDER BY a.instance_id LIMIT 1000
"""
_FORGET = "DELETE FROM hidden_arrival WHERE instance_id = ANY ($1)"
_DUE = "SELECT uid, wrong_entry FROM performed_step WHERE look_at <= now() ORDER BY look_at LIMIT 100"
_NEXT_DUE = """
SELECT CASE WHEN EXISTS (SELECT FROM hidden_arrival) THEN 0
            ELSE extract(epoch FROM (SELECT min(look_at) FROM performed_step WHERE look_at IS NOT NULL) - now())
       END::float8
"""
_LOOK = """
UPDATE performed_step p
   SET missing = found.missing, complete_at = CASE WHEN found.missing = 0 THEN now() END,
       look_at = CASE WHEN found.missing > 0 AND now() < p.ended_at + make_interval(days => $2)
                      THEN now() + least(greatest((now() - p.ended_at) / 8, interval '1 s'), interval '10 min') END
  FROM (SELECT count(*) FILTER (WHERE NOT EXISTS (
                   SELECT FROM instance i JOIN series s ON s.id = i.series_id
                    WHERE i.uid = r.sop AND i.state = 0 AND s.uid = r.series))::integer AS missing
          FROM performed_step q, unnest(q.sop_uids, q.series_uids) AS r (sop, series) WHERE q.uid = $1) AS found
 WHERE p.uid = $1 AND p.state = 1 AND p.complete_at IS NULL RETURNING p.missing
"""
_TELL_STEP = """
SELECT count(add_change('step-completed', study, '', '', jsonb_build_object('step', uid)))
  FROM performed_step, unnest(study_uids) AS study WHERE uid = $1
"""
_LOCK_STUDIES = """
SELECT count(pg_advisory_xact_lock(hashtextextended('study-completed ' || study, 0)))
  FROM (SELECT unnest(study_uids) AS study FROM performed_step WHERE uid = $1 ORDER BY 1) AS s
"""
_TELL_STUDIES = """
SELECT count(add_change('study-completed', study, '', '', '{}'))
  FROM performed_step p, unnest(p.study_uids) AS study
 WHERE p.uid = $1
   AND EXISTS (SELECT FROM performed_step q WHERE q.study_uids @> ARRAY[study] AND q.complete_at IS NOT NULL)
   AND NOT EXISTS (SELECT FROM performed_step q WHERE q.study_uids @> ARRAY[study]
                      AND (q.state = 0 OR (q.state = 1 AND q.complete_at IS NULL)))
"""
_DISCONTINUED = 2
Then = Callable[[Executor], Awaitable[object]]
"""What is to be done in the transaction that keeps a step."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """What the catalog keeps of a step."""

    uid: str
    state: int
    wrong_entry: bool
    json: bytes
    studies: Sequence[str]
    references: Sequence[tuple[str, str]]

    @property
    def columns(self) -> tuple[list[str], list[str], list[str]]:
        """Study UIDs; series and instance UIDs side by side."""
        return list(self.studies), [series for series, _ in self.references], [sop for _, sop in self.references]


@dataclass(frozen=True, slots=True)
class StepSummary:
    """A step, as listed. `missing` counts the instances that were not there when somebody looked last; `complete_at` is
    when all were."""

    uid: str
    state: int
    wrong_entry: bool
    study_uids: list[str]
    instances: int
    missing: int
    created_at: datetime
    ended_at: datetime | None
    complete_at: datetime | None


async def create(catalog: Catalog, row: StepRow, then: Then) -> bool:
    """Keeps a new step; False when its UID is in use."""
    async with catalog.connection() as connection, connection.transaction():
        made = bool(await connection.fetchval(_CREATE, row.uid, row.json, *row.columns))
        if made:
            await then(connection)
    return made


async def change(
    catalog: Catalog,
    uid: str,
    decide: Callable[[int, bytes], StepRow],
    then: Then,
    undo_hours: float,
    *,
    completes: bool,
) -> StepRow | None:
    """Replaces a step by what `decide` makes of its state and JSON, while nobody else can change it; None when there is
    none. What a wrong worklist entry references is refused from now on. `completes`: studies are completed by steps,
    and the change feed tells it."""
    async with catalog.connection() as connection, connection.transaction():
        found = await connection.fetchrow(_LOCK, uid)
        if found is None:
            return None
        row = decide(found["state"], found["json"])
        await connection.execute(_UPDATE, uid, row.state, row.wrong_entry, row.json, *row.columns)
        if row.wrong_entry:
            await connection.execute(_REFUSE, uid, undo_hours)
        if row.state == _DISCONTINUED and completes:
            await _tell_studies(connection, uid)
        await then(connection)
    catalog.bell.ring()
    return row


async def get(catalog: Catalog, uid: str) -> bytes | None:
    """The JSON of a step."""
    found: bytes | None = await catalog.fetchval(_GET, uid)
    return found


async def listed(catalog: Catalog, study: str, most: int) -> list[StepSummary]:
    """The steps of a study, or of all (""), the newest first."""
    return [StepSummary(**dict(row)) for row in await catalog.fetch(_LIST, study, most)]


async def hide(catalog: Catalog, uid: str) -> list[VersionName]:
    """Hides what is there of the instances of a wrong worklist entry; the versions."""
    rows = await catalog.fetch(_HIDE, uid)
    catalog.bell.ring()
    return [VersionName(*row) for row in rows]


async def hide_later(catalog: Catalog, uid: str, pause: Any) -> None:
    """Says that `hide` is due again after `pause`, or never more when the step ended longer than that ago: a store of
    a new study that was under way could not be waited for."""
    await catalog.execute(_HIDE_AGAIN, uid, pause)
    catalog.bell.ring()


async def arrivals(catalog: Catalog) -> tuple[list[int], list[VersionName]]:
    """Versions that were hidden while they were stored and of which the journal does not know: their ids, to be given
    to `forget_arrivals`, and the names of those that are hidden still."""
    rows = await catalog.fetch(_ARRIVED)
    hidden = [VersionName(row["study"], row["series"], row["sop"], row["version"]) for row in rows if row["state"] == 3]
    return [row["instance_id"] for row in rows], hidden


async def forget_arrivals(catalog: Catalog, ids: Sequence[int]) -> None:
    """The journal knows of them."""
    await catalog.execute(_FORGET, list(ids))


async def due(catalog: Catalog) -> list[tuple[str, bool]]:
    """(UID, whether it is a wrong worklist entry) of the steps whose instances are to be looked for now."""
    return [(row["uid"], row["wrong_entry"]) for row in await catalog.fetch(_DUE)]


async def next_due(catalog: Catalog) -> float | None:
    """Seconds until `arrivals` or `due` give something, 0 or less when they do; None when nothing is planned."""
    seconds: float | None = await catalog.fetchval(_NEXT_DUE)
    return seconds


async def look(catalog: Catalog, uid: str, days: int, *, completes: bool) -> int | None:
    """Counts the instances of a completed step that are missing, and plans the next look, seldom and seldomer, for
    `days` after its end; None when the step is not completed, or all of it was seen already. The change feed tells that
    all are there; `completes`: and of each study that this completes."""
    async with catalog.connection() as connection, connection.transaction():
        missing: int | None = await connection.fetchval(_LOOK, uid, days)
        if missing == 0:
            await connection.execute(_TELL_STEP, uid)
            if completes:
                await _tell_studies(connection, uid)
    catalog.bell.ring()
    return missing


async def _tell_studies(connection: Any, uid: str) -> None:
    """Of two steps that end at a time the second one sees the first, since the lock lasts until the commit."""
    await connection.execute(_LOCK_STUDIES, uid)
    await connection.execute(_TELL_STUDIES, uid)
