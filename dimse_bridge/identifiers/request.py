"""The identifier of a request (PS3.4 C.4.1.1.3.1): bytes of any native transfer syntax → `Identifier`.

Any bytes give a value or `Refused`, within limits. Levels stand on a stack, so that depth costs no recursion. Oddities
that leave no doubt are forgiven: elements out of order, group lengths, unknown VRs, implicit items."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from app.dicom.charsets import DEFAULT, Charset, charset_of
from app.dicom.dictionary import private_vr, standard_vr
from app.dicom.elements import BINARY, LONG, SHORT, SIZE
from app.dicom.inflate import Inflater
from app.dicom.limits import MIB, Limits
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import LimitExceeded, Unreadable

SPECIFIC_CHARACTER_SET = 0x00080005
QUERY_RETRIEVE_LEVEL = 0x00080052
LIMITS = Limits(sequence_depth=8, elements=1000, inflated=MIB, part=MIB)
"""An identifier is small: these are its limits, `part` being its length in bytes."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PADDING = " \0"
_ONE_TEXT = frozenset({"LT", "ST", "UT", "UR"})
_CODES = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_IN_CHARSET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_VRS = {vr.encode(): vr for vr in SHORT | LONG}


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute of an identifier. `text` is its value, several ones with backslashes between them, without padding;
    "" asks for the attribute without a condition. `items` are those of a sequence."""

    tag: int
    vr: str
    text: str = ""
    items: tuple[tuple[Key, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Identifier:
    """The keys by ascending tag, each tag once (the last one counts)."""

    keys: tuple[Key, ...]

    def text(self, tag: int) -> str:
        """The value of a key, "" when there is none."""
        return next((key.text for key in self.keys if key.tag == tag), "")

    @property
    def level(self) -> str:
        """Query/Retrieve Level as sent, in upper case."""
        return self.text(QUERY_RETRIEVE_LEVEL).strip().upper()

    @property
    def character_set(self) -> str:
        """Specific Character Set as sent."""
        return self.text(SPECIFIC_CHARACTER_SET)


class _Level:
    """A data set or an item under way. `end` is where it ends at the latest, `closed` that it ends there."""

    __slots__ = ("charset", "closed", "end", "explicit", "keys", "tag")

    def __init__(self, tag: int, end: int, closed: bool, charset: Charset, explicit: bool) -> None:
        self.tag = tag
        self.end = end
        self.closed = closed
        self.charset = charset
        self.explicit = explicit
        self.keys: dict[int, Key] = {}

    def done(self) -> tuple[Key, ...]:
        return tuple(key for _, key in sorted(self.keys.items()))


class _Sequence:
    """A sequence under way."""

    __slots__ = ("closed", "end", "items", "tag")

    def __init__(self, tag: int, end: int, closed: bool) -> None:
        self.tag = tag
        self.end = end
        self.closed = closed
        self.items: list[tuple[Key, ...]] = []


def read_identifier(data: bytes, syntax: str, limits: Limits = LIMITS) -> Identifier:
    """The identifier in `data`, which is a data set in the transfer syntax `syntax`; an encapsulated one counts as
    Explicit VR Little Endian. Raises `Unreadable` or `LimitExceeded`."""
    row = transfer_syntax(syntax)
    if len(data) > limits.part:
        raise LimitExceeded("part", f"the identifier is longer than {limits.part} bytes")
    if row.deflated:
        data = _inflate(data, limits)
    if row.encapsulated and "." not in syntax:
        raise Unreadable("the transfer syntax of the identifier is not known")
    return Identifier(_Reader(data, row.explicit, ">" if row.big_endian else "<", limits).read())


def _inflate(data: bytes, limits: Limits) -> bytes:
    inflater = Inflater(limits)
    inflated = b"".join(inflater.feed(data))
    inflater.finish()
    return inflated


class _Reader:
    """Reads one data set."""

    def __init__(self, data: bytes, explicit: bool, order: str, limits: Limits) -> None:
        self._data = data
        self._order = order
        self._limits = limits
        self._short = struct.Struct(f"{order}HHI").unpack_from
        self._elements = 0
        self._level = _Level(0, len(data), True, DEFAULT, explicit)
        self._above: list[tuple[_Level, _Sequence]] = []
        self._between = False
        """Between the items of the innermost sequence."""

    def read(self) -> tuple[Key, ...]:
        pos = 0
        while True:
            if self._between:
                pos = self._next_item(pos)
            elif pos < self._level.end:
                pos = self._element(pos)
            elif not self._above:
                return self._level.done()
            elif self._level.closed:
                self._close_item()
            else:
                raise Unreadable("the identifier ends inside a sequence")

    # -- elements

    def _header(self, pos: int) -> tuple[int, int, int]:
        group, number, length = self._short(self._data, pos)
        return int(group), int(number), int(length)

    def _element(self, pos: int) -> int:
        level = self._level
        if pos + 8 > level.end:
            raise Unreadable("the identifier ends inside an element")
        group, number, length = self._header(pos)
        tag = group << 16 | number
        if group == 0xFFFE:
            return self._delimiter(tag, pos)
        vr, start = "", pos + 8
        if level.explicit:
            vr, start, length = self._explicit_header(pos, length)
        if not vr or vr == "UN":
            vr = self._vr_of(tag, length)
        if length == _UNDEFINED or vr == "SQ":
            return self._enter_sequence(tag, vr, start, length)
        if start + length > level.end:
            raise Unreadable(f"{tag:08X} is longer than what holds it")
        self._take(tag, vr, self._data[start : start + length])
        return start + length

    def _explicit_header(self, pos: int, length: int) -> tuple[str, int, int]:
        """VR, place and length of the value. Without two capital letters the element is in implicit VR by mistake."""
        letters = self._data[pos + 4 : pos + 6]
        vr = _VRS.get(letters, "")
        if vr in SHORT:
            return vr, pos + 8, int(struct.unpack_from(f"{self._order}H", self._data, pos + 6)[0])
        if not vr and not (letters.isalpha() and letters.isupper()):
            return "", pos + 8, length
        if pos + 12 > self._level.end:
            raise Unreadable("the identifier ends inside an element")
        return vr, pos + 12, int(struct.unpack_from(f"{self._order}I", self._data, pos + 8)[0])

    def _vr_of(self, tag: int, length: int) -> str:
        if not tag & 0x10000:
            vr = first_vr(tag)
        elif 0x10 <= tag & 0xFFFF < 0x100:
            vr = "LO"
        else:
            creator = self._level.keys.get((tag & 0xFFFF0000) | (tag >> 8 & 0xFF))
            vr = private_vr(tag, creator.text).split(" ")[0] if creator else "UN"
        return "SQ" if length == _UNDEFINED else vr

    def _take(self, tag: int, vr: str, value: bytes) -> None:
        self._count()
        if not tag & 0xFFFF or tag >> 16 in (0x0000, 0x0002):
            return
        if tag == SPECIFIC_CHARACTER_SET:
            text = value.decode("latin_1").strip(_PADDING)
            self._level.charset = charset_of(text)[0]
        else:
            text = _text_of(vr, value, self._level.charset, self._order)
        self._level.keys[tag] = Key(tag, vr, text)

    def _count(self) -> None:
        self._elements += 1
        if self._elements > self._limits.elements:
            raise LimitExceeded("elements", f"the identifier has more than {self._limits.elements} elements")

    # -- sequences

    def _enter_sequence(self, tag: int, vr: str, start: int, length: int) -> int:
        if vr != "SQ":
            raise Unreadable(f"{tag:08X} has no length, and is no sequence")
        self._count()
        if len(self._above) >= self._limits.sequence_depth:
            raise LimitExceeded("sequence_depth", f"more than {self._limits.sequence_depth} nested sequences")
        closed = length != _UNDEFINED
        end = start + length if closed else self._level.end
        if end > self._level.end:
            raise Unreadable(f"{tag:08X} is longer than what holds it")
        self._above.append((self._level, _Sequence(tag, end, closed)))
        self._between = True
        return start

    def _next_item(self, pos: int) -> int:
        level, sequence = self._above[-1]
        if pos == sequence.end and sequence.closed:
            self._close_sequence()
            return pos
        if pos + 8 > sequence.end:
            raise Unreadable(f"{sequence.tag:08X} ends inside an item")
        group, number, length = self._header(pos)
        tag = group << 16 | number
        if tag == _SEQUENCE_END:
            self._close_sequence()
            return pos + 8
        if tag != _ITEM:
            raise Unreadable(f"{sequence.tag:08X} holds something that is no item")
        self._count()
        closed = length != _UNDEFINED
        end = pos + 8 + length if closed else sequence.end
        if end > sequence.end:
            raise Unreadable(f"an item of {sequence.tag:08X} is longer than the sequence")
        self._level = _Level(sequence.tag, end, closed, level.charset, level.explicit)
        self._between = False
        return pos + 8

    def _delimiter(self, tag: int, pos: int) -> int:
        if not self._above or self._level.closed:
            raise Unreadable("a delimitation item where an element was expected")
        if tag == _ITEM_END:
            self._close_item()
            return pos + 8
        if tag == _SEQUENCE_END:
            self._close_item()
            return pos
        raise Unreadable("an item where an element was expected")

    def _close_item(self) -> None:
        level, sequence = self._above[-1]
        sequence.items.append(self._level.done())
        self._level = level
        self._between = True

    def _close_sequence(self) -> None:
        level, sequence = self._above.pop()
        level.keys[sequence.tag] = Key(sequence.tag, "SQ", "", tuple(sequence.items))
        self._between = False


@lru_cache(maxsize=4096)
def first_vr(tag: int) -> str:
    """The VR by the data dictionary, the first one where it names several; UN when the tag is not known."""
    return (standard_vr(tag) or "UN").split(" ")[0]


def _text_of(vr: str, value: bytes, charset: Charset, order: str) -> str:
    """The value as text. Binary values cannot be matched: they count as empty."""
    if vr in BINARY or not value:
        return ""
    size = SIZE.get(vr)
    if size is not None:
        return _numbers(vr, value, order) if len(value) % size == 0 else ""
    text = charset.decode(value, vr == "PN")[0] if vr in _IN_CHARSET else value.decode("latin_1")
    if "\\" in text and vr not in _ONE_TEXT:
        parts = [part.strip(_PADDING) for part in text.split("\\")]
        return "\\".join(parts) if any(parts) else ""
    return text.strip(_PADDING)


def _numbers(vr: str, value: bytes, order: str) -> str:
    if vr == "AT":
        pairs = struct.unpack(f"{order}{len(value) // 2}H", value)
        return "\\".join(f"{high:04X}{low:04X}" for high, low in zip(pairs[::2], pairs[1::2], strict=True))
    numbers = struct.unpack(f"{order}{len(value) // SIZE[vr]}{_CODES[vr]}", value)
    return "\\".join(map(repr, numbers))
