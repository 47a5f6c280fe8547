"""Storage commitment requests, and the reports of their results. Who works on one, or delivers its report, holds a
lease that runs out by itself, so that nothing waits for what was killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.catalog.engine import Catalog
from app.dicom.commitment import Reference

LEASE_SECONDS = 60.0

_ADD = """
INSERT INTO commitment (uid, requester, called, sop_classes, sop_uids, places, look_at, until)
VALUES ($1, $2, $3, $4, $5, $6, now(), now() + make_interval(secs => $7)) ON CONFLICT (uid) DO NOTHING RETURNING true
"""
_GET = "SELECT requester, sop_classes, sop_uids, places, result FROM commitment WHERE uid = $1"
_CLAIM = """
UPDATE commitment SET lease = $2, leased_until = now() + make_interval(secs => $3)
 WHERE uid = (SELECT uid FROM commitment
               WHERE look_at <= now() AND ($1 = '' OR uid = $1) AND (leased_until IS NULL OR leased_until < now())
               ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING uid, sop_classes, sop_uids, places, now() >= until AS is_late
"""
_NEXT_LOOK = """
SELECT extract(epoch FROM min(greatest(look_at, coalesce(leased_until, look_at))) - now())::float8
  FROM commitment WHERE look_at IS NOT NULL
"""
_RENEW = """
UPDATE commitment SET leased_until = now() + make_interval(secs => $3) WHERE uid = $1 AND lease = $2 RETURNING true
"""
_LATER = """
UPDATE commitment SET look_at = least(now() + make_interval(secs => $3), greatest(until, now() + interval '1 s')),
       lease = '', leased_until = NULL
 WHERE uid = $1 AND lease = $2
"""
_DONE = """
WITH done AS (
    UPDATE commitment SET result = $3, look_at = NULL, done_at = now(), lease = '', leased_until = NULL,
           report_at = CASE WHEN requester <> '' THEN now() + make_interval(secs => $4) END
     WHERE uid = $1 AND lease = $2 RETURNING uid)
SELECT uid, pg_notify('fileroom_queue', 'commitment') FROM done
"""
_VERSIONS = """
SELECT r.at, st.uid AS study, se.uid AS series, i.uid AS sop, i.version, i.length, i.dataset_offset, i.digest,
       i.digest_meta, i.sop_class
  FROM unnest($1::text[]) WITH ORDINALITY AS r (uid, at)
 CROSS JOIN LATERAL (SELECT * FROM instance WHERE uid = r.uid AND state = 0 OFFSET 0) AS i
  JOIN series se ON se.id = i.series_id JOIN study st ON st.id = se.study_id
"""
_REPORT_AGAIN = """
UPDATE commitment SET report_at = now() + make_interval(secs => $2), tries = 0
 WHERE uid = $1 AND result IS NOT NULL AND requester <> ''
"""
_TAKE_REPORT = """
UPDATE commitment SET lease = $2, leased_until = now() + make_interval(secs => $3), tries = tries + 1
 WHERE uid = (SELECT uid FROM commitment
               WHERE report_at IS NOT NULL AND (uid = $1 OR ($1 = '' AND report_at <= now()))
                 AND (leased_until IS NULL OR leased_until < now())
               ORDER BY report_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING uid, requester, called, result
"""
_NEXT_REPORT = """
SELECT extract(epoch FROM min(greatest(report_at, coalesce(leased_until, report_at))) - now())::float8
  FROM commitment WHERE report_at IS NOT NULL
"""
_DELIVERED = """
UPDATE commitment SET report_at = NULL, reported_at = now(), lease = '', leased_until = NULL, reason = ''
 WHERE lease = $1 RETURNING true
"""
_UNDELIVERED = """
UPDATE commitment SET lease = '', leased_until = NULL, reason = $2,
       report_at = CASE WHEN tries < $3 THEN now() + make_interval(secs => least(5 * power(2, tries - 1), 3600)) END
 WHERE lease = $1 RETURNING true
"""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was taken. `requester` is "" when it came by HTTP; `result` None while it is worked on."""

    requester: str
    references: list[Reference]
    result: bytes | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that the holder of `lease` works on. `is_late`: nothing is waited for any more."""

    uid: str
    lease: str
    references: list[Reference]
    is_late: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A result that the holder of a lease is to tell `requester`, in the name of our AE title `called`."""

    uid: str
    requester: str
    called: str
    result: bytes


async def add(
    catalog: Catalog, uid: str, requester: str, called: str, references: Sequence[Reference], seconds: float
) -> bool:
    """Keeps a new request, for whose instances is waited `seconds`; False when its UID is in use."""
    columns = (
        [one.sop_class for one in references],
        [one.sop_instance for one in references],
        [f"{one.study}/{one.series}" for one in references] if references[0].study else [],
    )
    return bool(await catalog.fetchval(_ADD, uid, requester, called, *columns, seconds))


async def get(catalog: Catalog, uid: str) -> Request | None:
    """The request of this Transaction UID."""
    row = await catalog.fetchrow(_GET, uid)
    return None if row is None else Request(row["requester"], _references(row), row["result"])


async def claim(catalog: Catalog, lease: str, uid: str = "") -> Claim | None:
    """A request that is due, this one or any (""), for the holder of a new lease."""
    row = await catalog.fetchrow(_CLAIM, uid, lease, LEASE_SECONDS)
    return None if row is None else Claim(row["uid"], lease, _references(row), row["is_late"])


async def next_look(catalog: Catalog) -> float | None:
    """Seconds until a request can be claimed; None when all are done."""
    seconds: float | None = await catalog.fetchval(_NEXT_LOOK)
    return seconds


async def renew(catalog: Catalog, held: Claim) -> bool:
    """Prolongs a lease; False when it is lost."""
    return bool(await catalog.fetchval(_RENEW, held.uid, held.lease, LEASE_SECONDS))


async def look_later(catalog: Catalog, held: Claim, seconds: float) -> None:
    """Gives a request back, to be looked at again after `seconds`, at the latest when its time is over."""
    await catalog.execute(_LATER, held.uid, held.lease, seconds)
    catalog.bell.ring()


async def finish(catalog: Catalog, held: Claim, result: bytes, grace: float) -> bool:
    """Keeps the result, of which the peer is told after `grace` seconds; False when the lease is lost."""
    return await catalog.fetchval(_DONE, held.uid, held.lease, result, grace) is not None


async def versions(catalog: Catalog, uids: Sequence[str]) -> list[Any]:
    """What is visible of these SOP Instance UIDs: a row for each copy, with its position (from 1) in `uids`."""
    return await catalog.fetch(_VERSIONS, list(uids))


async def report_again(catalog: Catalog, uid: str, grace: float) -> None:
    """The peer asked again: it is told once more."""
    await catalog.execute(_REPORT_AGAIN, uid, grace)


async def take_report(catalog: Catalog, lease: str, uid: str = "") -> Report | None:
    """A report that is due, or the one of this transaction, due or not, for the holder of a new lease."""
    row = await catalog.fetchrow(_TAKE_REPORT, uid, lease, LEASE_SECONDS)
    return None if row is None else Report(*row)


async def next_report(catalog: Catalog) -> float | None:
    """Seconds until a report is due; None when none is to be delivered."""
    seconds: float | None = await catalog.fetchval(_NEXT_REPORT)
    return seconds


async def delivered(catalog: Catalog, lease: str) -> bool:
    """The peer was told; False when the lease is lost."""
    return bool(await catalog.fetchval(_DELIVERED, lease))


async def undelivered(catalog: Catalog, lease: str, reason: str, most_tries: int) -> bool:
    """The peer could not be told: again after a growing pause, or never more after `most_tries`; False when the lease
    is lost."""
    return bool(await catalog.fetchval(_UNDELIVERED, lease, reason, most_tries))


def _references(row: Any) -> list[Reference]:
    places = [tuple(place.split("/")) for place in row["places"]] or [("", "")] * len(row["sop_uids"])
    found = zip(row["sop_classes"], row["sop_uids"], places, strict=True)
    return [Reference(sop_class, uid, *place) for sop_class, uid, place in found]
