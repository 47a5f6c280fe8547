"""Prefetch of priors: when a worklist item comes, or some hours before its start, rules say which studies of the
patient are brought here from another archive. Its laws: the study of the item is never a prior; what is here is not
fetched again; a rule makes one job about an item, and an instance has arrived when it is here."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Protocol

import orjson

from app.archive import worklist_search
from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.archive.prefetch_rules import SERIES, DataSet, PrefetchRule, Wish, candidates, is_prior
from app.archive.worklist_rules import State
from app.catalog import prefetch as catalog
from app.catalog import queue
from app.catalog import worklist_search as items
from app.catalog.prefetch import WHOLE, Later, Named, Row
from app.catalog.queue import PREFETCH, Job, NewJob
from app.dicom.query import read_query
from app.dicom.uid import is_uid
from app.dicom.worklist import step_of, text_of
from app.errors import BadRequest, FileroomError, NotFound, Unavailable

log = logging.getLogger("fileroom.jobs")

PORTION = 100
"""Items that the rules are asked about at a time."""
_LOOKED_INTO = 200
"""Studies of a patient whose series are looked at."""
_MOST_INSTANCES = 100_000
_OPEN = frozenset({State.SCHEDULED, State.IN_PROGRESS, State.COMPLETED})


class SourceAway(Exception):
    """The source gives nothing now, whatever it is."""


class Source(Protocol):
    """Another archive. What it raises besides `SourceAway` is a `FileroomError`: it failed, and may do better later."""

    async def echo(self) -> None:
        """Returns when it answers; raises `SourceAway` otherwise."""

    async def studies(self, patient_id: str) -> Sequence[DataSet]:
        """The studies of a Patient ID."""

    async def series(self, study: str) -> Sequence[DataSet]:
        """The series of a study."""

    async def instances(self, study: str, series: str) -> Sequence[str]:
        """SOP Instance UIDs of a series, or only `WHOLE` when it does not tell them."""

    async def fetch(self, study: str, missing: Sequence[Named], *, whole: bool) -> str:
        """Brings instances of a study, or `whole` of it, here; what went wrong, "" when it says that all went well."""

    async def close(self) -> None:
        """Ends what is under way."""


# ---------------------------------------------------------------- the registry


async def registered(context: Context) -> list[PrefetchRule]:
    """Every rule, by name."""
    rows = await catalog.RULES.everyone(context.catalog)
    return [PrefetchRule.from_json(name, orjson.loads(text)) for name, text in rows]


async def one(context: Context, name: str) -> PrefetchRule:
    """The rule of this name; raises `NotFound`."""
    text = await catalog.RULES.find(context.catalog, name) if "\0" not in name else None
    if text is None:
        raise NotFound("no such rule")
    return PrefetchRule.from_json(name, orjson.loads(text))


async def put(context: Context, principal: str, rule: PrefetchRule) -> bool:
    """Adds a rule, or replaces it; whether it is new. It is asked about all items that are still to be done."""
    await rule.source.check(context)
    await context.audit(AuditEvent("put-prefetch-rule", principal))
    return await catalog.put(context.catalog, rule.name, orjson.dumps(rule.to_json()).decode())


async def remove(context: Context, principal: str, name: str) -> None:
    """Removes a rule; raises `NotFound`. What it has queued stays."""
    await context.audit(AuditEvent("remove-prefetch-rule", principal))
    if "\0" in name or not await catalog.RULES.delete(context.catalog, name):
        raise NotFound("no such rule")


# ---------------------------------------------------------------- items


async def look(context: Context, now: datetime | None = None) -> bool:
    """Queues what the rules make of items that came, changed, or are due; whether there may be more. The jobs are
    committed together with the word that the items were looked at, so that a kill makes none twice and loses none."""
    seconds = await catalog.next_look(context.catalog)
    if seconds is None or seconds > 0:
        return False
    now = now or datetime.now(UTC)
    rules = [rule for rule in await registered(context) if rule.enabled]
    async with catalog.looking(context.catalog, PORTION) as (connection, rows):
        later: dict[int, datetime] = {}
        for rule in rules:
            for row in await _matching(context, rule, rows):
                at = rule.due_at(_start(row), now)
                if at is not None and at > now:
                    later[row["id"]] = min(at, later.get(row["id"], at))
                elif at is not None:
                    wish = _wish(rule, row)
                    await catalog.make(connection, rule.name, wish.about, _job(context, rule, row, wish))
        await catalog.looked(connection, [row["id"] for row in rows], [Later(*one) for one in later.items()])
    return len(rows) == PORTION


async def _matching(context: Context, rule: PrefetchRule, rows: Sequence[Row]) -> list[Row]:
    """Those of the items that are not called off and are as the rule wants them: who is quicker than this process, and
    has done the step by now, wants its priors no less."""
    fit = {row["id"]: row for row in rows if row["state"] in _OPEN and row["patient_id"].strip()}
    if not rule.where or not fit:
        return list(fit.values())
    query = read_query("STUDY", rule.where, limits=context.limits)
    planned = items.among(worklist_search.plan(context, query, rule.where, None, hidden=True), list(fit))
    try:
        async with aclosing(worklist_search.matching(context, planned, len(fit))) as found:
            return [fit[row["id"]] async for row in found]
    except BadRequest as error:  # such as a search that takes too long
        log.error("prefetch rule %s cannot be asked, and is passed over: %s", rule.name, error.detail)
        return []


def _start(row: Row) -> datetime:
    """The scheduled start of an item, which is told in the time of the place."""
    return datetime.strptime(row["step_date"] + (row["step_time"] or "000000")[:4], "%Y%m%d%H%M").astimezone()


def _wish(rule: PrefetchRule, row: Row) -> Wish:
    item = worklist_search.data_set(row)
    return rule.wish(item, step_of(item), _start(row).date())


def _job(context: Context, rule: PrefetchRule, row: Row, wish: Wish) -> NewJob:
    payload = {"from": rule.source.to_json(), "rule": rule.to_json(), "name": rule.name, "echo": rule.echo}
    payload |= {"item": row["id"], "key": row["key"]}
    tries = rule.tries or context.transfers.tries
    order = rule.order_of(wish)
    return NewJob(PREFETCH, rule.source.name, f"prefetch {rule.name}", tries, payload, "", order_key=order)


# ---------------------------------------------------------------- workers


async def claim(context: Context) -> tuple[str, Job] | None:
    """A job that is due, and the lease by which it is held."""
    token = secrets.token_urlsafe(24)
    job = await queue.claim(context.catalog, PREFETCH, token, context.transfers.lease_seconds, context.transfers.each)
    return None if job is None else (token, job)


async def note_arrivals(context: Context, lease: str) -> int:
    """Renews a lease, and counts what of its job is missing still. Raises `NotFound` when the lease is gone."""
    missing = await catalog.note_arrivals(context.catalog, lease, context.transfers.lease_seconds)
    if missing is None:
        raise NotFound("no such lease")
    return missing


async def list_priors(context: Context, lease: str, job: Job, source: Source) -> None:
    """Asks the source which studies are priors of the job's item, and writes down what of them is not here. Raises
    `NotFound` when the lease is gone, `BadRequest` when the priors cannot be told from others', and as the source."""
    wanted: list[Named] = []
    row = await catalog.item(context.catalog, job.payload["item"])
    if row is not None and row["state"] in _OPEN:
        rule = PrefetchRule.from_json(job.payload["name"], job.payload["rule"])
        wanted = await choose(source, _wish(rule, row))
    if await catalog.list_instances(context.catalog, lease, wanted) is None:
        raise NotFound("no such lease")


async def choose(source: Source, wish: Wish) -> list[Named]:
    """The instances of the newest studies that are wanted, study after study."""
    chosen: list[Named] = []
    studies = 0
    for study in candidates(await source.studies(wish.patient_id), wish)[:_LOOKED_INTO]:
        if studies == wish.most:
            break
        series = await source.series(study)
        if is_prior(series, wish):
            studies += 1
            for uid in dict.fromkeys(text_of(one, SERIES) for one in series):
                if is_uid(uid):
                    chosen += [(study, uid, sop) for sop in dict.fromkeys(await source.instances(study, uid))]
        if len(chosen) > _MOST_INSTANCES:
            raise BadRequest(f"the priors have more than {_MOST_INSTANCES} instances")
    return [named for named in chosen if named[2] == WHOLE or is_uid(named[2])]


async def bring(context: Context, lease: str, job: Job, source: Source) -> tuple[str, str]:
    """Has the source send what is missing, study after study, of which none stops another; how the lease ends and why.
    Raises `SourceAway`, `Unavailable`, and `NotFound` when the lease is gone."""
    studies: dict[str, list[Named]] = {}
    await note_arrivals(context, lease)  # of a worker that was killed
    for named in await catalog.missing(context.catalog, job.id):
        studies.setdefault(named[0], []).append(named)
    problem = ""
    for study, missing in studies.items():
        whole = not await catalog.has_study(context.catalog, study)
        try:
            failed = await source.fetch(study, missing, whole=whole)
            if not failed and any(named[2] == WHOLE for named in missing):
                await catalog.note_series(context.catalog, lease, study)
            problem = failed or problem
        except Unavailable:  # it is the archive that cannot
            raise
        except FileroomError as error:
            problem = error.detail
        await note_arrivals(context, lease)
    left = await note_arrivals(context, lease)
    if left:
        return "again", problem or f"{left} instances were not sent"
    return "ended", ""
