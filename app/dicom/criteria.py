"""The grammar of matching keys (PS3.4 C.2.2.2; PS3.18 8.3.4): the text of a key → a match. Refusals say what is
expected and never repeat the value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from app.dicom import moments, names
from app.dicom.matching import (
    KIND_OF_VR,
    AllOf,
    AnyOf,
    Empty,
    Fuzzy,
    Kind,
    Match,
    NamePattern,
    Pattern,
    Range,
    Value,
    Wild,
    is_number,
    number_key,
)
from app.dicom.uid import is_uid, strip_padding
from app.dicom.values import date_key, text_key
from app.errors import BadRequest

_WILD_VRS = frozenset("AE CS LO LT PN SH ST UC UR UT".split())
"""Wild card matching is for these (PS3.4 C.2.2.2.4)."""
_MULTIPLE_VRS = frozenset("AE AS AT CS LO PN SH UC".split())
"""Multiple value matching is for these (PS3.4 C.2.2.2.8)."""
EMPTY_VALUE = '""'


@dataclass(frozen=True, slots=True)
class Rules:
    """The search parameters that change how keys are read (PS3.18 8.3.4)."""

    fuzzy: bool = False
    empty: bool = False
    multiple: bool = False


def read_match(vr: str, text: str, rules: Rules = Rules()) -> Match | None:
    """The match that `text` asks of an attribute of that VR; None for universal matching (C.2.2.2.3). Raises
    `BadRequest` when the VR cannot have such a value; its message does not repeat the value."""
    kind = KIND_OF_VR.get(vr, "text")
    text = text.strip(" ")
    if not text.strip("*") or (kind == "name" and not names.search_key(text).strip("*=^")):
        return None
    if rules.empty and text == EMPTY_VALUE:
        return Empty()
    if kind == "uid":
        return _one_of([_uid(part) for part in re.split(r"[,\\]", text)])
    if "\0" in text:
        raise BadRequest("a value holds a NUL character")
    if rules.multiple and vr in _MULTIPLE_VRS and (parts := _split_values(vr, text))[1:]:
        return AllOf(tuple(_text(vr, part, rules) for part in parts))
    if vr == "CS" and (parts := _split_values(vr, text)):
        return _one_of([_text(vr, part, rules) for part in parts])
    return _READERS[kind](vr, text, rules)


def _split_values(vr: str, text: str) -> list[str]:
    separators = r"[,\\]" if vr == "CS" else r"\\"
    return [part for part in (part.strip(" ") for part in re.split(separators, text)) if part]


def _one_of(matches: Sequence[Match]) -> Match:
    unique = tuple(dict.fromkeys(matches))
    return unique[0] if len(unique) == 1 else AnyOf(unique)


def _uid(text: str) -> Match:
    uid = strip_padding(text)
    if not is_uid(uid):
        raise BadRequest("a UID is digits and dots, at most 64 characters")
    return Value(uid)


def _text(vr: str, text: str, rules: Rules) -> Match:
    if vr == "PN":
        return _name(vr, text, rules)
    if vr in _WILD_VRS and ("*" in text or "?" in text):
        return read_pattern(text)
    return Value(text_key(text))


def read_pattern(text: str) -> Pattern:
    """The parts of a wild card pattern; repeated `*` count once."""
    parts: list[str | Wild] = []
    for part in re.split(r"([*?])", text_key(text)):
        if part not in ("*", "?"):
            parts += [part] if part else []
        elif part == "?" or parts[-1:] != [Wild.ANY]:
            parts.append(Wild(part))
    return Pattern(tuple(parts))


def _name_pattern(key: str) -> Pattern:
    """As `read_pattern`. `^*` at the end, once or more, stands for further components, of which there may be none."""
    parts = read_pattern(key).parts
    head = list(parts)
    while len(head) > 1 and head[-1] is Wild.ANY and isinstance(head[-2], str) and head[-2].endswith("^"):
        literal = head[-2].rstrip("^")
        head[-2:] = [literal] if literal else []
    if len(head) == len(parts) or not head:
        return Pattern(parts)
    return Pattern(tuple(head) if head[-1] is Wild.ANY else (*head, Wild.TAIL))


def _name(vr: str, text: str, rules: Rules) -> Match:
    key = names.search_key(text_key(text))
    plain: Value | Pattern | NamePattern = Value(key)
    if "=" in key:
        plain = NamePattern(tuple(_name_group(group) for group in key.split("=")))
    elif "*" in text or "?" in text:
        plain = _name_pattern(key)
    if rules.fuzzy and (words := names.words(re.sub(r"[*?]", " ", key))):
        return Fuzzy(tuple(words), plain)
    return plain


def _name_group(group: str) -> Pattern | None:
    return _name_pattern(group) if group.strip("*^") else None


def _date(vr: str, text: str, rules: Rules) -> Match:
    first, dash, second = (part.strip() for part in text.partition("-"))
    low, high = (date_key(part) if part else "" for part in (first, second))
    if (first and not low) or (second and not high) or not (low or high):
        raise BadRequest("a date is YYYYMMDD, a range of dates YYYYMMDD-YYYYMMDD, -YYYYMMDD or YYYYMMDD-")
    return _range(low, high) if dash else Value(low)


def _time(vr: str, text: str, rules: Rules) -> Match:
    first, dash, second = (part.strip() for part in text.partition("-"))
    lows, highs = moments.time_span(first), moments.time_span(second)
    if (first and lows is None) or (second and highs is None) or not (lows or highs):
        raise BadRequest(
            "a time is HHMMSS.FFFFFF or less of it from the left, a range of times has a hyphen between two"
        )
    if not dash and lows:
        return Range(*lows)
    return _range(lows[0] if lows else "", highs[1] if highs else "")


def _datetime(vr: str, text: str, rules: Rules) -> Match:
    ends = moments.read_datetime_range(text)
    if ends is None:
        raise BadRequest(
            "a date and time is YYYYMMDDHHMMSS.FFFFFF&ZZXX or less of it, a range has a hyphen between two"
        )
    return _range(*ends)


def _range(low: str, high: str) -> Range:
    if low and high and low > high:
        raise BadRequest("a range ends before it begins")
    return Range(low, high)


def _number(vr: str, text: str, rules: Rules) -> Match:
    parts = text.split("\\")
    if len(text) > 64 or not all(map(is_number, parts)):
        raise BadRequest("a number is expected")
    return _one_of([Value(number_key(part)) for part in parts])


def _unmatchable(vr: str, text: str, rules: Rules) -> Match:
    raise BadRequest("sequences are matched by the attributes of their items, and binary values not at all")


_READERS: Mapping[Kind, Callable[[str, str, Rules], Match]] = MappingProxyType(
    {
        "name": _name,
        "text": _text,
        "date": _date,
        "time": _time,
        "datetime": _datetime,
        "number": _number,
        "sequence": _unmatchable,
        "binary": _unmatchable,
    }
)
