"""Values of DICOM JSON elements (PS3.18 F.2) → the value field of a data element (PS3.5 6.2): a writer for each VR."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from app.dicom.elements import BINARY, SHORT, SIZE, WORD, swapped
from app.dicom.json_model import decimal_string
from app.errors import ArchiveUnreachable
from dimse_bridge.identifiers.repertoires import Encode, Repertoire

JUNK = (AttributeError, KeyError, TypeError, ValueError, OverflowError, struct.error, binascii.Error)
"""What JSON that is no DICOM JSON makes the writers raise."""
_IN_CHARSET = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})
_CODES = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
Values = Sequence[Any]


class ValueWriter:
    """Writes values of one VR; called with the `Value` array. The result has an even length."""

    __slots__ = ("_order", "_vr", "_write")

    def __init__(self, vr: str, order: str, write: Callable[[Values], bytes]) -> None:
        self._vr = vr
        self._order = order
        self._write = write

    def __call__(self, values: Values) -> bytes:
        """The value field."""
        return self._write(values)

    def binary(self, element: Mapping[str, Any]) -> bytes:
        """The value field of an element without `Value`: from InlineBinary; empty for bulk data, which stays where it
        is."""
        inline = element.get("InlineBinary")
        if not inline or self._vr not in BINARY:
            return b""
        value = base64.b64decode(inline)
        word = WORD[self._vr]
        if self._order == ">" and word > 1 and len(value) % word == 0:
            value = swapped(value, word)
        return value + b"\0" if len(value) % 2 else value


@lru_cache(maxsize=1024)
def value_writer(vr: str, repertoire: Repertoire, order: str) -> ValueWriter:
    """The writer for a VR. `order` as in `struct`. Raises `ArchiveUnreachable` for what is no VR."""
    if vr == "PN":
        write = _names(repertoire.name)
    elif vr in _IN_CHARSET:
        write = _texts(repertoire.text)
    elif vr == "AT":
        write = _tags(order)
    elif vr in SIZE:
        write = _numbers(_CODES[vr], order)
    elif vr in ("IS", "DS"):
        write = _number_texts
    elif vr in SHORT or vr == "UR":
        write = _uids if vr == "UI" else _texts(_latin)
    elif vr in BINARY or vr == "SQ":
        write = _nothing
    else:
        raise ArchiveUnreachable("the archive's answer has an unknown VR")
    return ValueWriter(vr, order, write)


def _latin(text: str) -> bytes:
    """Text of VRs that know no character set: the bytes that our reader took for Latin-1."""
    return text.encode("latin_1", "replace")


def _nothing(values: Values) -> bytes:
    return b""


def _joined(values: Values) -> str:
    return "\\".join(["" if value is None else value for value in values])


def _texts(encode: Encode) -> Callable[[Values], bytes]:
    def write(values: Values) -> bytes:
        value = encode(values[0] if len(values) == 1 and values[0] is not None else _joined(values))
        return value + b" " if len(value) & 1 else value

    return write


def _uids(values: Values) -> bytes:
    value = _joined(values).encode("ascii", "replace")
    return value + b"\0" if len(value) & 1 else value


def _names(encode: Encode) -> Callable[[Values], bytes]:
    def write(values: Values) -> bytes:
        value = encode("\\".join([_name(name) for name in values]))
        return value + b" " if len(value) & 1 else value

    return write


def _name(name: Any) -> str:
    """The groups of a PN joined, without the empty ones at the end."""
    if name is None or isinstance(name, str):
        return name or ""
    if len(name) == 1 and "Alphabetic" in name:
        return str(name["Alphabetic"])
    return "=".join([name.get(group) or "" for group in _GROUPS]).rstrip("=")


def _number_texts(values: Values) -> bytes:
    value = "\\".join([_number_text(number) for number in values]).encode("latin_1", "replace")
    return value + b" " if len(value) & 1 else value


def _number_text(number: Any) -> str:
    if number is None or isinstance(number, str):
        return number or ""
    if isinstance(number, int):
        return str(number)
    if not isinstance(number, float):
        raise TypeError
    return decimal_string(number)


def _numbers(code: str, order: str) -> Callable[[Values], bytes]:
    real = code in "fd"

    def write(values: Values) -> bytes:
        numbers = [float(value) if real else int(value) for value in values]
        return struct.pack(f"{order}{len(numbers)}{code}", *numbers)

    return write


def _tags(order: str) -> Callable[[Values], bytes]:
    def write(values: Values) -> bytes:
        halves = [half for value in values for half in divmod(int(value, 16), 0x10000)]
        return struct.pack(f"{order}{len(halves)}H", *halves)

    return write
