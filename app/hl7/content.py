"""Segments of a message → members of a worklist item's DICOM JSON, by the table `app.hl7.mapping`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from app.dicom.values import date_key, time_key
from app.hl7.mapping import (
    PREGNANT,
    PRIORITIES,
    SEXES,
    SIZES,
    UNITS,
    WEIGHTS,
    Mapped,
)
from app.hl7.message import NOTHING, NotUnderstood, Place, Segment, place, text_of

Members = dict[str, dict[str, Any]]
_GROUPS = {"A": "Alphabetic", "I": "Ideographic", "P": "Phonetic"}
_REPRESENTATION, _PERSON_REPRESENTATION = 8, 15
"""Components of XPN and XCN that tell the group of the name."""
_DEFINITELY_PREGNANT = 3


@dataclass(slots=True)
class Content:
    """What a message says of an item: members at the top, and of its step. A member without values empties it."""

    root: Members = field(default_factory=dict)
    step: Members = field(default_factory=dict)


class Segments:
    """The segments that are about one item; of several with one name the first one counts, of AL1 and OBX all."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._all = segments
        self._first: dict[str, Segment] = {}
        for segment in segments:
            self._first.setdefault(segment.name, segment)

    def named(self, name: str) -> list[Segment]:
        """All segments of a name."""
        return [segment for segment in self._all if segment.name == name]

    def text(self, where: str) -> str:
        """The text at a place such as `ORC-2.1`; "" when nothing stands there."""
        at = place(where)
        segment = self._first.get(at.segment)
        return segment.value(at) if segment else ""

    def repetitions(self, at: Place) -> list[list[list[str]]]:
        """All of a field."""
        segment = self._first.get(at.segment)
        return segment.repetitions(at.field) if segment else []


def content_of(segments: Segments, table: Sequence[Mapped]) -> Content:
    """Every attribute of `table` that the segments mention."""
    content = Content()
    for row in table:
        values = next((found for where in row.places if (found := _KINDS[row.kind](segments, place(where)))), None)
        if values is None:
            continue
        members = content.step if row.in_step else content.root
        if row.kind == "moment":
            _put_moment(members, row.keyword, values[0])
        else:
            members.update(member(row.keyword, values))
    _put_body(content.root, segments)
    return content


def member(keyword: str, values: Sequence[Any]) -> Members:
    """One member of a DICOM JSON object; `NOTHING` among the values is no value."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    kept = [value for value in values if value != NOTHING]
    vr = dictionary_VR(tag)
    return {f"{tag:08X}": {"vr": vr, "Value": kept} if kept else {"vr": vr}}


# -- kinds: what stands at a place, as values; [] when nothing does


def _text(segments: Segments, at: Place) -> list[Any]:
    found = segments.repetitions(at)
    if not found:
        return []
    if at.component:
        text = text_of(found[0], at.component, at.subcomponent)
    else:
        text = " ".join(part for part in (text_of(found[0], number + 1) for number in range(3)) if part)
    return [text] if text else []


def _texts(segments: Segments, at: Place) -> list[Any]:
    found = segments.repetitions(at)
    return [text for one in found if (text := text_of(one, at.component, at.subcomponent))]


def _date(segments: Segments, at: Place) -> list[Any]:
    return [text if text == NOTHING else date_key(text[:8]) or NOTHING for text in _text(segments, at)]


def _mapped(meaning: Mapping[str, str]) -> Callable[[Segments, Place], list[Any]]:
    def read(segments: Segments, at: Place) -> list[Any]:
        return [meaning.get(text.upper(), "") or NOTHING for text in _text(segments, at)]

    return read


def _pregnancy(segments: Segments, at: Place) -> list[Any]:
    return [_DEFINITELY_PREGNANT if text.upper() == PREGNANT else NOTHING for text in _text(segments, at)]


def _allergies(segments: Segments, at: Place) -> list[Any]:
    texts = [one.value(Place(at.segment, at.field, 2)) or one.value(at) for one in segments.named(at.segment)]
    return [text for text in texts if text]


def _code(segments: Segments, at: Place) -> list[Any]:
    found = segments.repetitions(at)
    value, meaning, scheme = (text_of(found[0], at.component + number) if found else "" for number in range(3))
    if value == NOTHING:
        return [NOTHING]
    if not value:
        return []
    code = member("CodeValue", [value]) | member("CodingSchemeDesignator", [scheme or "L"])
    return [code | member("CodeMeaning", [meaning or value])]


def _name(segments: Segments, at: Place) -> list[Any]:
    """XPN: family, given, middle, suffix, prefix."""
    return _names(segments, at, first=1, representation=_REPRESENTATION)


def _person(segments: Segments, at: Place) -> list[Any]:
    """XCN: an ID before the name; NDL has all of it in its first component."""
    found = segments.repetitions(at)
    if found and len(found[0]) > 0 and len(found[0][0]) > 1:
        _, *rest = found[0][0]
        return [{"Alphabetic": text}] if (text := _pn([[part] for part in rest], 1)) else []
    return _names(segments, at, first=2, representation=_PERSON_REPRESENTATION)


def _names(segments: Segments, at: Place, *, first: int, representation: int) -> list[Any]:
    name: dict[str, str] = {}
    for one in segments.repetitions(at):
        if text_of(one, 1) == NOTHING:
            return [NOTHING]
        group = _GROUPS.get(text_of(one, representation).upper() or "A", "")
        if group and (text := _pn(one, first)):
            name.setdefault(group, text)
    return [name] if name else []


def _pn(components: Sequence[Sequence[str]], first: int) -> str:
    """Family^given^middle^prefix^suffix of components that have suffix and prefix the other way round."""
    family, given, middle, suffix, prefix = (text_of(components, first + number) for number in range(5))
    parts = [
        part.replace("^", " ").replace("=", " ").replace("\\", " ") for part in (family, given, middle, prefix, suffix)
    ]
    return "^".join(parts).rstrip("^")


def _put_moment(members: Members, keyword: str, text: str) -> None:
    """A time stamp without its offset: it is local time, as the worklist's. Raises `NotUnderstood`."""
    digits = text.partition("+")[0].partition("-")[0]
    day, clock = date_key(digits[:8]), time_key(digits[8:])
    if text != NOTHING and (not day or (digits[8:] and not clock)):
        raise NotUnderstood(102, "the scheduled start is no time stamp")
    members.update(member(f"{keyword}Date", [day or NOTHING]))
    if digits[8:] or text == NOTHING:
        members.update(member(f"{keyword}Time", [digits[8:] if clock else NOTHING]))


def _put_body(members: Members, segments: Segments) -> None:
    """Weight and size, which are observations."""
    for segment in segments.named("OBX"):
        about = {segment.value(Place("OBX", 3, component)).upper() for component in (1, 2, 4, 5)}
        for names, keyword in ((WEIGHTS, "PatientWeight"), (SIZES, "PatientSize")):
            factor = UNITS.get(segment.value(Place("OBX", 6, 1)).upper() or "KG")
            if about.isdisjoint(names) or factor is None:
                continue
            try:
                number = float(segment.value(Place("OBX", 5))) * factor
            except ValueError:
                continue
            if 0 < number < 1000:
                members.update(member(keyword, [round(number, 4)]))


_KINDS: Mapping[str, Callable[[Segments, Place], list[Any]]] = {
    "text": _text,
    "texts": _texts,
    "name": _name,
    "person": _person,
    "date": _date,
    "moment": _text,
    "sex": _mapped(SEXES),
    "priority": _mapped(PRIORITIES),
    "code": _code,
    "allergies": _allergies,
    "pregnancy": _pregnancy,
}
