"""The modality worklist: items come and go, and are moved on when MPPS or images say that their step is done."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable

import orjson

from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.archive.worklist_rules import RULES, Event
from app.archive.worklist_search import whole
from app.catalog import hl7_messages
from app.catalog import worklist as catalog
from app.catalog.worklist import Executor, ItemRow
from app.dicom import worklist as items
from app.dicom.values import text_key
from app.dicom.worklist import Item
from app.errors import BadRequest, NotFound

log = logging.getLogger("fileroom.worklist")

_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", re.ASCII)
_EVENTS = {"IN PROGRESS": Event.STARTED, "COMPLETED": Event.COMPLETED, "DISCONTINUED": Event.DISCONTINUED}


async def performed(
    context: Context,
    performed_uid: str,
    status: str,
    steps: Iterable[tuple[str, str]],
    *,
    wrong_entry: bool = False,
    executor: Executor | None = None,
) -> int:
    """What an MPPS of this SOP Instance UID says of its scheduled steps: `status` is its Performed Procedure Step
    Status, `steps` are (Study Instance UID, Scheduled Procedure Step ID) of its Scheduled Step Attributes Sequence, the
    ID "" where it names none. `wrong_entry`: it was discontinued for DCM 110514, so its items are to be done still.
    `executor` is the transaction in which that is kept, if there is one. The number of items that were found;
    unscheduled steps have none."""
    executor = executor or context.catalog
    if wrong_entry:
        return await catalog.take_back(executor, RULES[Event.WRONG_ENTRY].state, performed_uid)
    event = _EVENTS[status]
    minutes = context.worklist.minutes(event)
    found = 0
    for study_uid, step_id in steps:
        found += await catalog.move_on(executor, RULES[event].state, performed_uid, minutes, study_uid, step_id)
    return found


async def create(context: Context, principal: str, content: object) -> str:
    """Adds the item that a DICOM JSON object describes, under a key that is made for it; the key."""
    key = uuid.uuid4().hex
    await register(context, principal, key, content)
    return key


async def register(context: Context, principal: str, key: str, content: object) -> bool:
    """Adds the item that a DICOM JSON object describes, or replaces the one of this key; whether it is new. Raises
    `BadRequest`, `Unreadable` or `LimitExceeded`."""
    if _KEY.fullmatch(key) is None:
        raise BadRequest("a worklist item is named by 1 to 64 letters, digits and the characters . _ -")
    item = items.read_item(content, context.limits)
    await context.audit(AuditEvent("register-worklist-item", principal, items.text_of(item, items.STUDY_UID)))
    return await catalog.put(context.catalog, row_of(item, key, "rest"))


async def retrieve(context: Context, key: str) -> bytes:
    """The whole item as DICOM JSON, hidden ones too; raises `NotFound`."""
    row = await catalog.get(context.catalog, key)
    if row is None:
        raise NotFound("no such worklist item")
    return orjson.dumps(whole(row))


async def remove(context: Context, principal: str, key: str) -> None:
    """Removes an item for good; raises `NotFound`."""
    await context.audit(AuditEvent("remove-worklist-item", principal))
    if not await catalog.delete(context.catalog, key):
        raise NotFound("no such worklist item")


def row_of(item: Item, key: str, source: str, *, placer: str = "", filler: str = "") -> ItemRow:
    """What the catalog keeps of an item; the order's numbers are those of the feed, else those of the item."""
    usual, extra = items.split(item)
    return ItemRow(
        key,
        json=usual,
        extra=extra,
        placer_order=text_key(placer or items.text_of(item, items.PLACER)),
        filler_order=text_key(filler or items.text_of(item, items.FILLER)),
        source=source,
        **items.columns_of(item),
    )


async def settle(context: Context) -> int:
    """Applies the rule about images: open items whose step has images by now are done. Then forgets what was hidden
    long ago, and old HL7 messages. How many items were done."""
    minutes = context.worklist.minutes(Event.IMAGES)
    done = 0
    if minutes is not None:
        done = await catalog.settle_imaged(context.catalog, RULES[Event.IMAGES].state, minutes)
    await catalog.forget(context.catalog, context.worklist.keep_days)
    await hl7_messages.forget(context.catalog, context.worklist.keep_days)
    return done
