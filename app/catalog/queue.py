"""The durable queue (migrations/sql/0006_queue.sql): jobs, what became of their instances, and the leases by which
workers hold them. Functions that add take a connection too, so that jobs are made in the transaction of their cause."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import orjson

from app.catalog.engine import Catalog

STOW, DIMSE, PREFETCH = "stow", "dimse", "prefetch"
"""The queues: what the job process sends itself, what bridges send, and what is brought here."""
STATES = ("waiting", "active", "succeeded", "failed", "cancelled", "committing")
FAILED = STATES.index("failed")
COMMITTING = STATES.index("committing")
"""How a job that waits or is active is told of when everything was sent and commitment is asked for."""
INSTANCE_STATES = ("waiting", "arrived", "refused", "committed")
WAITING, ARRIVED, REFUSED = 0, 1, 2
SENDING, TO_ASK, ASKED = 0, 1, 2
"""Phases of a job."""


class Executor(Protocol):
    """A catalog, or a connection of it inside a transaction."""

    async def fetchval(self, sql: str, *args: object) -> Any:
        """The first column of the first row, or None."""


class Job(NamedTuple):
    """One job; `state` indexes `STATES`. `step_uid` is that of the performed procedure step whose message it tells."""

    id: int
    queue: str
    destination: str
    order_key: str
    state: int
    tries: int
    most_tries: int
    due_at: datetime
    origin: str
    reason: str
    payload: dict[str, Any]
    total: int
    done: int
    failed: int
    created_at: datetime
    updated_at: datetime
    phase: int
    transaction_uid: str
    asked_at: datetime | None
    committed: int
    step_uid: str

    @property
    def shown_state(self) -> int:
        """The state as people are told of it."""
        return COMMITTING if self.phase and self.state < STATES.index("succeeded") else self.state


class JobInstance(NamedTuple):
    """One instance of a job; `state` indexes `INSTANCE_STATES`, `status` is what the destination answered (a DIMSE
    status, or a Failure or Warning Reason of PS3.18)."""

    at: int
    study: str
    series: str
    sop: str
    state: int
    status: int
    reason: str


class Due(NamedTuple):
    """An instance to send now; class and syntax are empty when the archive has it no more."""

    at: int
    study: str
    series: str
    sop: str
    sop_class: str
    transfer_syntax: str


class NewJob(NamedTuple):
    """What is to be sent where: all of a study, of a series of it, or only the instances `sops`."""

    queue: str
    destination: str
    origin: str
    most_tries: int
    payload: dict[str, Any]
    study: str
    series: str = ""
    sops: Sequence[str] = ()
    order_key: str = ""


Told = tuple[int, int, int, str]
"""What became of an instance: (at, state, status, reason)."""

_ADD = """
WITH wanted AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY e.series_number NULLS LAST, e.id, i.instance_number NULLS LAST, i.uid) AS at,
           e.uid AS series_uid, i.uid AS sop_uid
      FROM study s JOIN series e ON e.study_id = s.id JOIN instance i ON i.series_id = e.id AND i.state = 0
     WHERE s.uid = $6 AND ($7 = '' OR e.uid = $7) AND (cardinality($8::text[]) = 0 OR i.uid = ANY ($8::text[]))
), made AS (
    INSERT INTO job (queue, destination, origin, most_tries, payload, order_key, total)
    SELECT $1, $2, $3, $4, $5::jsonb, $9, count(*) FROM wanted HAVING count(*) > 0
    RETURNING id
), listed AS (
    INSERT INTO job_instance (job_id, at, study_uid, series_uid, sop_uid)
    SELECT made.id, wanted.at, $6, wanted.series_uid, wanted.sop_uid FROM made, wanted
)
SELECT id FROM made, LATERAL (SELECT pg_notify('fileroom_queue', $1)) AS told
"""
_ONE = "SELECT * FROM job WHERE id = $1"
_LIST = """
SELECT * FROM job
 WHERE id < $1 AND ($2::smallint IS NULL OR $2 = CASE WHEN phase > 0 AND state < 2 THEN 5 ELSE state END)
   AND ($3 = '' OR destination = $3)
 ORDER BY id DESC LIMIT $4
"""
_INSTANCES = """
SELECT at, study_uid, series_uid, sop_uid, state, status, reason FROM job_instance
 WHERE job_id = $1 AND at > $2 ORDER BY at LIMIT $3
"""
_CANCEL = """
WITH ended AS (
    UPDATE job SET state = 4, lease = '', leased_until = NULL, reason = $2, updated_at = now()
     WHERE id = $1 AND state < 2 RETURNING id, order_key, step_uid
), behind AS (
    UPDATE job SET state = 4, reason = 'the message before it was cancelled', updated_at = now() FROM ended
     WHERE ended.step_uid <> '' AND job.order_key = ended.order_key AND job.order_key <> '' AND job.id > ended.id
       AND job.state = 0
)
SELECT id FROM ended
"""
_RETRY = """
WITH again AS (
    UPDATE job SET state = 0, phase = CASE WHEN failed > 0 THEN 0 ELSE least(phase, 1) END, tries = 0,
                   due_at = now(), failed = 0, retried_at = now(), updated_at = now()
     WHERE id = $1 AND state IN (0, 3, 4) RETURNING id, queue, destination
), instances AS (
    UPDATE job_instance i SET state = 0 FROM again WHERE i.job_id = again.id AND i.state = 2
), awake AS (
    DELETE FROM job_rest r USING again WHERE r.queue = again.queue AND r.destination = again.destination
)
SELECT id, pg_notify('fileroom_queue', queue) FROM again
"""
_CLAIM = "SELECT * FROM claim_job($1, $2, $3, $4)"
_IS_OPEN = """
SELECT EXISTS (SELECT FROM job WHERE queue = $1 AND state = 0)
    OR EXISTS (SELECT FROM job WHERE queue = $1 AND state = 1)
"""
_DUE = """
SELECT w.at, w.study_uid, w.series_uid, w.sop_uid, coalesce(c.sop_class, ''), coalesce(c.transfer_syntax, '')
  FROM job_instance w
  LEFT JOIN LATERAL (
       SELECT i.sop_class, i.transfer_syntax
         FROM study s JOIN series e ON e.study_id = s.id AND e.uid = w.series_uid
         JOIN instance i ON i.series_id = e.id AND i.uid = w.sop_uid AND i.state = 0
        WHERE s.uid = w.study_uid) AS c ON true
 WHERE w.job_id = $1 AND w.state = 0 ORDER BY w.at LIMIT $2
"""
_REPORT = "SELECT report_job($1, $2, $3::jsonb)"
_END = """
SELECT end_job($1, $2, coalesce(nullif($3, ''), (
    SELECT format('%s of %s instances did not arrive: %s', j.failed, j.total, i.reason)
      FROM job j JOIN job_instance i ON i.job_id = j.id AND i.state = 2
     WHERE j.lease = $1 AND j.state = 1 AND j.failed > 0
     GROUP BY j.failed, j.total, i.reason ORDER BY count(*) DESC, i.reason LIMIT 1), ''), $4, $5, $6)
"""
_FORGET = """
WITH old AS (
    SELECT id FROM job
     WHERE state > 1 AND updated_at < now() - make_interval(secs => $1 * 86400)
       AND (state <> 3 OR updated_at < now() - make_interval(secs => $2 * 86400))
     ORDER BY updated_at LIMIT $3 FOR UPDATE SKIP LOCKED
), gone AS (DELETE FROM job USING old WHERE job.id = old.id RETURNING job.id)
SELECT count(*) FROM gone
"""
_HOLDS = """
SELECT EXISTS (SELECT FROM job j JOIN job_instance i ON i.job_id = j.id
                WHERE j.lease = $1 AND j.state = 1 AND i.study_uid = $2 AND i.series_uid = $3 AND i.sop_uid = $4)
"""


async def add(executor: Executor, job: NewJob) -> int | None:
    """Adds a job for the visible instances that it names; its id, None when there are none."""
    text = orjson.dumps(job.payload).decode()
    made: int | None = await executor.fetchval(
        _ADD,
        *(job.queue, job.destination, job.origin, job.most_tries, text),
        *(job.study, job.series, list(job.sops), job.order_key),
    )
    return made


async def find(catalog: Catalog, job: int) -> Job | None:
    """One job."""
    row = await catalog.fetchrow(_ONE, job)
    return None if row is None else _job(row)


async def listed(catalog: Catalog, before: int, state: int | None, destination: str, most: int) -> list[Job]:
    """Jobs with ids under `before`, the newest first; `state` None and `destination` "" mean any."""
    return [_job(row) for row in await catalog.fetch(_LIST, before, state, destination, most)]


async def instances(catalog: Catalog, job: int, after: int, most: int) -> list[JobInstance]:
    """The instances of a job behind `after`, in their order."""
    return [JobInstance._make(row) for row in await catalog.fetch(_INSTANCES, job, after, most)]


async def cancel(catalog: Catalog, job: int, reason: str) -> bool:
    """Ends a job that waits or is active; its worker learns it by its lease. False when it has ended already."""
    return await catalog.fetchval(_CANCEL, job, reason) is not None


async def retry(catalog: Catalog, job: int) -> bool:
    """Lets a job that failed, was cancelled or waits be done at once. False for others."""
    return await catalog.fetchval(_RETRY, job) is not None


async def claim(catalog: Catalog, queue: str, lease: str, seconds: float, each: int) -> Job | None:
    """A job that is due, held by `lease` for `seconds`; at most `each` of a destination are active at a time."""
    row = await catalog.fetchrow(_CLAIM, queue, lease, seconds, each)
    return None if row is None else _job(row)


async def is_open(catalog: Catalog, queue: str) -> bool:
    """Whether there are jobs that have not ended: their due times, leases and limits make them claimable, of which
    nobody is told."""
    return bool(await catalog.fetchval(_IS_OPEN, queue))


async def due(catalog: Catalog, job: int, most: int) -> list[Due]:
    """The instances of a job that did not arrive yet."""
    return [Due._make(row) for row in await catalog.fetch(_DUE, job, most)]


async def report(catalog: Catalog, lease: str, seconds: float, told: Sequence[Told] = ()) -> bool:
    """Renews a lease for `seconds` and writes down what became of instances; False when the lease is gone."""
    return bool(await catalog.fetchval(_REPORT, lease, seconds, orjson.dumps(told).decode()))


async def end(
    catalog: Catalog, lease: str, outcome: str, reason: str, pause: float, days: float, patience: float
) -> int | None:
    """Ends a lease, see `end_job`; the new state of its job, None when the lease is gone. Without a `reason` the job
    says why most of its refused instances were."""
    state: int | None = await catalog.fetchval(_END, lease, outcome, reason, pause, days, patience)
    return state


async def forget(catalog: Catalog, days: float, failed_days: float, most: int) -> int:
    """Removes up to `most` jobs that ended longer than `days` ago, failed ones than `failed_days`; how many."""
    return int(await catalog.fetchval(_FORGET, days, failed_days, most))


async def holds(catalog: Catalog, lease: str, study: str, series: str, sop: str) -> bool:
    """Whether an instance is among those of a lease that stands."""
    return bool(await catalog.fetchval(_HOLDS, lease, study, series, sop))


def _job(row: Any) -> Job:
    job = Job._make(row[name] for name in Job._fields)
    return job._replace(payload=orjson.loads(row["payload"]))
