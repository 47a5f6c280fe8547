"""The feed: each message is kept, applied to the worklist and acknowledged (HL7 2.5.1, 2.9.2). Its laws:

AA only when what the message says is in the catalog. The same message again changes nothing. AE is the sender's to
mend; AR means that the message is for somebody else, or that we could not do it now."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from app.archive.context import Context
from app.archive.worklist import row_of
from app.archive.worklist_rules import RULES, Event, State
from app.archive.worklist_search import data_set
from app.catalog import hl7_messages as kept
from app.catalog import worklist as catalog
from app.catalog.worklist import Row
from app.dicom import worklist as items
from app.errors import DatabaseDown, Refused
from app.hl7.content import Content, Segments, content_of, member
from app.hl7.mapping import PATIENT, Mapped
from app.hl7.message import NOTHING, Header, Message, NotUnderstood, place, read, read_header
from app.hl7.orders import Order, read_orders

log = logging.getLogger("fileroom.hl7")

_CANCEL, _COMPLETED, _STARTED = "cancel", "completed", "started"
_EVENTS = {_CANCEL: Event.CANCELLED, _COMPLETED: Event.COMPLETED, _STARTED: Event.STARTED}
_MISSING, _UNKNOWN_KEY, _UNSUPPORTED_TYPE, _UNSUPPORTED_EVENT, _INTERNAL = 101, 204, 200, 201, 207
_PATIENT_ID, _ISSUER = items.PATIENT_ID, items.ISSUER


@dataclass(frozen=True, slots=True)
class FeedRules:
    """The settings of the feed. `station` is a place of ORM^O01 such as `OBR-21`."""

    character_set: str = "UNICODE UTF-8"
    station: str = "OBR-21"
    longest: int = 1 << 20


class Verdict(NamedTuple):
    """`code` is of HL7 table 0008 (AA, AE, AR), `error` of table 0357, 0 for none. `reason` holds no patient data."""

    code: str
    error: int = 0
    reason: str = ""


_ACCEPTED = Verdict("AA")


class Feed:
    """Takes messages one after the other: two may be about one order."""

    def __init__(self, context: Context, rules: FeedRules = FeedRules()) -> None:
        self._context = context
        self._rules = rules
        place(rules.station)
        self._station = Mapped("ScheduledStationAETitle", ("IPC-9.1", rules.station), "texts", in_step=True)
        self._lock = asyncio.Lock()

    async def receive(self, data: bytes, sender: str) -> bytes:
        """The acknowledgement of a message. When the catalog is away nothing is kept, and AR says so."""
        try:
            header: Header | None = read_header(data)
        except NotUnderstood:
            header = None
        kind, control = (_told(header.kind), _told(header.control_id)) if header else ("", "")
        try:
            number = await kept.keep(self._context.catalog, sender, kind, control, data)
            verdict = await self._judge(data)
            await kept.acknowledge(self._context.catalog, number, verdict.code, verdict.reason)
        except DatabaseDown:
            verdict = Verdict("AR", _INTERNAL, "the catalog is not available; send again")
        log.info("HL7 message", extra={"fields": {"status": verdict.code, "reason": verdict.reason}})
        return acknowledgement(header, verdict)

    async def replay(self, number: int, data: bytes) -> Verdict:
        """Applies a kept message again. Raises `DatabaseDown`."""
        verdict = await self._judge(data)
        await kept.acknowledge(self._context.catalog, number, verdict.code, verdict.reason, again=True)
        return verdict

    async def _judge(self, data: bytes) -> Verdict:
        try:
            message = read(data, self._rules.character_set)
            async with self._lock:
                return await self._apply(message)
        except NotUnderstood as error:
            return Verdict("AE", error.code, error.detail)
        except Refused as error:
            return Verdict("AE", _MISSING, error.detail)

    async def _apply(self, message: Message) -> Verdict:
        kind, _, event = message.header.kind.partition("^")
        if (kind, event) in (("ORM", "O01"), ("OMI", "O23")):
            for order in read_orders(message, self._station):
                await self._order(order)
            return _ACCEPTED
        if (kind, event) in (("ADT", "A08"), ("ADT", "A40")):
            await self._patients(message, merges=event == "A40")
            return _ACCEPTED
        if kind in ("ORM", "OMI", "ADT"):
            return Verdict("AR", _UNSUPPORTED_EVENT, "the trigger event is not supported")
        return Verdict("AR", _UNSUPPORTED_TYPE, "the message type is not supported")

    # -- orders

    async def _order(self, order: Order) -> None:
        rows = await catalog.of_order(self._context.catalog, order.placer, order.filler, order.accession)
        event = _EVENTS.get(order.deed)
        if event is not None:
            await self._move_on(order, rows, event)
        elif order.deed:
            if not order.steps:
                raise NotUnderstood(100, "there is no OBR segment")
            for number, content in enumerate(order.steps):
                await self._put(order, content, _known(rows, content, number, len(order.steps)))

    async def _move_on(self, order: Order, rows: Sequence[Row], event: Event) -> None:
        """Cancels or finishes the steps that the message names; all of the order when it names none."""
        named = {step for content in order.steps if (step := items.text_of(content.step, items.STEP_ID))}
        keys = [row["key"] for row in rows if not named or row["step_id"] in named]
        keys = keys or ([row["key"] for row in rows] if len(rows) == 1 else [])
        if not keys:
            raise NotUnderstood(_UNKNOWN_KEY, "no worklist item is known for this order")
        minutes = self._context.worklist.minutes(event)
        await catalog.set_state(self._context.catalog, RULES[event].state, minutes, keys)

    async def _put(self, order: Order, content: Content, known: Row | None) -> None:
        item = data_set(known) if known else {}
        step = items.step_of(item) if known else {}
        merged = {**item, **content.root, items.SEQUENCE: {"vr": "SQ", "Value": [{**step, **content.step}]}}
        number = order.filler or order.placer
        if number and not items.text_of(merged, items.ACCESSION):
            merged |= member("AccessionNumber", [number])
        _keep_what_must_be(merged, item)
        _keep_what_must_be(merged[items.SEQUENCE]["Value"][0], step)
        whole = items.read_item(merged, self._context.limits)
        key = known["key"] if known else uuid.uuid4().hex
        row = row_of(whole, key, "hl7", placer=order.placer, filler=order.filler)
        await catalog.put(self._context.catalog, row)
        if known and order.deed == "new" and known["state"] == State.CANCELLED:
            await catalog.set_state(self._context.catalog, State.SCHEDULED, None, [key])

    # -- patients

    async def _patients(self, message: Message, *, merges: bool) -> None:
        """A08 changes the demographics of a patient's items; A40 hands those of MRG-1 over to the patient of PID."""
        segments = Segments(message.segments)
        content = content_of(segments, PATIENT).root
        patient, issuer = items.text_of(content, _PATIENT_ID), items.text_of(content, _ISSUER)
        if not patient:
            raise NotUnderstood(_MISSING, "PID-3 is missing")
        if merges:
            prior = segments.text("MRG-1.1")
            if not prior or prior == NOTHING:
                raise NotUnderstood(_MISSING, "MRG-1 is missing")
            await self._change(prior, segments.text("MRG-1.4.1"), content)
        await self._change(patient, issuer, content)

    async def _change(self, patient: str, issuer: str, content: dict[str, dict[str, object]]) -> None:
        for row in await catalog.of_patient(self._context.catalog, patient, issuer):
            item = data_set(row)
            merged = item | content
            _keep_what_must_be(merged, item)
            whole = items.read_item(merged, self._context.limits)
            changed = row_of(whole, row["key"], row["source"], placer=row["placer_order"], filler=row["filler_order"])
            await catalog.put(self._context.catalog, changed)


def _known(rows: Sequence[Row], content: Content, number: int, steps: int) -> Row | None:
    """The item that a step of the order is: by its ID, else by its place among as many steps."""
    wanted = items.text_of(content.step, items.STEP_ID)
    for row in rows:
        if wanted and row["step_id"] == wanted:
            return row
    if wanted and steps > 1:
        return None
    return rows[number] if len(rows) == steps else None


_MUST = (items.PATIENT_ID, items.PATIENT_NAME, items.STUDY_UID, items.PROCEDURE_ID, items.STEP_ID, items.START_DATE)


def _keep_what_must_be(merged: dict[str, dict[str, object]], before: dict[str, dict[str, object]]) -> None:
    """What an item cannot be without is not emptied by a message."""
    for tag in (*_MUST, items.MODALITY):
        if tag in before and not items.text_of(merged, tag):
            merged[tag] = before[tag]


def _told(text: str) -> str:
    """A field of the header as the catalog can hold it."""
    return "".join(character for character in text if character.isprintable())[:64]


def acknowledgement(header: Header | None, verdict: Verdict) -> bytes:
    """The ACK of a message, in its separators; of one without a header with nothing to refer to."""
    separators = header.separators if header else "|^~\\&"
    bar, caret = separators[0], separators[1]
    field = header.field if header else (lambda number: "")
    event = field(9).split(caret)[1:2]
    moment = datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")
    head = ["MSH", separators[1:], field(5), field(6), field(3), field(4), moment, ""]
    head += [caret.join(["ACK", *event]), uuid.uuid4().hex[:20], field(11) or "P", field(12) or "2.5.1"]
    reason = "".join(
        character for character in verdict.reason if character not in separators and character.isprintable()
    )
    lines = [bar.join(head), bar.join(["MSA", verdict.code, field(10), reason])]
    if verdict.error:
        code = caret.join([str(verdict.error), reason, "HL70357"])
        lines.append(bar.join(["ERR", "", "", code, "E"]))
    return ("\r".join(lines) + "\r").encode("latin-1", "replace")
