"""Transfers: instances on their way to a DIMSE peer or another DICOMweb server, by the durable queue. Workers hold one
by a lease; they tell what became of each instance, and how it ended (`OUTCOMES`)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from app.archive import destinations, peers
from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.catalog import asked_commitments, queue, step_messages
from app.catalog.notices import QUEUE, Notices
from app.catalog.queue import ASKED, DIMSE, REFUSED, SENDING, STATES, STOW, Due, Job, JobInstance, NewJob, Told
from app.catalog.step_messages import Message
from app.dicom.commitment import Result
from app.dicom.uid import is_uid
from app.errors import BadRequest, NotFound

log = logging.getLogger("fileroom.transfers")

OUTCOMES = ("ended", "more", "again", "unreachable", "failed", "asked")
PORTION = 1000
"""Instances of one lease; the rest of a longer transfer is another's."""
GONE = "the archive has it no more"
NO_REPORT = "no report of storage commitment came in time"
_NOT_NAMED = "the report of storage commitment does not name it"
_LOOK_SECONDS = 2.0
"""Between two looks while there are jobs that nobody can have yet."""
_IDLE_SECONDS = 30.0
"""The same without any: a new one is told of by a notice, which can be lost."""
_MOST_LISTED = 10_000
_LARGEST = (1 << 63) - 1
_LONGEST_TEXT = 500
_MEMBERS = frozenset({"peer", "server", "study", "series", "instances", "echo", "commit", "tries", "order"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: a DIMSE peer by AE title, or a DICOMweb server by name."""

    queue: str
    name: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Target:
        """The one of `peer` and `server` that is given; raises `BadRequest`."""
        given = [name for name in ("peer", "server") if name in value]
        if len(given) != 1 or not isinstance(value[given[0]], str):
            raise BadRequest("either `peer` (an AE title) or `server` (the name of a destination) is needed")
        return cls(DIMSE if given == ["peer"] else STOW, value[given[0]].strip())

    def to_json(self) -> dict[str, str]:
        """The member that `from_json` reads."""
        return {"peer" if self.queue == DIMSE else "server": self.name}

    async def check(self, context: Context) -> None:
        """Raises `BadRequest` when nothing can be sent there."""
        try:
            if self.queue == STOW:
                await destinations.one(context, self.name)
            elif not (await peers.one(context, self.name)).host:
                raise BadRequest("the peer has no address")
        except NotFound as error:
            raise BadRequest(f"{error.detail}: register it first") from error


@dataclass(frozen=True, slots=True)
class Request:
    """A transfer that somebody asks for."""

    target: Target
    study: str
    series: str = ""
    sops: tuple[str, ...] = ()
    echo: bool = False
    commit: bool = False
    tries: int = 0
    order: str = ""

    @classmethod
    def from_json(cls, value: object) -> Request:
        """The transfer that a JSON object asks for; raises `BadRequest`."""
        if not isinstance(value, dict):
            raise BadRequest("a transfer is a JSON object")
        if not _MEMBERS.issuperset(value):
            raise BadRequest(f"a transfer has the members {', '.join(sorted(_MEMBERS))}")
        uids = [value.get("study"), *([value["series"]] if "series" in value else ())]
        sops = value.get("instances", [])
        if not isinstance(sops, list) or len(sops) > _MOST_LISTED:
            raise BadRequest(f"`instances` is a list of at most {_MOST_LISTED} SOP Instance UIDs")
        if not all(isinstance(uid, str) and is_uid(uid) for uid in (*uids, *sops)):
            raise BadRequest("`study` is needed; it, `series` and each of `instances` are UIDs")
        tries, order = value.get("tries", 0), value.get("order", "")
        echo, commit = value.get("echo", False), value.get("commit", False)
        if isinstance(tries, bool) or not isinstance(tries, int) or not 0 <= tries <= 1000:
            raise BadRequest("`tries` is a whole number from 1 to 1000")
        if not isinstance(echo, bool) or not isinstance(commit, bool):
            raise BadRequest("`echo` and `commit` are true or false")
        if not isinstance(order, str) or len(order) > 128 or "\0" in order:
            raise BadRequest("`order` is a text of at most 128 characters")
        series = uids[1] if len(uids) > 1 else ""
        return cls(Target.from_json(value), str(uids[0]), str(series), tuple(sops), echo, commit, tries, order)

    def job(self, context: Context, origin: str) -> NewJob:
        """The job to add."""
        target, tries = self.target, self.tries or context.transfers.tries
        payload = {"echo": self.echo, "commit": self.commit}
        place = (self.study, self.series, self.sops, self.order)
        return NewJob(target.queue, target.name, origin, tries, payload, *place)


class Asking(NamedTuple):
    """A request for storage commitment under the Transaction UID `uid`: still to be made, or `is_asked`, so that its
    result may be there by now; `is_late` when it is waited for no more."""

    uid: str
    references: Sequence[tuple[str, str]]
    is_asked: bool = False
    is_late: bool = False


class Lease(NamedTuple):
    """A job in the hands of a worker: to send what is `due`, to ask for storage commitment, or to tell a message."""

    token: str
    job: Job
    due: Sequence[Due] = ()
    asking: Asking | None = None
    message: Message | None = None


async def create(context: Context, principal: str, request: Request) -> Job:
    """Queues a transfer; raises `BadRequest` for a destination that is not registered, `NotFound` when no visible
    instance is meant."""
    await request.target.check(context)
    await context.audit(AuditEvent("create-transfer", principal))
    made = await queue.add(context.catalog, request.job(context, principal))
    if made is None:
        raise NotFound("no such study, series or instances")
    return await one(context, made)


async def one(context: Context, number: int) -> Job:
    """One transfer; raises `NotFound`."""
    found = await queue.find(context.catalog, number) if 0 < number <= _LARGEST else None
    if found is None:
        raise NotFound("no such transfer")
    return found


async def listed(context: Context, before: int, state: str, destination: str, most: int) -> list[Job]:
    """Transfers, the newest first; `state` and `destination` "" mean any. Raises `BadRequest`."""
    if state and state not in STATES:
        raise BadRequest(f"`state` is one of {', '.join(STATES)}")
    number = STATES.index(state) if state else None
    return await queue.listed(context.catalog, before or _LARGEST, number, destination, most)


async def instances(context: Context, number: int, after: int, most: int) -> list[JobInstance]:
    """A page of the instances of a transfer."""
    return await queue.instances(context.catalog, number, after, most)


async def cancel(context: Context, principal: str, number: int) -> Job:
    """Ends a transfer that has not ended, and gives it; raises `NotFound`, or `BadRequest` when it has ended."""
    await one(context, number)
    await context.audit(AuditEvent("cancel-transfer", principal))
    if not await queue.cancel(context.catalog, number, "cancelled on request"):
        raise BadRequest("the transfer has ended already")
    return await one(context, number)


async def retry(context: Context, principal: str, number: int) -> Job:
    """Lets a transfer begin again with what did not arrive, and gives it; raises `NotFound`, or `BadRequest` when there
    is nothing to do again."""
    await one(context, number)
    await context.audit(AuditEvent("retry-transfer", principal))
    if not await queue.retry(context.catalog, number):
        raise BadRequest("the transfer is active, or has succeeded")
    return await one(context, number)


# ---------------------------------------------------------------- workers


async def claim(context: Context, name: str) -> Lease | None:
    """A transfer of the queue `name` that is due. Instances that were deleted meanwhile count as refused."""
    rules, catalog = context.transfers, context.catalog
    while True:
        token = secrets.token_urlsafe(24)
        job = await queue.claim(catalog, name, token, rules.lease_seconds, rules.each)
        if job is None:
            return None
        if job.step_uid:
            return Lease(token, job, message=await step_messages.message(catalog, job.id))
        if job.phase == SENDING:
            sending = await _sending(context, token, job)
            if sending is not None:
                return sending
            continue
        asking = await _asking(context, token, job)
        if asking is not None:
            return Lease(token, job, asking=asking)


async def _sending(context: Context, token: str, job: Job) -> Lease | None:
    """What a worker has to send; None when there is nothing left of that: no destination need be there for it."""
    due = await queue.due(context.catalog, job.id, PORTION)
    there = [one for one in due if one.sop_class]
    gone: list[Told] = [(one.at, REFUSED, 0, GONE) for one in due if not one.sop_class]
    if gone:
        await queue.report(context.catalog, token, context.transfers.lease_seconds, gone)
    if there:
        return Lease(token, job._replace(failed=job.failed + len(gone)), there)
    try:
        await end(context, token, "more" if len(due) == PORTION else "ended")
    except NotFound:
        log.info("transfer %d is no longer ours", job.id)
    return None


async def _asking(context: Context, token: str, job: Job) -> Asking | None:
    """What a worker has to do about storage commitment; None when that is settled: no report came, or the archive has
    nothing any more of what was sent. A new request has a new UID: nobody knows how far the last one came."""
    catalog, rules = context.catalog, context.transfers
    if job.phase == ASKED:
        waited = job.updated_at - (job.asked_at or job.updated_at)
        if job.queue == STOW:
            is_late = waited >= timedelta(seconds=rules.commitment_seconds)
            return Asking(job.transaction_uid, (), is_asked=True, is_late=is_late)
        await uncommitted(context, job.transaction_uid)
        return None
    uid = f"2.25.{uuid.uuid4().int}"
    found = await asked_commitments.to_commit(catalog, job.id)
    await asked_commitments.ask(catalog, token, uid, found[-1].at if found else 0)
    references = [(one.sop_class, one.sop) for one in found if one.sop_class]
    if references:
        return Asking(uid, references)
    await committed(context, uid, Result(uid, (), {}), GONE)
    return None


async def await_claim(context: Context, notices: Notices, name: str, seconds: float) -> Lease | None:
    """As `claim`, waiting up to `seconds` for a transfer."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    async with notices.watch(QUEUE) as watch:
        while True:
            lease = await claim(context, name)
            left = until - loop.time()
            if lease is not None or left <= 0 or notices.is_leaving:
                return lease
            is_open = await queue.is_open(context.catalog, name)
            pause = min(_LOOK_SECONDS, context.transfers.pause_seconds) if is_open else _IDLE_SECONDS
            await watch.wait(min(left, pause))


async def report(context: Context, lease: str, told: Sequence[Told] = ()) -> None:
    """Renews a lease and writes down what became of instances; raises `NotFound` when the lease is gone: the transfer
    was cancelled, or is another worker's by now."""
    if not await queue.report(context.catalog, lease, context.transfers.lease_seconds, told):
        raise NotFound("no such lease")


async def end(context: Context, lease: str, outcome: str, reason: str = "") -> str:
    """Ends a lease with one of `OUTCOMES`; the state of its transfer then. Raises `NotFound` as `report` does."""
    rules = context.transfers
    times = (rules.pause_seconds, rules.days, rules.commitment_seconds)
    state = await queue.end(context.catalog, lease, outcome, reason, *times)
    if state is None:
        raise NotFound("no such lease")
    return STATES[state]


async def committed(context: Context, uid: str, result: Result, reason: str = _NOT_NAMED) -> str:
    """Takes the result of a request for storage commitment; the state of its transfer then. What is not committed is
    sent again, as long as there are tries. Raises `NotFound` when nobody asked under this UID."""
    told = (result.committed, result.failures, reason)
    state = await asked_commitments.settle(context.catalog, uid, *told, context.transfers.pause_seconds)
    if state is None:
        raise NotFound("no such storage commitment request")
    log.info("a request for storage commitment is settled", extra={"fields": {"count": len(result.committed)}})
    return STATES[state]


async def uncommitted(context: Context, uid: str) -> str:
    """As `committed`, for a request whose result does not come."""
    return await committed(context, uid, Result(uid, (), {}), NO_REPORT)


async def check_lease(context: Context, lease: str, study: str, series: str, sop: str) -> None:
    """Raises `NotFound` unless the instance is among those of the lease."""
    if not await queue.holds(context.catalog, lease, study, series, sop):
        raise NotFound("no such resource")


def read_told(value: object) -> list[Told]:
    """What a worker's JSON tells of instances; raises `BadRequest`."""
    if not isinstance(value, list) or len(value) > PORTION:
        raise BadRequest(f"`instances` is a list of at most {PORTION}")
    return [_told(one) for one in value]


def _told(value: object) -> Told:
    if isinstance(value, list) and len(value) == 4:
        at, state, status, reason = value
        numbers = all(isinstance(one, int) and 0 <= one < 1 << 31 for one in (at, state, status))
        if numbers and state <= REFUSED and isinstance(reason, str):
            return at, state, status, plain(reason)
    raise BadRequest("each of `instances` is [number, state, status, reason]")


def plain(text: str) -> str:
    """A reason as it is kept: short, without characters that a text column cannot hold."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:_LONGEST_TEXT])
