"""Storage commitment (PS3.18 13, PS3.4 J). Its laws: success is said of an instance only after the bytes of every
copy of it were read again and have the digest of the day they came; what has not come yet is waited for; every
reference is answered once; all of it outlives this process."""

from __future__ import annotations

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.archive.verify import problem_of
from app.catalog import commitments as catalog
from app.catalog.commitments import Claim, Report
from app.catalog.notices import QUEUE, Notices
from app.dicom import commitment as model
from app.dicom.commitment import FailureReason, Reference
from app.dicom.storage_classes import is_storage
from app.errors import BadRequest, DuplicateInstance, NotFound

log = logging.getLogger("fileroom.commitment")

GRACE_SECONDS = 2.0
"""The association on which the peer asked is told first; others deliver after that."""
_AT_ONCE_BYTES = 256 << 20
"""What is read again while the requester waits; more is the job process's."""
_RENEW_SECONDS = 15.0
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: `ae_title` and our `called` AE title are "" for HTTP."""

    principal: str
    ae_title: str = ""
    called: str = ""


async def request(context: Context, requester: Requester, uid: str, content: object) -> bytes | None:
    """Takes a request; its result when that can be told at once, None while it is worked on. Raises
    `DuplicateInstance` when the UID is in use (a peer may ask the same again), `BadRequest`, `Unreadable` or
    `LimitExceeded`."""
    references = model.read(_lone(content), context.limits)
    await context.audit(AuditEvent("request-commitment", requester.principal))
    rules = context.commitment
    if not await catalog.add(
        context.catalog, uid, requester.ae_title, requester.called, references, rules.timeout_seconds
    ):
        known = await catalog.get(context.catalog, uid)
        same = known is not None and (known.requester, known.references) == (requester.ae_title, references)
        if known is None or not same or not requester.ae_title:
            raise DuplicateInstance("the Transaction UID is in use")
        await catalog.report_again(context.catalog, uid, GRACE_SECONDS)
        return known.result
    held = await catalog.claim(context.catalog, _new_lease(), uid)
    return None if held is None else await look(context, held, most_bytes=_AT_ONCE_BYTES)


async def result(context: Context, uid: str, ae_title: str | None) -> bytes | None:
    """The result of a request, None while it is worked on. Raises `NotFound`, also for that of another peer."""
    found = await catalog.get(context.catalog, uid)
    if found is None or (ae_title is not None and found.requester != ae_title):
        raise NotFound("no such storage commitment request")
    return found.result


async def work(context: Context) -> bool:
    """Looks at one request that is due; whether there was one."""
    held = await catalog.claim(context.catalog, _new_lease())
    if held is not None:
        await look(context, held)
    return held is not None


async def next_look(context: Context) -> float | None:
    """Seconds until `work` has something to do; None when no request is open."""
    return await catalog.next_look(context.catalog)


async def look(context: Context, held: Claim, most_bytes: int | None = None) -> bytes | None:
    """Ends a request, or gives it back to be looked at later; the result. More than `most_bytes` are left to others."""
    copies: dict[int, list[Any]] = defaultdict(list)
    for row in await catalog.versions(context.catalog, [one.sop_instance for one in held.references]):
        copies[row["at"] - 1].append(row)
    waits = [at for at, one in enumerate(held.references) if not copies[at] and is_storage(one.sop_class)]
    if waits and not held.is_late:
        await catalog.look_later(context.catalog, held, context.commitment.interval_seconds)
        return None
    if most_bytes is not None and sum(row["length"] for rows in copies.values() for row in rows) > most_bytes:
        await catalog.look_later(context.catalog, held, 0.0)
        return None
    failures = await _verify(context, held, copies)
    if failures is None:
        return None
    made = model.result(held.references, failures)
    if not await catalog.finish(context.catalog, held, made, GRACE_SECONDS):
        return None
    fields = {"count": len(held.references), "failed": len(failures)}
    log.info("a storage commitment request is answered", extra={"fields": fields})
    return made


async def _verify(context: Context, held: Claim, copies: Mapping[int, Sequence[Any]]) -> dict[int, int] | None:
    """Reads everything again; reasons by position, None when somebody else took the request over."""
    failures: dict[int, int] = {}
    renewed = time.monotonic()
    for at, one in enumerate(held.references):
        reason = _judge(context, one, copies[at])
        for row in copies[at] if reason is None else ():
            if problem := await problem_of(context, row):
                log.error("an instance cannot be committed: %s", problem)
                reason = FailureReason.PROCESSING_FAILURE
            if time.monotonic() - renewed > _RENEW_SECONDS:
                if not await catalog.renew(context.catalog, held):
                    return None
                renewed = time.monotonic()
        if reason is not None:
            failures[at] = reason
    return failures


def _judge(context: Context, one: Reference, rows: Sequence[Any]) -> FailureReason | None:
    """What can be said of a reference without reading bytes."""
    if not is_storage(one.sop_class):
        return FailureReason.CLASS_NOT_SUPPORTED
    if not rows:
        full = context.blobs.free_bytes() < context.reserve_bytes
        return FailureReason.RESOURCE_LIMITATION if full else FailureReason.NO_SUCH_INSTANCE
    if any(row["sop_class"] != one.sop_class for row in rows):
        return FailureReason.CLASS_INSTANCE_CONFLICT
    if one.study and (one.study, one.series) not in {(row["study"], row["series"]) for row in rows}:
        return FailureReason.NO_SUCH_INSTANCE
    return None


# ---------------------------------------------------------------- reports


async def await_report(context: Context, notices: Notices, seconds: float, uid: str = "") -> tuple[str, Report] | None:
    """A report and the lease that is needed to say what became of it: that of transaction `uid` if it can be had, else
    the first one that is due within `seconds`."""
    lease = _new_lease()
    if uid:
        report = await catalog.take_report(context.catalog, lease, uid)
        return None if report is None else (lease, report)
    end = time.monotonic() + seconds
    async with notices.watch(QUEUE) as watch:
        while True:
            report = await catalog.take_report(context.catalog, lease)
            left = end - time.monotonic()
            if report is not None:
                return lease, report
            if left <= 0 or notices.is_leaving:
                return None
            due = await catalog.next_report(context.catalog)
            await watch.wait(left if due is None else min(left, max(due, 0.05)))


async def told(context: Context, lease: str, reason: str) -> None:
    """What became of a report: delivered without `reason`. Raises `NotFound` when the lease is lost."""
    if reason:
        tries = context.commitment.report_tries
        kept = await catalog.undelivered(context.catalog, lease, reason[:_LONGEST_REASON], tries)
    else:
        kept = await catalog.delivered(context.catalog, lease)
    if not lease or not kept:
        raise NotFound("no such lease")


def _new_lease() -> str:
    return secrets.token_hex(16)


def _lone(content: object) -> object:
    """The data set of a payload: an object, or an array of one (PS3.18 F.2.1)."""
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        raise BadRequest("one data set is needed")
    return content
