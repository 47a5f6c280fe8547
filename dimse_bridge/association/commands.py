"""The command sets of PS3.7: group 0000 in Implicit VR Little Endian (6.3.1), decoded and encoded by our own codec.

Property: any bytes give a `Command` or `Unreadable`, nothing else. UIDs are not judged here: a service answers a bad
one with the status that PS3.7 Annex C has for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from app.errors import Unreadable

C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
C_CANCEL_RQ: Final = 0x0FFF
N_EVENT_REPORT_RQ: Final = 0x0100
N_GET_RQ: Final = 0x0110
N_SET_RQ: Final = 0x0120
N_ACTION_RQ: Final = 0x0130
N_CREATE_RQ: Final = 0x0140
N_DELETE_RQ: Final = 0x0150
RESPONSE: Final = 0x8000
"""The bit that makes a response of a request's Command Field (PS3.7 E.1)."""

NO_DATA_SET: Final = 0x0101
_DATA_SET: Final = 0x0001
PRIORITY_MEDIUM, PRIORITY_HIGH, PRIORITY_LOW = 0, 1, 2
MAX_COMMENT: Final = 64
"""Error Comment (0000,0902) is one LO."""


@dataclass(slots=True)
class Command:
    """One command set; what it does not have is None. Tags are ints such as 0x00100020."""

    field: int = 0
    message_id: int | None = None
    message_id_responded: int | None = None
    affected_sop_class: str | None = None
    requested_sop_class: str | None = None
    affected_sop_instance: str | None = None
    requested_sop_instance: str | None = None
    move_destination: str | None = None
    priority: int | None = None
    data_set_type: int | None = NO_DATA_SET
    status: int | None = None
    offending_element: tuple[int, ...] | None = None
    error_comment: str | None = None
    error_id: int | None = None
    event_type: int | None = None
    attribute_identifiers: tuple[int, ...] | None = None
    action_type: int | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    move_originator: str | None = None
    move_originator_message_id: int | None = None

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows the command (0000,0800)."""
        return self.data_set_type != NO_DATA_SET

    @property
    def is_response(self) -> bool:
        """Whether this answers a request."""
        return self.field & RESPONSE != 0


_HEAD = struct.Struct("<HHI")
_US = struct.Struct("<H")
_US_ELEMENT = struct.Struct("<HHIH")
_UL_ELEMENT = struct.Struct("<HHII")
_FOUR_US_ELEMENTS = struct.Struct("<" + 4 * "HHIH")


def _unsigned(value: bytes) -> int:
    if len(value) != 2:
        raise Unreadable("a command element of VR US does not have two bytes")
    return value[0] | value[1] << 8


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def _tags(value: bytes) -> tuple[int, ...]:
    if len(value) % 4:
        raise Unreadable("a command element of VR AT is not made of pairs of numbers")
    numbers = struct.unpack(f"<{len(value) // 2}H", value)
    return tuple(group << 16 | element for group, element in zip(numbers[::2], numbers[1::2], strict=True))


def _put_unsigned(element: int, value: int) -> bytes:
    return _US_ELEMENT.pack(0, element, 2, value)


def _put_padded(element: int, raw: bytes, padding: bytes) -> bytes:
    if len(raw) % 2:
        raw += padding
    return _HEAD.pack(0, element, len(raw)) + raw


def _put_uid(element: int, value: str) -> bytes:
    return _put_padded(element, value.encode("latin-1", "replace"), b"\0")


def _put_text(element: int, value: str) -> bytes:
    return _put_padded(element, value.encode("latin-1", "replace"), b" ")


def _put_comment(element: int, value: str) -> bytes:
    raw = value.encode("ascii", "replace").replace(b"\\", b"/")
    return _put_padded(element, raw[:MAX_COMMENT], b" ")


def _put_tags(element: int, value: tuple[int, ...]) -> bytes:
    numbers = [half for tag in value for half in (tag >> 16, tag & 0xFFFF)]
    return _HEAD.pack(0, element, 2 * len(numbers)) + struct.pack(f"<{len(numbers)}H", *numbers)


_Decode = Callable[[bytes], Any]
_Encode = Callable[[int, Any], bytes]
_ELEMENTS: tuple[tuple[int, str, _Decode, _Encode], ...] = (
    (0x0002, "affected_sop_class", _text, _put_uid),
    (0x0003, "requested_sop_class", _text, _put_uid),
    (0x0100, "field", _unsigned, _put_unsigned),
    (0x0110, "message_id", _unsigned, _put_unsigned),
    (0x0120, "message_id_responded", _unsigned, _put_unsigned),
    (0x0600, "move_destination", _text, _put_text),
    (0x0700, "priority", _unsigned, _put_unsigned),
    (0x0800, "data_set_type", _unsigned, _put_unsigned),
    (0x0900, "status", _unsigned, _put_unsigned),
    (0x0901, "offending_element", _tags, _put_tags),
    (0x0902, "error_comment", _text, _put_comment),
    (0x0903, "error_id", _unsigned, _put_unsigned),
    (0x1000, "affected_sop_instance", _text, _put_uid),
    (0x1001, "requested_sop_instance", _text, _put_uid),
    (0x1002, "event_type", _unsigned, _put_unsigned),
    (0x1005, "attribute_identifiers", _tags, _put_tags),
    (0x1008, "action_type", _unsigned, _put_unsigned),
    (0x1020, "remaining", _unsigned, _put_unsigned),
    (0x1021, "completed", _unsigned, _put_unsigned),
    (0x1022, "failed", _unsigned, _put_unsigned),
    (0x1023, "warning", _unsigned, _put_unsigned),
    (0x1030, "move_originator", _text, _put_text),
    (0x1031, "move_originator_message_id", _unsigned, _put_unsigned),
)
"""PS3.7 Table E.1-1, in the order of the tags."""
_values_of = attrgetter(*(slot for _, slot, _, _ in _ELEMENTS))
_DECODERS = {element: (slot, decode) for element, slot, decode, _ in _ELEMENTS}


def decode_command(encoded: bytes) -> Command:
    """The command set in `encoded`; raises `Unreadable`. Elements that PS3.7 does not know are passed over."""
    command = Command(data_set_type=None)
    position, end = 0, len(encoded)
    unpack_head = _HEAD.unpack_from
    while position < end:
        if end - position < 8:
            raise Unreadable("the command set ends inside an element")
        group, element, length = unpack_head(encoded, position)
        position += 8
        if group or length > end - position:
            raise Unreadable("the command set holds an element of another group, or of more bytes than there are")
        known = _DECODERS.get(element)
        if known is not None and length:
            setattr(command, known[0], known[1](encoded[position : position + length]))
        position += length
    _require_identity(command)
    return command


def _require_identity(command: Command) -> None:
    if not command.field or command.data_set_type is None:
        raise Unreadable("the command set lacks Command Field (0000,0100) or Command Data Set Type (0000,0800)")
    if command.field & RESPONSE or command.field == C_CANCEL_RQ:
        if command.message_id_responded is None:
            raise Unreadable("the command set lacks Message ID Being Responded To (0000,0120)")
        if command.status is None and command.field != C_CANCEL_RQ:
            raise Unreadable("the response lacks Status (0000,0900)")
    elif command.message_id is None:
        raise Unreadable("the request lacks Message ID (0000,0110)")


def encode_command(command: Command) -> bytes:
    """The command set as bytes, with its group length."""
    values = zip(_ELEMENTS, _values_of(command), strict=True)
    return _with_length(b"".join([put(element, value) for (element, _, _, put), value in values if value is not None]))


def _with_length(body: bytes) -> bytes:
    return _UL_ELEMENT.pack(0, 0, 4, len(body)) + body


def response(request: Command, status: int, *, has_data_set: bool = False, comment: str = "", **more: Any) -> bytes:
    """The response to `request` (any C- or N- service). `more` are further slots of `Command`, such as the counters,
    `offending_element` or `affected_sop_instance`; a `comment` is cut at 64 characters."""
    if request.field == C_STORE_RQ and not (has_data_set or comment or more):
        return _stored(request, status)
    answer = Command(
        field=request.field | RESPONSE,
        message_id_responded=request.message_id,
        affected_sop_class=request.affected_sop_class or request.requested_sop_class,
        affected_sop_instance=request.affected_sop_instance or request.requested_sop_instance,
        data_set_type=_DATA_SET if has_data_set else NO_DATA_SET,
        status=status,
        error_comment=comment or None,
    )
    for slot, value in more.items():
        setattr(answer, slot, value)
    return encode_command(answer)


def _stored(request: Command, status: int) -> bytes:
    """The C-STORE-RSP (PS3.7 9.3.1.2) that says no more than it must: one for each instance of a study."""
    numbers = _FOUR_US_ELEMENTS.pack(
        *(0, 0x0100, 2, C_STORE_RQ | RESPONSE),
        *(0, 0x0120, 2, request.message_id or 0),
        *(0, 0x0800, 2, NO_DATA_SET),
        *(0, 0x0900, 2, status),
    )
    sop_class, sop_instance = request.affected_sop_class, request.affected_sop_instance
    before = _sop_class_element(sop_class) if sop_class is not None else b""
    after = _put_uid(0x1000, sop_instance) if sop_instance is not None else b""
    return _with_length(before + numbers + after)


@lru_cache(maxsize=64)
def _sop_class_element(sop_class: str) -> bytes:
    return _put_uid(0x0002, sop_class)


def _request(field: int, message_id: int, sop_class: str, **more: Any) -> bytes:
    return encode_command(
        Command(field, message_id, affected_sop_class=sop_class, data_set_type=_DATA_SET, **more),
    )


def echo_rq(message_id: int, sop_class: str = "1.2.840.10008.1.1") -> bytes:
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return encode_command(Command(C_ECHO_RQ, message_id, affected_sop_class=sop_class))


def store_rq(
    message_id: int,
    sop_class: str,
    sop_instance: str,
    *,
    priority: int = PRIORITY_MEDIUM,
    move_originator: str | None = None,
    move_originator_message_id: int | None = None,
) -> bytes:
    """C-STORE-RQ (PS3.7 9.3.1.1)."""
    return _request(
        C_STORE_RQ,
        message_id,
        sop_class,
        affected_sop_instance=sop_instance,
        priority=priority,
        move_originator=move_originator,
        move_originator_message_id=move_originator_message_id,
    )


def find_rq(message_id: int, sop_class: str, *, priority: int = PRIORITY_MEDIUM) -> bytes:
    """C-FIND-RQ (PS3.7 9.3.2.1)."""
    return _request(C_FIND_RQ, message_id, sop_class, priority=priority)


def get_rq(message_id: int, sop_class: str, *, priority: int = PRIORITY_MEDIUM) -> bytes:
    """C-GET-RQ (PS3.7 9.3.3.1)."""
    return _request(C_GET_RQ, message_id, sop_class, priority=priority)


def move_rq(message_id: int, sop_class: str, destination: str, *, priority: int = PRIORITY_MEDIUM) -> bytes:
    """C-MOVE-RQ (PS3.7 9.3.4.1)."""
    return _request(C_MOVE_RQ, message_id, sop_class, priority=priority, move_destination=destination)


def cancel_rq(message_id_responded: int) -> bytes:
    """C-CANCEL-RQ for the request with that Message ID (PS3.7 9.3.2.3)."""
    return encode_command(Command(C_CANCEL_RQ, message_id_responded=message_id_responded))


def create_rq(message_id: int, sop_class: str, sop_instance: str | None = None, *, has_data_set: bool = True) -> bytes:
    """N-CREATE-RQ (PS3.7 10.3.5.1); without an instance the provider gives it a UID."""
    command = Command(N_CREATE_RQ, message_id, affected_sop_class=sop_class, affected_sop_instance=sop_instance)
    return _with_data_set(command, has_data_set)


def set_rq(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """N-SET-RQ (PS3.7 10.3.3.1)."""
    return _with_data_set(_requested(N_SET_RQ, message_id, sop_class, sop_instance), True)


def n_get_rq(message_id: int, sop_class: str, sop_instance: str, attributes: tuple[int, ...] = ()) -> bytes:
    """N-GET-RQ (PS3.7 10.3.2.1); without `attributes` all are asked for."""
    command = _requested(N_GET_RQ, message_id, sop_class, sop_instance)
    command.attribute_identifiers = attributes or None
    return encode_command(command)


def action_rq(
    message_id: int, sop_class: str, sop_instance: str, action_type: int, *, has_data_set: bool = True
) -> bytes:
    """N-ACTION-RQ (PS3.7 10.3.4.1)."""
    command = _requested(N_ACTION_RQ, message_id, sop_class, sop_instance)
    command.action_type = action_type
    return _with_data_set(command, has_data_set)


def event_report_rq(
    message_id: int, sop_class: str, sop_instance: str, event_type: int, *, has_data_set: bool = True
) -> bytes:
    """N-EVENT-REPORT-RQ (PS3.7 10.3.1.1)."""
    command = Command(N_EVENT_REPORT_RQ, message_id, affected_sop_class=sop_class, affected_sop_instance=sop_instance)
    command.event_type = event_type
    return _with_data_set(command, has_data_set)


def _requested(field: int, message_id: int, sop_class: str, sop_instance: str) -> Command:
    return Command(field, message_id, requested_sop_class=sop_class, requested_sop_instance=sop_instance)


def _with_data_set(command: Command, has_data_set: bool) -> bytes:
    command.data_set_type = _DATA_SET if has_data_set else NO_DATA_SET
    return encode_command(command)
