"""ORM^O01 and OMI^O23 taken apart: each ORC is an order, each OBR of it a requested procedure, each IPC (OMI) a
scheduled step; without an IPC the OBR is the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.hl7.content import Content, Segments, content_of
from app.hl7.mapping import CONTROLS, ORDER, STATUSES, Mapped
from app.hl7.message import Message, NotUnderstood, Segment

_OF_PATIENT = frozenset({"PID", "PV1", "PV2", "AL1", "OBX", "PD1"})
_NO_CONTROL = "ORC-1 asks for what is not supported"


@dataclass(slots=True)
class Order:
    """What one ORC asks for: `deed` is a value of `CONTROLS` or `STATUSES`; "" asks for nothing. `steps` are items as
    far as the message describes them."""

    deed: str
    placer: str
    filler: str
    accession: str
    steps: list[Content] = field(default_factory=list)


def read_orders(message: Message, station: Mapped) -> list[Order]:
    """The orders of a message; `station` tells where the AE title stands in messages without IPC. Raises
    `NotUnderstood`."""
    patient = [segment for segment in _before_orders(message) if segment.name in _OF_PATIENT]
    if not any(segment.name == "PID" for segment in patient):
        raise NotUnderstood(100, "there is no PID segment")
    orders = [_order(patient, group, (*ORDER, station)) for group in _groups(message.segments, "ORC")]
    if not orders:
        raise NotUnderstood(100, "there is no ORC segment")
    return orders


def _before_orders(message: Message) -> Iterator[Segment]:
    for segment in message.segments:
        if segment.name == "ORC":
            return
        yield segment


def _groups(segments: Sequence[Segment], name: str) -> list[list[Segment]]:
    """Runs of segments that begin with one of this name; what stands before the first one is left out."""
    groups: list[list[Segment]] = []
    for segment in segments:
        if segment.name == name:
            groups.append([])
        if groups:
            groups[-1].append(segment)
    return groups


def _order(patient: list[Segment], group: list[Segment], table: Sequence[Mapped]) -> Order:
    whole = Segments(group)
    order = Order(
        _deed(whole),
        whole.text("ORC-2.1") or whole.text("OBR-2.1"),
        whole.text("ORC-3.1") or whole.text("OBR-3.1"),
        whole.text("IPC-1.1") or whole.text("OBR-18.1"),
    )
    shared = [segment for segment in group if segment.name in ("ORC", "ZDS")]
    shared += _timing_before(group)
    for procedure in _groups(group, "OBR"):
        steps = [segment for segment in procedure if segment.name == "IPC"]
        rest = [segment for segment in procedure if segment.name not in ("IPC", "ZDS")]
        for own in [[step] for step in steps] or [[]]:
            order.steps.append(content_of(Segments([*own, *rest, *shared, *patient]), table))
    return order


def _timing_before(group: list[Segment]) -> list[Segment]:
    """TQ1 stands between ORC and its first OBR."""
    found = []
    for segment in group:
        if segment.name == "OBR":
            break
        if segment.name == "TQ1":
            found.append(segment)
    return found


def _deed(order: Segments) -> str:
    control = order.text("ORC-1.1").upper()
    deed = CONTROLS.get(control)
    if deed is None:
        raise NotUnderstood(103, _NO_CONTROL)
    return STATUSES.get(order.text("ORC-5.1").upper(), "") if deed == "status" else deed
