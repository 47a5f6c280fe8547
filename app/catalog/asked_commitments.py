"""Storage commitment that we ask of others for what a job sent: the transactions, and what their reports say. The
functions are in migrations/sql/0013_asked_commitment.sql."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.catalog.engine import Catalog
from app.catalog.queue import FAILED

MOST_REFERENCES = 100_000
"""Instances of one request."""


class Asked(NamedTuple):
    """An instance whose commitment is asked for; the class is empty when the archive has it no more."""

    at: int
    sop_class: str
    sop: str


_ASK = """
WITH asked AS (
    INSERT INTO asked_commitment (uid, job_id, last_at)
    SELECT $2, id, $3 FROM job WHERE lease = $1 AND state = 1 RETURNING job_id
)
UPDATE job SET transaction_uid = $2 FROM asked WHERE job.id = asked.job_id RETURNING true
"""
_ASKED = """
SELECT w.at, coalesce(c.sop_class, '') AS sop_class, w.sop_uid
  FROM job_instance w
  LEFT JOIN LATERAL (
       SELECT i.sop_class
         FROM study s JOIN series e ON e.study_id = s.id AND e.uid = w.series_uid
         JOIN instance i ON i.series_id = e.id AND i.uid = w.sop_uid
        WHERE s.uid = w.study_uid ORDER BY i.state LIMIT 1) AS c ON true
 WHERE w.job_id = $1 AND w.state = 1 ORDER BY w.at LIMIT $2
"""
_SETTLE = "SELECT settle_commitment($1, $2, $3, $4, $5, $6)"
_EXPLAIN = """
UPDATE job j SET reason = format('%s of %s instances did not arrive: %s', j.failed, j.total, (
    SELECT i.reason FROM job_instance i WHERE i.job_id = j.id AND i.state = 2
     GROUP BY i.reason ORDER BY count(*) DESC, i.reason LIMIT 1))
  FROM asked_commitment a
 WHERE a.uid = $1 AND j.id = a.job_id AND j.state = 3 AND j.failed > 0 AND j.reason = ''
"""


async def to_commit(catalog: Catalog, job: int) -> list[Asked]:
    """The instances of a job that arrived and are not committed yet, at most `MOST_REFERENCES`."""
    return [Asked._make(row) for row in await catalog.fetch(_ASKED, job, MOST_REFERENCES)]


async def ask(catalog: Catalog, lease: str, uid: str, last_at: int) -> bool:
    """Notes that commitment of the instances up to `last_at` is going to be asked for under the Transaction UID `uid`;
    False when the lease is gone."""
    return bool(await catalog.fetchval(_ASK, lease, uid, last_at))


async def settle(
    catalog: Catalog, uid: str, committed: Sequence[str], failures: Mapping[str, int], reason: str, pause: float
) -> int | None:
    """What a report says, see `settle_commitment`: `failures` are Failure Reasons by instance, `reason` is why the
    others are not committed. The state of the job then, which says why most of its refused instances were when it has
    failed without another reason; None when nobody asked under this UID."""
    told = (list(committed), list(failures), list(failures.values()))
    async with catalog.connection() as connection, connection.transaction():
        state: int | None = await connection.fetchval(_SETTLE, uid, *told, reason, pause)
        if state == FAILED:
            await connection.execute(_EXPLAIN, uid)
    return state
