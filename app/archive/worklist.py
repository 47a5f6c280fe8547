"""The modality worklist: items come and go, and are moved on when MPPS or images say that their step is done."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from app.archive.context import Context
from app.archive.worklist_rules import RULES, Event
from app.catalog import worklist as catalog

log = logging.getLogger("fileroom.worklist")

_EVENTS = {"IN PROGRESS": Event.STARTED, "COMPLETED": Event.COMPLETED, "DISCONTINUED": Event.DISCONTINUED}


async def performed(
    context: Context, performed_uid: str, status: str, steps: Iterable[tuple[str, str]], *, wrong_entry: bool = False
) -> int:
    """What an MPPS of this SOP Instance UID says of its scheduled steps: `status` is its Performed Procedure Step
    Status, `steps` are (Study Instance UID, Scheduled Procedure Step ID) of its Scheduled Step Attributes Sequence, the
    ID "" where it names none. `wrong_entry`: it was discontinued for DCM 110514, so its items are to be done still.
    The number of items that were found; unscheduled steps have none."""
    if wrong_entry:
        return await catalog.take_back(context.catalog, RULES[Event.WRONG_ENTRY].state, performed_uid)
    event = _EVENTS[status]
    minutes = context.worklist.minutes(event)
    found = 0
    for study_uid, step_id in steps:
        found += await catalog.move_on(context.catalog, RULES[event].state, performed_uid, minutes, study_uid, step_id)
    return found
