"""Modality performed procedure steps: modalities say what they do (PS3.18 15, PS3.4 F). The images of a wrong worklist
entry are hidden, whether they come before or after, and that can be undone like any delete."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from app.archive import step_routing, worklist
from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.archive.delete import record
from app.catalog import performed_steps as catalog
from app.catalog import step_messages
from app.catalog.performed_steps import StepRow
from app.catalog.worklist import Executor
from app.dicom import performed_step as model
from app.dicom.performed_step import DataSet, State, Step
from app.errors import BadRequest, BlobStoreFailed, DatabaseDown, DuplicateInstance, NotFound, StorageFull

log = logging.getLogger("fileroom.mpps")

HIDE_AGAIN = timedelta(seconds=20)
"""A store that was under way when its images were refused has ended by then."""
LOOK_DAYS = 30
"""Days for which instances of a completed step are looked for."""
_WORDS = {state: word for word, state in model.WORDS.items()}


@dataclass(frozen=True, slots=True)
class StudySteps:
    """The steps of a study. `status` is COMPLETED when at least one step is completed, none is in progress, and every
    instance of the completed ones is there; IN PROGRESS before; empty without steps."""

    status: str
    steps: list[dict[str, Any]]


async def create(context: Context, principal: str, uid: str, content: object) -> None:
    """N-CREATE: a new step. Raises `DuplicateInstance`, `MissingAttribute`, `InvalidAttribute` or `Unreadable`."""
    step = model.created(model.read(_lone(content), context.limits))
    await context.audit(AuditEvent("create-performed-step", principal, step.studies[0], "", uid))
    messages = await step_routing.messages(context, uid, step)

    async def then(kept: Executor) -> None:
        await _tell_worklist(context, uid, step, kept)
        for one in messages:
            await step_messages.add(kept, one)

    if not await catalog.create(context.catalog, _row(uid, step), then):
        raise DuplicateInstance("the performed procedure step exists already")


async def update(context: Context, principal: str, uid: str, content: object) -> None:
    """N-SET. Raises `NotFound`, `StepEnded`, `MissingAttribute`, `InvalidAttribute` or `Unreadable`."""
    given = model.read(_lone(content), context.limits)
    made: list[Step] = []

    def decide(state: int, stored: bytes) -> StepRow:
        made[:] = [model.updated(Step(State(state), orjson.loads(stored)), given)]
        return _row(uid, made[0])

    async def then(kept: Executor) -> None:
        await _tell_worklist(context, uid, made[0], kept)
        await step_messages.follow_up(kept, uid, model.encode(given))

    completes = context.steps_complete_studies
    row = await catalog.change(context.catalog, uid, decide, then, context.undo_hours, completes=completes)
    if row is None:
        raise NotFound("no such performed procedure step")
    step = made[0]
    await context.audit(AuditEvent("update-performed-step", principal, step.studies[0], "", uid))
    await _follow(context, uid, step)


async def _follow(context: Context, uid: str, step: Step) -> None:
    """What an update has for consequences. The update itself is kept: what fails here is done by the jobs."""
    try:
        if step.is_wrong_entry:
            await hide(context, uid)
        elif step.state is State.COMPLETED:
            await catalog.look(context.catalog, uid, LOOK_DAYS, completes=context.steps_complete_studies)
    except (DatabaseDown, BlobStoreFailed, StorageFull) as error:
        log.warning("what follows a performed procedure step is done later: %s", error.detail)


async def _tell_worklist(context: Context, uid: str, step: Step, kept: Executor) -> None:
    """In the transaction that keeps the step, so that no kill leaves an item behind whose step is done."""
    status, wrong = _WORDS[step.state], step.is_wrong_entry
    await worklist.performed(context, uid, status, sorted(step.scheduled), wrong_entry=wrong, executor=kept)


async def retrieve(context: Context, uid: str) -> bytes:
    """All attributes of a step as one DICOM JSON object; raises `NotFound`."""
    found = await catalog.get(context.catalog, uid)
    if found is None:
        raise NotFound("no such performed procedure step")
    return found


async def of_study(context: Context, study: str, most: int) -> StudySteps:
    """The steps of a study and what they say of it; of all studies ("") the newest ones."""
    found = await catalog.listed(context.catalog, study, most)
    status = ""
    if study and found and context.steps_complete_studies:
        open_ones = [
            row
            for row in found
            if row.state == State.IN_PROGRESS or (row.state == State.COMPLETED and not row.complete_at)
        ]
        ended = [row for row in found if row.complete_at]
        status = "COMPLETED" if ended and not open_ones else "IN PROGRESS"
    steps = [
        {
            "uid": row.uid,
            "status": _WORDS[State(row.state)],
            "wrongWorklistEntry": row.wrong_entry,
            "studies": row.study_uids,
            "instances": row.instances,
            "missing": row.missing,
            "created": row.created_at,
            "ended": row.ended_at,
            "complete": row.complete_at,
        }
        for row in found
    ]
    return StudySteps(status, steps)


async def hide(context: Context, uid: str) -> int:
    """Hides what is there of a wrong worklist entry; how many instances."""
    versions = await catalog.hide(context.catalog, uid)
    if versions:
        await context.audit(AuditEvent("delete", f"mpps {uid}", versions[0].study))
        await record(context, "delete", versions)
        log.info("images of a wrong worklist entry are hidden", extra={"fields": {"count": len(versions)}})
    await catalog.hide_later(context.catalog, uid, HIDE_AGAIN)
    return len(versions)


async def next_due(context: Context) -> float | None:
    """Seconds until `settle` has something to do, 0 or less when it has; None when nothing is planned."""
    return await catalog.next_due(context.catalog)


async def settle(context: Context) -> int:
    """What is due of all steps: tells the journal of what was hidden as it came, hides what slipped through, and sees
    which completed steps have all their instances by now. How many steps were looked at."""
    ids, hidden = await catalog.arrivals(context.catalog)
    if ids:
        await record(context, "delete", hidden)
        await catalog.forget_arrivals(context.catalog, ids)
    steps = await catalog.due(context.catalog)
    for uid, wrong_entry in steps:
        if wrong_entry:
            await hide(context, uid)
        else:
            await catalog.look(context.catalog, uid, LOOK_DAYS, completes=context.steps_complete_studies)
    return len(steps)


def _row(uid: str, step: Step) -> StepRow:
    return StepRow(uid, step.state, step.is_wrong_entry, model.encode(step.data_set), step.studies, step.references)


def _lone(content: object) -> DataSet:
    """The data set of a payload: an object, or an array of one (PS3.18 F.2.1)."""
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        raise BadRequest("one data set is needed")
    return content
