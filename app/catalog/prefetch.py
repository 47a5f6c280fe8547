"""Prefetch of priors (migrations/sql/0010_prefetch.sql): rules as the JSON that describes them, worklist items that
they are to be asked about, and the jobs that come of it, whose instances are those that the archive does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import orjson

from app.catalog.engine import Catalog
from app.catalog.queue import NewJob
from app.catalog.registry import Registry

Row = asyncpg.Record
Named = tuple[str, str, str]
"""UIDs of study, series and instance."""
WHOLE = ""
"""Instead of an instance: all of the series, whose instances nobody told."""

RULES = Registry(
    "SELECT name, json FROM prefetch_rule ORDER BY name",
    "SELECT json FROM prefetch_rule WHERE name = $1",
    """
WITH open_items AS (
    INSERT INTO prefetch_look (item_id)
    SELECT id FROM worklist_item WHERE state = 0 AND (hidden_at IS NULL OR hidden_at > now())
        ON CONFLICT (item_id) DO UPDATE SET look_at = now()
)
INSERT INTO prefetch_rule (name, json) VALUES ($1, $2::jsonb)
    ON CONFLICT (name) DO UPDATE SET json = excluded.json, updated_at = now()
RETURNING xmax = 0
""",
    """
WITH made AS (DELETE FROM prefetch_made WHERE rule = $1)
DELETE FROM prefetch_rule WHERE name = $1 RETURNING name
""",
)
"""When one is put, all open items are looked at once more."""
_NEXT_LOOK = "SELECT extract(epoch FROM min(look_at) - now())::float8 FROM prefetch_look"
_DUE = """
SELECT w.* FROM prefetch_look l JOIN worklist_item w ON w.id = l.item_id
 WHERE l.look_at <= now() ORDER BY l.look_at LIMIT $1 FOR UPDATE OF l SKIP LOCKED
"""
_LOOKED = """
WITH later AS (
    UPDATE prefetch_look l SET look_at = n.at FROM unnest($2::bigint[], $3::timestamptz[]) AS n (id, at)
     WHERE l.item_id = n.id
)
DELETE FROM prefetch_look WHERE item_id = ANY ($1) AND NOT item_id = ANY ($2)
"""
_MADE = "INSERT INTO prefetch_made (rule, about) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true"
_ADD = """
INSERT INTO job (queue, destination, origin, most_tries, payload, order_key)
VALUES ($1, $2, $3, $4, $5::jsonb, $6) RETURNING id, pg_notify('fileroom_queue', $1)
"""
_ITEM = "SELECT * FROM worklist_item WHERE id = $1"
_LIST = """
WITH mine AS MATERIALIZED (
    SELECT id FROM job WHERE lease = $1 AND state = 1 FOR UPDATE
), wanted AS (
    SELECT row_number() OVER (ORDER BY w.at) AS at, w.study, w.series, w.sop
      FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS w (study, series, sop, at)
     WHERE NOT EXISTS (SELECT FROM study s JOIN series e ON e.study_id = s.id AND e.uid = w.series
                         JOIN instance i ON i.series_id = e.id AND i.uid = w.sop AND i.state = 0 WHERE s.uid = w.study)
       AND NOT (w.sop = '' AND EXISTS (SELECT FROM study s JOIN series e ON e.study_id = s.id AND e.uid = w.series
                                        WHERE s.uid = w.study AND e.instance_count > 0))
), listed AS (
    INSERT INTO job_instance (job_id, at, study_uid, series_uid, sop_uid)
    SELECT mine.id, wanted.at, wanted.study, wanted.series, wanted.sop FROM mine, wanted
)
UPDATE job SET total = (SELECT count(*) FROM wanted), payload = job.payload || '{"listed": true}', updated_at = now()
  FROM mine WHERE job.id = mine.id RETURNING job.total
"""
_ARRIVED = """
WITH mine AS MATERIALIZED (
    SELECT id FROM job WHERE lease = $1 AND state = 1 FOR UPDATE
), arrived AS (
    UPDATE job_instance w SET state = 1, reason = '' FROM mine
     WHERE w.job_id = mine.id AND w.state = 0
       AND EXISTS (SELECT FROM study s JOIN series e ON e.study_id = s.id AND e.uid = w.series_uid
                     JOIN instance i ON i.series_id = e.id AND i.uid = w.sop_uid AND i.state = 0
                    WHERE s.uid = w.study_uid)
    RETURNING w.at
)
UPDATE job SET done = job.done + (SELECT count(*) FROM arrived), updated_at = now(),
               leased_until = now() + make_interval(secs => $2)
  FROM mine WHERE job.id = mine.id RETURNING job.total - job.done - job.failed
"""
_CAME = """
WITH mine AS MATERIALIZED (
    SELECT id FROM job WHERE lease = $1 AND state = 1 FOR UPDATE
), arrived AS (
    UPDATE job_instance w SET state = 1, reason = '' FROM mine
     WHERE w.job_id = mine.id AND w.state = 0 AND w.study_uid = $2 AND w.sop_uid = ''
       AND EXISTS (SELECT FROM study s JOIN series e ON e.study_id = s.id AND e.uid = w.series_uid
                    WHERE s.uid = w.study_uid AND e.instance_count > 0)
    RETURNING w.at
)
UPDATE job SET done = job.done + (SELECT count(*) FROM arrived), updated_at = now() FROM mine WHERE job.id = mine.id
"""
_MISSING = """
SELECT study_uid, series_uid, sop_uid FROM job_instance WHERE job_id = $1 AND state = 0 ORDER BY at
"""
_HAS_STUDY = "SELECT EXISTS (SELECT FROM study WHERE uid = $1 AND instance_count > 0)"
_FORGET = "DELETE FROM prefetch_made WHERE made_at < now() - $1::float8 * interval '1 day'"


class Later(NamedTuple):
    """An item, by its id, and when the rules are to be asked about it again."""

    item: int
    at: datetime


async def put(catalog: Catalog, name: str, text: str) -> bool:
    """Adds a rule, or replaces it; whether it is new. The jobs hear of it."""
    is_new = await RULES.put(catalog, name, text)
    catalog.bell.ring()
    return is_new


async def next_look(catalog: Catalog) -> float | None:
    """Seconds until the rules are to be asked about an item, 0 or less: now; None when there is none."""
    seconds: float | None = await catalog.fetchval(_NEXT_LOOK)
    return seconds


@asynccontextmanager
async def looking(catalog: Catalog, most: int) -> AsyncIterator[tuple[Any, list[Row]]]:
    """A connection inside a transaction, and up to `most` items that the rules are to be asked about, which no other
    process has meanwhile. Jobs that are made and `looked` are committed together."""
    async with catalog.connection() as connection, connection.transaction():
        yield connection, await connection.fetch(_DUE, most)


async def looked(connection: Any, items: Sequence[int], later: Sequence[Later]) -> None:
    """The rules were asked about `items`; about those of `later` they are to be asked again."""
    await connection.execute(_LOOKED, list(items), [one.item for one in later], [one.at for one in later])


async def make(connection: Any, rule: str, about: str, job: NewJob) -> bool:
    """Adds a job of a rule, unless it has made one about the same before; whether it did."""
    if not await connection.fetchval(_MADE, rule, about):
        return False
    text = orjson.dumps(job.payload).decode()
    await connection.fetchval(_ADD, job.queue, job.destination, job.origin, job.most_tries, text, job.order_key)
    return True


async def item(catalog: Catalog, number: int) -> Row | None:
    """One worklist item."""
    return await catalog.fetchrow(_ITEM, number)


async def list_instances(catalog: Catalog, lease: str, wanted: Sequence[Named]) -> int | None:
    """Says which instances a job is about: those of `wanted` that the archive does not have. How many; None when the
    lease is gone."""
    columns = [list(column) for column in zip(*wanted, strict=True)] or [[], [], []]
    found: int | None = await catalog.fetchval(_LIST, lease, *columns)
    return found


async def note_arrivals(catalog: Catalog, lease: str, seconds: float) -> int | None:
    """Renews a lease for `seconds` and sees which of its instances the archive has by now. How many are missing; None
    when the lease is gone."""
    found: int | None = await catalog.fetchval(_ARRIVED, lease, seconds)
    return found


async def note_series(catalog: Catalog, lease: str, study: str) -> None:
    """The source says that it sent all that was wanted of a study: series that are wanted as a `WHOLE` have arrived,
    unless nothing of one is here."""
    await catalog.execute(_CAME, lease, study)


async def missing(catalog: Catalog, job: int) -> list[Named]:
    """The instances of a job that have not come, in their order."""
    return [(row["study_uid"], row["series_uid"], row["sop_uid"]) for row in await catalog.fetch(_MISSING, job)]


async def has_study(catalog: Catalog, uid: str) -> bool:
    """Whether anything of a study is here."""
    return bool(await catalog.fetchval(_HAS_STUDY, uid))


async def forget(catalog: Catalog, days: float) -> None:
    """Forgets what the rules made longer than `days` ago."""
    await catalog.execute(_FORGET, days)
