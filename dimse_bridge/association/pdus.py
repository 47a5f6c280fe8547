"""PDUs as bytes (PS3.8 9.3): those of fixed form, and a reader that frames what a peer sends.

Laws of the reader: nothing is allocated by an announced length; a P-DATA-TF's values are handed on as they come, so
that a PDU is never held as a whole; an announced length over the limit ends all reading before its first byte.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from dimse_bridge.association.endings import REASON_INVALID_PARAMETER, REASON_UNRECOGNIZED_PDU

ASSOCIATE_RQ: Final = 1
ASSOCIATE_AC: Final = 2
ASSOCIATE_RJ: Final = 3
P_DATA_TF: Final = 4
RELEASE_RQ: Final = 5
RELEASE_RP: Final = 6
ABORT: Final = 7

RELEASE_RQ_BYTES: Final = b"\x05\0\0\0\0\x04\0\0\0\0"
RELEASE_RP_BYTES: Final = b"\x06\0\0\0\0\x04\0\0\0\0"

SLACK: Final = 64 * 1024
"""How much longer than announced a P-DATA-TF may be: some peers count the header in, some do not."""
MAX_ASSOCIATION_PDU: Final = 1024 * 1024

COMMAND: Final = 1
LAST: Final = 2
"""Bits of the message control header (PS3.8 E.2)."""
PDV_HEAD_LENGTH: Final = 6
"""Bytes of a PDU's Maximum Length that one PDV takes beside its value."""

_PDU_HEAD = struct.Struct(">BxI")
_PDV_HEAD = struct.Struct(">IBB")
_P_DATA_HEAD = struct.Struct(">BxIIBB")


def abort_bytes(source: int, reason: int) -> bytes:
    """An A-ABORT PDU (PS3.8 9.3.8)."""
    return b"\x07\0\0\0\0\x04\0\0" + bytes((source, reason))


def p_data_head(context_id: int, control: int, length: int) -> bytes:
    """What stands before `length` bytes of one fragment that has a P-DATA-TF PDU of its own."""
    return _P_DATA_HEAD.pack(P_DATA_TF, length + 6, length + 2, context_id, control)


class Sink(Protocol):
    """What the reader tells."""

    def on_p_data(self) -> None:
        """A P-DATA-TF begins."""

    def on_fragment(self, context_id: int, control: int, value: bytes, ends: bool) -> None:
        """Some bytes of a PDV's value; `ends` with the last of them."""

    def on_pdu(self, kind: int, body: bytes) -> None:
        """Any other PDU, without its first six bytes."""

    def on_invalid(self, reason: int, cause: str) -> None:
        """These bytes are no PDU; nothing more is read."""


class PDUReader:
    """Frames the bytes of one connection."""

    __slots__ = (
        "_body", "_context_id", "_control", "_kind", "_limit", "_pdu_left", "_pdv_left", "_pdv_open", "_rest", "_sink",
        "stopped",
    )  # fmt: skip

    def __init__(self, sink: Sink, max_length: int) -> None:
        self._sink = sink
        self._limit = max_length + SLACK
        self._rest = b""
        self._body: bytearray | None = None
        self._kind = 0
        self._pdu_left = 0
        self._pdv_left = 0
        self._pdv_open = False
        self._context_id = 0
        self._control = 0
        self.stopped = False

    def allow(self, max_length: int) -> None:
        """What was announced to the peer as our maximum length."""
        self._limit = max_length + SLACK

    @property
    def is_midway(self) -> bool:
        """Whether the peer owes the rest of a PDU."""
        return self._pdv_open or self._pdu_left > 0 or self._rest != b""

    def feed(self, data: bytes) -> None:
        """Takes what came; tells the sink."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, end = 0, len(data)
        while position < end and not self.stopped:
            if self._pdv_open:
                position = self._value(data, position, end)
            elif self._body is not None:
                position = self._gather(self._body, data, position)
            elif end - position < 6:
                self._rest = data[position:]
                return
            elif self._pdu_left:
                position = self._pdv_head(data, position)
            else:
                position = self._pdu_head(data, position)

    def _invalid(self, reason: int, cause: str) -> int:
        self.stopped = True
        self._sink.on_invalid(reason, cause)
        return 0

    def _pdu_head(self, data: bytes, position: int) -> int:
        kind, length = _PDU_HEAD.unpack_from(data, position)
        if kind == P_DATA_TF:
            if not PDV_HEAD_LENGTH <= length <= self._limit:
                return self._invalid(REASON_INVALID_PARAMETER, "a P-DATA-TF of a length that cannot be")
            self._pdu_left = length
            self._sink.on_p_data()
        elif not ASSOCIATE_RQ <= kind <= ABORT:
            return self._invalid(REASON_UNRECOGNIZED_PDU, "a PDU of an unknown type")
        elif not 4 <= length <= MAX_ASSOCIATION_PDU:
            return self._invalid(REASON_INVALID_PARAMETER, "an association PDU of a length that cannot be")
        else:
            self._kind = kind
            self._pdu_left = length
            self._body = bytearray()
        return position + 6

    def _pdv_head(self, data: bytes, position: int) -> int:
        length: int
        length, self._context_id, self._control = _PDV_HEAD.unpack_from(data, position)
        if not 2 <= length <= self._pdu_left - 4:
            return self._invalid(REASON_INVALID_PARAMETER, "a PDV that does not fit its PDU")
        self._pdu_left -= length + 4
        if 0 < self._pdu_left < PDV_HEAD_LENGTH:
            return self._invalid(REASON_INVALID_PARAMETER, "a PDU that ends inside a PDV")
        start = position + 6
        stop = start + length - 2
        if stop <= len(data):  # the value is here as a whole, as most are, or is empty
            self._sink.on_fragment(self._context_id, self._control, data[start:stop], True)
            return stop
        self._pdv_left = length - 2
        self._pdv_open = True
        return start

    def _value(self, data: bytes, position: int, end: int) -> int:
        stop = min(position + self._pdv_left, end)
        self._pdv_left -= stop - position
        self._pdv_open = self._pdv_left > 0
        self._sink.on_fragment(self._context_id, self._control, data[position:stop], not self._pdv_open)
        return stop

    def _gather(self, body: bytearray, data: bytes, position: int) -> int:
        piece = data[position : position + self._pdu_left]
        body += piece
        self._pdu_left -= len(piece)
        if not self._pdu_left:
            self._body = None
            self._sink.on_pdu(self._kind, bytes(body))
        return position + len(piece)
