"""`Query`: what a search asks, the shared language of QIDO-RS (PS3.18 8.3.4, 10.6) and C-FIND (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from app.dicom.attributes import BY_TAG, LEVEL_OF, Level
from app.dicom.criteria import Rules, read_match
from app.dicom.limits import DEFAULT, Limits
from app.dicom.matching import KIND_OF_VR, AnyOf, Criterion, Match, Range
from app.errors import BadRequest, LimitExceeded

SPECIFIC_CHARACTER_SET = 0x00080005
_PAIRS = MappingProxyType(
    {
        tag_for_keyword(event + "Date"): tag_for_keyword(event + "Time")
        for event in ("Study", "PerformedProcedureStepStart", "Content", "Acquisition", "InstanceCreation")
    }
)
"""Dates and times that are one moment when both are asked for by ranges of the same form (PS3.4 C.2.2.2.5)."""
_ELSEWHERE = frozenset({"accept", "charset"})
"""Parameters of every resource, read by content negotiation (PS3.18 8.3.3)."""
_PATH_DEPTH = 8
_MOST_FIELDS = 256


@dataclass(frozen=True, slots=True)
class Fields:
    """Attributes asked for besides the default ones, as paths of tags."""

    all: bool = False
    paths: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Which of the results. `limit` None: as many as the server allows; `total`: tell how many there are (ours)."""

    limit: int | None = None
    offset: int = 0
    cursor: str = ""
    total: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `study` and `series` are the UIDs that the resource names, "" where it names none."""

    level: Level
    study: str = ""
    series: str = ""
    criteria: tuple[Criterion, ...] = ()
    fields: Fields = Fields()
    page: Page = Page()
    ignored: tuple[str, ...] = ()
    """Parameters that this server does not know (PS3.18 8.3.2), without characters that a header cannot hold."""


@dataclass(slots=True)
class _Reading:
    rules: Rules = field(default_factory=Rules)
    page: Page = field(default_factory=Page)
    everything: bool = False
    paths: dict[tuple[int, ...], None] = field(default_factory=dict)
    keys: list[tuple[str, tuple[int, ...], str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def level_of(path: tuple[int, ...]) -> Level:
    """The level of the entity that an attribute belongs to; whatever is not known belongs to the instance."""
    row = BY_TAG.get(path[0])
    return row.level if row else LEVEL_OF.get(path[0], "IMAGE")


@lru_cache(maxsize=4096)
def read_path(text: str) -> tuple[int, ...] | None:
    """The tags of an attribute ID (PS3.18 8.3.4.1): keywords, or tags of eight hexadecimal digits, with dots between
    them. None when a part is neither."""
    parts = text.split(".")
    if len(parts) > _PATH_DEPTH:
        return None
    tags = [_read_tag(part) for part in parts]
    return None if None in tags else tuple(tag for tag in tags if tag is not None)


def _read_tag(text: str) -> int | None:
    tag = tag_for_keyword(text)
    if tag is not None:
        return int(tag)
    if len(text) == 8 and all(c in "0123456789abcdefABCDEF" for c in text):
        return int(text, 16)
    return _ANY_CASE.get(text.casefold())


_ANY_CASE = MappingProxyType({row[4].casefold(): tag for tag, row in DicomDictionary.items() if row[4]})


def vr_of(tag: int) -> str:
    """The VR by the data dictionary; LO for private and unknown attributes, which are then matched as text."""
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return "LO"


def _has_many(tag: int) -> bool:
    try:
        return dictionary_VM(tag) != "1"
    except KeyError:
        return True


def read_query(
    level: Level,
    parameters: Iterable[tuple[str, str]],
    *,
    study: str = "",
    series: str = "",
    limits: Limits = DEFAULT,
) -> Query:
    """The query of decoded URL parameters. Raises `BadRequest` for a bad value and `LimitExceeded`."""
    reading = _Reading()
    for name, value in parameters:
        reader = _PARAMETERS.get(name)
        if reader is not None:
            reader(reading, name, value, limits)
        elif (path := read_path(name)) is not None:
            reading.keys.append((name, path, value))
        elif name not in _ELSEWHERE:
            reading.ignored.append(_printable(name))
    if len(reading.keys) > _MOST_FIELDS:
        raise LimitExceeded("query_criteria", f"more than {_MOST_FIELDS} keys")
    criteria = _read_criteria(reading, limits)
    if len(criteria) > limits.query_criteria:
        raise LimitExceeded("query_criteria", f"more than {limits.query_criteria} keys with a value")
    fields = Fields(reading.everything, tuple(reading.paths))
    return Query(level, study, series, criteria, fields, reading.page, tuple(dict.fromkeys(reading.ignored)))


def _read_criteria(reading: _Reading, limits: Limits) -> tuple[Criterion, ...]:
    found: list[Criterion] = []
    for name, path, text in reading.keys:
        reading.paths[path] = None
        if path[-1] == SPECIFIC_CHARACTER_SET:
            continue
        vr = vr_of(path[-1])
        _check_length(name, vr, text, limits)
        rules = replace(reading.rules, multiple=reading.rules.multiple and _has_many(path[-1]))
        try:
            match = read_match(vr, text, rules)
        except BadRequest as error:
            raise BadRequest(f"{_printable(name)}: {error.detail}") from None
        if match is not None:
            found.append(Criterion(path, KIND_OF_VR.get(vr, "text"), match))
    return tuple(_combine(_unite(found)))


def _check_length(name: str, vr: str, text: str, limits: Limits) -> None:
    if vr == "UI":
        if text.count(",") + text.count("\\") >= limits.uid_list:
            raise LimitExceeded("uid_list", f"{name}: more than {limits.uid_list} UIDs")
    elif len(text) > limits.query_value:
        raise LimitExceeded("query_value", f"{_printable(name)}: longer than {limits.query_value} characters")


def _unite(criteria: list[Criterion]) -> list[Criterion]:
    """A key that is there several times with UIDs is one list of UIDs."""
    united: dict[object, Criterion] = {}
    for at, criterion in enumerate(criteria):
        key: object = criterion.path if criterion.kind == "uid" else at
        earlier = united.get(key)
        if earlier is not None:
            both = dict.fromkeys(_alternatives(earlier.match) + _alternatives(criterion.match))
            criterion = replace(criterion, match=AnyOf(tuple(both)))
        united[key] = criterion
    return list(united.values())


def _alternatives(match: Match) -> tuple[Match, ...]:
    return match.matches if isinstance(match, AnyOf) else (match,)


def _combine(criteria: list[Criterion]) -> list[Criterion]:
    by_path = {criterion.path: criterion for criterion in criteria if isinstance(criterion.match, Range)}
    for path, day in by_path.items():
        time_tag = _PAIRS.get(path[-1])
        time = by_path.get((*path[:-1], time_tag)) if time_tag else None
        if time_tag is None or time is None:
            continue
        days, times = day.match, time.match
        if not isinstance(days, Range) or not isinstance(times, Range) or not _same_form(days, times):
            continue
        moments = Range(days.low and days.low + times.low, days.high and days.high + times.high)
        if moments.low and moments.high and moments.low > moments.high:
            raise BadRequest("a range of dates and times ends before it begins")
        criteria = [c for c in criteria if c is not day and c is not time]
        criteria.append(Criterion(path, "date", moments, int(time_tag)))
    return criteria


def _same_form(days: Range, times: Range) -> bool:
    return bool(days.low) == bool(times.low) and bool(days.high) == bool(times.high)


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c in "._-"))[:64] or "?"


# -- parameters that are no attributes


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadRequest(f"{name} is true or false")
    return text.lower() == "true"


def _unsigned(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise BadRequest(f"{name} is an unsigned integer")
    return int(text)


def _read_rule(reading: _Reading, name: str, text: str, limits: Limits) -> None:
    on = _boolean(name, text)
    rules = reading.rules
    reading.rules = Rules(
        fuzzy=on if name == "fuzzymatching" else rules.fuzzy,
        empty=on if name == "emptyvaluematching" else rules.empty,
        multiple=on if name == "multiplevaluematching" else rules.multiple,
    )


def _read_limit(reading: _Reading, name: str, text: str, limits: Limits) -> None:
    reading.page = replace(reading.page, limit=_unsigned(name, text))


def _read_offset(reading: _Reading, name: str, text: str, limits: Limits) -> None:
    offset = _unsigned(name, text)
    if offset > limits.query_offset:
        raise LimitExceeded("query_offset", f"offset is over {limits.query_offset}; follow the links to the next page")
    reading.page = replace(reading.page, offset=offset)


def _read_cursor(reading: _Reading, name: str, text: str, limits: Limits) -> None:
    reading.page = replace(reading.page, cursor=text)


def _read_count(reading: _Reading, name: str, text: str, limits: Limits) -> None:
    reading.page = replace(reading.page, total=_boolean(name, text))


def _read_fields(reading: _Reading, name: str, text: str, limits: Limits) -> None:
    for part in text.split(","):
        part = part.strip()
        if part.lower() == "all":
            reading.everything = True
        elif part:
            path = read_path(part)
            if path is None:
                raise BadRequest("includefield names attributes by keyword or tag, or is all")
            reading.paths[path] = None
    if len(reading.paths) > _MOST_FIELDS:
        raise BadRequest(f"includefield names more than {_MOST_FIELDS} attributes")


_PARAMETERS: Mapping[str, Callable[[_Reading, str, str, Limits], None]] = MappingProxyType(
    {
        "fuzzymatching": _read_rule,
        "emptyvaluematching": _read_rule,
        "multiplevaluematching": _read_rule,
        "includefield": _read_fields,
        "limit": _read_limit,
        "offset": _read_offset,
        "cursor": _read_cursor,
        "count": _read_count,
    }
)
