"""Attribute matching (PS3.4 C.2.2.2): kinds of matches, and whether the values of a data set match them.

Matches compare *keys*: the normal forms of `keys_of`, which the catalog's columns hold too. The functions here match
attributes that have no column, and are the oracle that the SQL of `app.catalog.search` is tested against."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal

import orjson

from app.dicom import moments, names
from app.dicom.attributes import OF_REQUEST, REQUEST_ATTRIBUTES
from app.dicom.values import date_key, text_key, time_key

Kind = Literal["name", "text", "uid", "date", "time", "datetime", "number", "sequence", "binary"]

_KINDS: tuple[tuple[Kind, str], ...] = (
    ("name", "PN"),
    ("text", "AE AS AT CS LO LT SH ST UC UR UT"),
    ("uid", "UI"),
    ("date", "DA"),
    ("time", "TM"),
    ("datetime", "DT"),
    ("number", "IS DS SS US SL UL SV UV FL FD"),
    ("sequence", "SQ"),
    ("binary", "OB OD OF OL OV OW UN"),
)
KIND_OF_VR: Mapping[str, Kind] = MappingProxyType({vr: kind for kind, vrs in _KINDS for vr in vrs.split()})
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class Wild(Enum):
    """The wild cards of a pattern."""

    ANY = "*"
    ONE = "?"
    TAIL = "^*"
    """Further components of a name, or none: keys do not hold the empty ones at the end of a group."""


@dataclass(frozen=True, slots=True)
class Value:
    """Single value matching (C.2.2.2.1) with a key."""

    key: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """Wild card matching (C.2.2.2.4): literals, which are never empty, and wild cards."""

    parts: tuple[str | Wild, ...]


@dataclass(frozen=True, slots=True)
class NamePattern:
    """Wild card matching of a PN that names groups: a pattern for each, None where any (or no) group will do."""

    groups: tuple[Pattern | None, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Range matching (C.2.2.2.5), both ends included; "" is an open end."""

    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """`fuzzymatching` of a PN (PS3.18 8.3.4.2): what `plain` matches, and names in which each word begins a word."""

    words: tuple[str, ...]
    plain: Value | Pattern | NamePattern


@dataclass(frozen=True, slots=True)
class Empty:
    """Empty value matching (C.2.2.2.7)."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """List of UID matching (C.2.2.2.2), and lists of code strings: one of them matches."""

    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Multiple value matching (C.2.2.2.8): each of them matches some value."""

    matches: tuple[Match, ...]


Match = Value | Pattern | NamePattern | Range | Fuzzy | Empty | AnyOf | AllOf


@dataclass(frozen=True, slots=True)
class Criterion:
    """One matching key. `path` is the tags from the data set down to the attribute; `time` the tag of the TM attribute
    when `match` is a combined range over date and time (C.2.2.2.5)."""

    path: tuple[int, ...]
    kind: Kind
    match: Match
    time: int = 0

    @property
    def hex(self) -> str:
        """The path as tags of eight hexadecimal digits with dots between them."""
        return ".".join(f"{tag:08X}" for tag in self.path)


# -- values


def is_number(text: str) -> bool:
    """Whether `text` is a decimal number (PS3.5 6.2, IS and DS)."""
    return _NUMBER.fullmatch(text.strip()) is not None


def number_key(text: str) -> str:
    """The one way to write the number that `text` is; `text` itself when it is none."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return text
    if text.lstrip("+-").isdigit():
        return str(int(text))
    number = float(text)
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def keys_of(element: Mapping[str, Any], kind: Kind) -> list[str]:
    """The keys of the values of one DICOM JSON element; empty values have none."""
    return [key for value in element.get("Value", ()) if value is not None and (key := _key(value, kind))]


def _key(value: Any, kind: Kind) -> str:
    if kind == "name":
        if isinstance(value, dict):
            value = "=".join(str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic"))
        return names.search_key(text_key(str(value)))
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if kind == "date":
        return date_key(text)
    if kind == "time":
        return time_key(text)
    if kind == "datetime":
        return moments.datetime_key(text)
    return number_key(text) if kind == "number" else text_key(text.strip(" "))


def matches_keys(match: Match, kind: Kind, keys: Sequence[str], *, lenient: bool = False) -> bool:
    """Whether an attribute with these keys matches; with several values, any of them will do (C.2.2.3)."""
    if isinstance(match, Empty):
        return not keys
    if isinstance(match, AllOf):
        return all(matches_keys(each, kind, keys, lenient=lenient) for each in match.matches)
    if isinstance(match, AnyOf):
        return any(matches_keys(each, kind, keys, lenient=lenient) for each in match.matches)
    if lenient and kind == "text":
        return any(_matches(_lower(match), kind, key.lower()) for key in keys)
    return any(_matches(match, kind, key) for key in keys)


def _lower(match: Match) -> Match:
    if isinstance(match, Value):
        return Value(match.key.lower())
    if isinstance(match, Pattern):
        return Pattern(tuple(part.lower() if isinstance(part, str) else part for part in match.parts))
    return match


def _matches(match: Match, kind: Kind, key: str) -> bool:
    match match:
        case Value(wanted):
            return wanted in names.groups(key) if kind == "name" else key == wanted
        case Range(low, high):
            return bool(key) and (not low or key >= low) and (not high or key <= high)
        case Pattern():
            return any(matches_pattern(match, group) for group in (names.groups(key) if kind == "name" else [key]))
        case NamePattern(patterns):
            return _matches_groups(patterns, key)
        case Fuzzy(_, plain):
            return names.matches_fuzzily(" ".join(match.words), key) or _matches(plain, kind, key)
    raise AssertionError(match)


def _matches_groups(patterns: Sequence[Pattern | None], key: str) -> bool:
    of_key = key.split("=") + [""] * len(patterns)
    return all(
        pattern is None or matches_pattern(pattern, group) for pattern, group in zip(patterns, of_key, strict=False)
    )


def matches_pattern(pattern: Pattern, text: str) -> bool:
    """Whether the whole `text` matches, in time that grows with the product of both lengths at most: what stands
    between two `*` has a fixed length, and its first place is as good as any other."""
    parts = pattern.parts
    if parts[-1] is Wild.TAIL:
        head = parts[:-1]
        return matches_pattern(Pattern(head), text) or matches_pattern(Pattern((*head, "^", Wild.ANY)), text)
    chunks = [(0, "")]
    for part in parts:
        length, expression = chunks[-1]
        if part is Wild.ANY:
            chunks.append((0, ""))
        elif isinstance(part, str):
            chunks[-1] = (length + len(part), expression + re.escape(part))
        else:
            chunks[-1] = (length + 1, expression + ".")
    return _matches_chunks(chunks, text)


def _matches_chunks(chunks: Sequence[tuple[int, str]], text: str) -> bool:
    at, end = chunks[0][0], len(text) - chunks[-1][0]
    if len(chunks) == 1:
        return re.fullmatch(chunks[0][1], text, re.DOTALL) is not None
    if end < at or not re.match(chunks[0][1], text, re.DOTALL):
        return False
    for _, expression in chunks[1:-1]:
        found = re.compile(expression, re.DOTALL).search(text, at, end)
        if found is None:
            return False
        at = found.end()
    return re.compile(chunks[-1][1], re.DOTALL).fullmatch(text, end) is not None


# -- data sets


def matches_dataset(criteria: Iterable[Criterion], dataset: Mapping[str, Any], *, lenient: bool = False) -> bool:
    """Whether a DICOM JSON object matches all criteria; those inside a sequence must match in one item (C.2.2.2.6)."""
    inside: dict[int, list[Criterion]] = {}
    for criterion in criteria:
        if len(criterion.path) > 1:
            inside.setdefault(criterion.path[0], []).append(criterion)
        elif not _matches_attribute(criterion, dataset, lenient):
            return False
    return all(_matches_item(tag, nested, dataset, lenient) for tag, nested in inside.items())


def _matches_attribute(criterion: Criterion, dataset: Mapping[str, Any], lenient: bool) -> bool:
    keys = keys_of(dataset.get(f"{criterion.path[0]:08X}", {}), criterion.kind)
    if criterion.path[0] in OF_REQUEST:
        for item in _items(dataset, REQUEST_ATTRIBUTES):
            keys += keys_of(item.get(criterion.hex, {}), criterion.kind)
    if criterion.time and keys:
        times = keys_of(dataset.get(f"{criterion.time:08X}", {}), "time")
        keys = [keys[0] + (times[0] if times else "")]
    return matches_keys(criterion.match, criterion.kind, keys, lenient=lenient)


def _matches_item(tag: int, criteria: Sequence[Criterion], dataset: Mapping[str, Any], lenient: bool) -> bool:
    inner = [Criterion(c.path[1:], c.kind, c.match, c.time) for c in criteria]
    items = _items(dataset, tag)
    if not items:
        return all(isinstance(c.match, Empty) for c in inner)
    return any(matches_dataset(inner, item, lenient=lenient) for item in items)


def _items(dataset: Mapping[str, Any], tag: int) -> list[dict[str, Any]]:
    return [item for item in dataset.get(f"{tag:08X}", {}).get("Value", ()) if isinstance(item, dict)]
