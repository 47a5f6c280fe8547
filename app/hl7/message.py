"""One HL7 v2 message (HL7 2.5.1, chapter 2): decoded by MSH-18, parsed by the library `hl7`, read by places such as
`PID-3.1`. Any bytes give a `Message` or `NotUnderstood`.

Escape sequences are resolved here: the library repeats characters as often as the sender says, and logs values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import hl7

CODECS: Mapping[str, str] = MappingProxyType(
    {
        "ASCII": "ascii",
        **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
        "UNICODE": "utf_8",
        "UNICODE UTF-8": "utf_8",
        "UTF-8": "utf_8",
        "ISO IR6": "ascii",
        "ISO IR14": "iso2022_jp",
        "ISO IR87": "iso2022_jp",
        "ISO IR159": "iso2022_jp_2",
        "GB 18030-2000": "gb18030",
        "KS X 1001": "euc_kr",
        "BIG-5": "big5",
    }
)
"""MSH-18 (HL7 table 0211) → the codec that reads it."""
NOTHING = '""'
"""A field that says: there is no value any more."""
_parse: Callable[[str], Any] = hl7.parse
_JUNK = (ValueError, LookupError, TypeError, AttributeError, AssertionError, hl7.HL7Exception)
_MOST_SEGMENTS = 2000
_CHARACTER_SET, _HEADER_FIELDS = 17, 12
_PLACE = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9][0-9]?)(?:\.([1-9][0-9]?))?(?:\.([1-9][0-9]?))?")
_ESCAPED = re.compile(r"([FSTRE]|X(?:[0-9A-Fa-f]{2}){1,64}|\.br|\.sp[0-9]?)")


class NotUnderstood(Exception):
    """These bytes are no message that we can read; `code` is of HL7 table 0357, `detail` without patient data."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Header(NamedTuple):
    """What MSH says, as it stands there (Latin-1, so that it can be sent back byte for byte)."""

    separators: str
    fields: Sequence[str]

    def field(self, number: int) -> str:
        """MSH-`number`; "" when there is none."""
        return self.fields[number - 1] if number <= len(self.fields) else ""

    @property
    def kind(self) -> str:
        """Message type and trigger event, such as `ORM^O01`."""
        return "^".join(self.field(9).split(self.separators[1])[:2])

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.field(10)


class Place(NamedTuple):
    """Where a value stands: segment, field, component, subcomponent; 0: all of it."""

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0


@lru_cache(maxsize=512)
def place(text: str) -> Place:
    """The place that `text`, such as `PID-3.4.1`, names; ValueError when it names none."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} names no field")
    return Place(match[1], *(int(part or 0) for part in match.groups()[1:]))


def read_header(data: bytes) -> Header:
    """The header segment; raises `NotUnderstood`."""
    text = data.lstrip(b"\r\n \t").replace(b"\n", b"\r").split(b"\r", 1)[0].decode("latin-1")
    if not text.startswith("MSH") or len(text) < len("MSH|^~\\&|"):
        raise NotUnderstood(100, "the message does not begin with MSH")
    separator = text[3]
    fields = text[4:].split(separator)
    if len(fields[0]) < 4 or len({separator, *fields[0]}) < 5 or separator.isalnum():
        raise NotUnderstood(100, "MSH-1 and MSH-2 name no five separators")
    return Header(separator + fields[0], [separator, *fields])


class Message:
    """A message whose segments can be read."""

    def __init__(self, header: Header, segments: Sequence[Segment]) -> None:
        self.header = header
        self.segments = segments

    def first(self, name: str) -> Segment | None:
        """The first segment of this name."""
        return next(self.all(name), None)

    def all(self, name: str) -> Iterator[Segment]:
        """Every segment of this name."""
        return (segment for segment in self.segments if segment.name == name)


def read(data: bytes, character_set: str = "UNICODE UTF-8") -> Message:
    """The message in `data`, in the character set that it names, else in `character_set` (both of HL7 table 0211).
    Raises `NotUnderstood`."""
    header = read_header(data)
    text = _decoded(data, header, character_set).strip("\r\n \t")
    text = text.replace("\r\n", "\r").replace("\n", "\r")
    if text.count("\r") >= _MOST_SEGMENTS:
        raise NotUnderstood(100, f"the message has more than {_MOST_SEGMENTS} segments")
    try:
        parsed = _parse(text)
        segments = [Segment(segment, header.separators) for segment in parsed if str(segment[0])]
    except _JUNK as error:
        raise NotUnderstood(100, "the message cannot be parsed") from error
    return Message(header, segments)


def _decoded(data: bytes, header: Header, character_set: str) -> str:
    named = [name.strip() for name in header.field(_CHARACTER_SET + 1).split(header.separators[2])]
    names = [name for name in named if name] or [character_set]
    codec = CODECS.get(names[-1].upper())
    if codec is None:
        raise NotUnderstood(103, "the character set of MSH-18 is not supported")
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise NotUnderstood(102, "the message is not in the character set that it names") from error


class Segment:
    """One segment: its fields by number, each a list of repetitions of components of subcomponents."""

    def __init__(self, parsed: Any, separators: str) -> None:
        self.name = str(parsed[0])
        self._parsed = parsed
        self._separators = separators

    def repetitions(self, number: int) -> list[list[list[str]]]:
        """The field `number` as repetitions, components and subcomponents; empty ones at the end included."""
        if number >= len(self._parsed):
            return []
        return [self._components(repetition) for repetition in self._parsed[number]]

    def _components(self, repetition: Any) -> list[list[str]]:
        if isinstance(repetition, str):
            return [[self._plain(repetition)]]
        found = []
        for component in repetition:
            parts = [component] if isinstance(component, str) else list(component)
            found.append([self._plain(str(part)) for part in parts])
        return found

    def value(self, where: Place, repetition: int = 0) -> str:
        """The text at a place of this segment, without spaces around it; "" when nothing stands there. Without a
        component, or subcomponent, the first one."""
        repetitions = self.repetitions(where.field)
        if repetition >= len(repetitions):
            return ""
        return text_of(repetitions[repetition], where.component, where.subcomponent)

    def _plain(self, text: str) -> str:
        """`text` without escape sequences (2.7); those that mean nothing here, such as highlighting, go."""
        escape = self._separators[3]
        text = text.replace("\0", "")
        if escape not in text:
            return text
        pieces = text.split(escape)
        meaning = dict(zip("FSRET", self._separators[:3] + escape + self._separators[4], strict=True))
        for at in range(1, len(pieces) - 1, 2):
            pieces[at] = self._unescaped(pieces[at], meaning)
        if len(pieces) % 2 == 0:
            pieces[-2:] = [escape.join(pieces[-2:])]  # the last one ends nothing
        return "".join(pieces)

    @staticmethod
    def _unescaped(sequence: str, meaning: Mapping[str, str]) -> str:
        if _ESCAPED.fullmatch(sequence) is None:
            return ""
        if sequence[0] == "X":
            return bytes.fromhex(sequence[1:]).decode("latin-1")
        return meaning.get(sequence) or "\r\n"


def text_of(components: Sequence[Sequence[str]], component: int = 0, subcomponent: int = 0) -> str:
    """One text of a repetition, components and subcomponents counted from 1; 0 is the first one."""
    at, inside = max(component - 1, 0), max(subcomponent - 1, 0)
    if at >= len(components) or inside >= len(components[at]):
        return ""
    return components[at][inside].strip()
