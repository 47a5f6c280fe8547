"""Modality performed procedure steps (PS3.4 F.7) as DICOM JSON objects: their states, what may become of them, and what
each state requires. Pure; whoever keeps steps calls `created` and `updated`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import orjson

from app.dicom.json_model import parse_object
from app.dicom.json_write import to_json
from app.dicom.limits import DEFAULT, Limits
from app.dicom.uid import is_uid
from app.errors import DuplicateInstance, InvalidAttribute, MissingAttribute, NotFound, Refused, StepEnded

DataSet = dict[str, Any]
SPECIFIC_CHARACTER_SET, STUDY_UID, SERIES_UID = "00080005", "0020000D", "0020000E"
_SOP_CLASS, _SOP_INSTANCE = "00080016", "00080018"
_STATUS, _STEP_SEQUENCE, _SERIES_SEQUENCE = "00400252", "00400270", "00400340"
_SCHEDULED_STEP_ID = "00400009"
_REASONS, _CODE_VALUE, _CODING_SCHEME = "00400281", "00080100", "00080102"
_REFERENCES = ("00081140", "00400220")
"""Referenced Image Sequence, Referenced Non-Image Composite SOP Instance Sequence."""
_REFERENCED_INSTANCE = "00081155"
_WRONG_ENTRY = ("110514", "DCM")
ENDED_COMMENT = "Performed Procedure Step Object may no longer be updated"
"""As PS3.4 Table F.7.2-2 words it."""


class State(IntEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = 0
    COMPLETED = 1
    DISCONTINUED = 2


WORDS = MappingProxyType(
    {"IN PROGRESS": State.IN_PROGRESS, "COMPLETED": State.COMPLETED, "DISCONTINUED": State.DISCONTINUED}
)
_ENDS = ("COMPLETED", "DISCONTINUED")
ALLOWED: Mapping[tuple[State | None, str], tuple[str, ...] | type[Refused]] = MappingProxyType(
    {
        (None, "create"): ("IN PROGRESS",),
        (None, "update"): NotFound,
        (State.IN_PROGRESS, "create"): DuplicateInstance,
        (State.IN_PROGRESS, "update"): ("", "IN PROGRESS", *_ENDS),
        (State.COMPLETED, "create"): DuplicateInstance,
        (State.COMPLETED, "update"): StepEnded,
        (State.DISCONTINUED, "create"): DuplicateInstance,
        (State.DISCONTINUED, "update"): StepEnded,
    }
)
"""The state machine: (state, operation) → values of the status that it may bring, "" for none; or the refusal."""

_AT_CREATION = (
    ("00400253", "Performed Procedure Step ID"),
    ("00400241", "Performed Station AE Title"),
    ("00400244", "Performed Procedure Step Start Date"),
    ("00400245", "Performed Procedure Step Start Time"),
    (_STATUS, "Performed Procedure Step Status"),
    ("00080060", "Modality"),
)
_AT_COMPLETION = (
    ("00400250", "Performed Procedure Step End Date"),
    ("00400251", "Performed Procedure Step End Time"),
)
"""Type 1 of PS3.4 Table F.7.2-1. What is type 2 there may be missing, since modalities forget it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step in one of its states. `data_set` holds all attributes that came."""

    state: State
    data_set: DataSet

    @property
    def studies(self) -> list[str]:
        """The Study Instance UIDs that it belongs to, each once."""
        return list(dict.fromkeys(study for study, _ in self.scheduled))

    @property
    def scheduled(self) -> list[tuple[str, str]]:
        """(Study Instance UID, Scheduled Procedure Step ID) of each scheduled step; the ID "" of an unscheduled one."""
        found = items_of(self.data_set, _STEP_SEQUENCE)
        return [(text_of(item, STUDY_UID), text_of(item, _SCHEDULED_STEP_ID)) for item in found]

    @property
    def references(self) -> list[tuple[str, str]]:
        """(Series Instance UID, SOP Instance UID) of each instance that it made, each once."""
        return list(dict.fromkeys(self._references()))

    def _references(self) -> Iterator[tuple[str, str]]:
        for series in items_of(self.data_set, _SERIES_SEQUENCE):
            for sequence in _REFERENCES:
                for item in items_of(series, sequence):
                    yield text_of(series, SERIES_UID), text_of(item, _REFERENCED_INSTANCE)

    @property
    def is_wrong_entry(self) -> bool:
        """Whether it was discontinued since the wrong worklist entry had been selected (DCM 110514)."""
        return self.state is State.DISCONTINUED and any(
            (text_of(code, _CODE_VALUE), text_of(code, _CODING_SCHEME)) == _WRONG_ENTRY
            for code in items_of(self.data_set, _REASONS)
        )


def read(content: object, limits: Limits = DEFAULT) -> DataSet:
    """A DICOM JSON object in normal form; raises `Unreadable` or `LimitExceeded`. SOP Class and Instance UID belong to
    the message, not to its attributes; text is in UTF-8 here, whatever it came in."""
    data_set = to_json(parse_object(content, limits).data_set)
    for tag in (_SOP_CLASS, _SOP_INSTANCE, SPECIFIC_CHARACTER_SET):
        data_set.pop(tag, None)
    return data_set


def ended_by(given: DataSet) -> bool:
    """Whether an N-SET ends its step."""
    return text_of(given, _STATUS) in _ENDS


def encode(data_set: DataSet) -> bytes:
    """The DICOM JSON object as it is kept; Specific Character Set says UTF-8 when there is more than ASCII."""
    encoded = orjson.dumps(data_set)
    if encoded.isascii():
        return encoded
    return orjson.dumps({SPECIFIC_CHARACTER_SET: {"vr": "CS", "Value": ["ISO_IR 192"]}, **data_set})


def created(given: DataSet) -> Step:
    """The step that an N-CREATE makes; raises `MissingAttribute` or `InvalidAttribute`."""
    _check_status(None, "create", given)
    _require(given, _AT_CREATION)
    _check_scheduled(given)
    step = Step(State.IN_PROGRESS, given)
    _check_references(step)
    return step


def updated(before: Step, given: DataSet) -> Step:
    """What an N-SET makes of a step: its attributes replace those of the same tag. Raises `StepEnded`,
    `MissingAttribute` or `InvalidAttribute`; nothing has changed then."""
    _check_status(before.state, "update", given)
    merged = dict(sorted({**before.data_set, **given}.items()))
    step = Step(WORDS[text_of(merged, _STATUS)], merged)
    if _STEP_SEQUENCE in given:
        _check_scheduled(merged)
    _check_references(step)
    if step.state is State.COMPLETED:
        _require(merged, _AT_COMPLETION)
        if not items_of(merged, _SERIES_SEQUENCE):
            raise MissingAttribute("Performed Series Sequence (0040,0340) is missing", int(_SERIES_SEQUENCE, 16))
    return step


def _check_status(state: State | None, operation: str, given: DataSet) -> None:
    allowed = ALLOWED[state, operation]
    if not isinstance(allowed, tuple):
        raise allowed(ENDED_COMMENT if allowed is StepEnded else "")
    status = text_of(given, _STATUS)
    if status not in allowed and (status or _STATUS in given):
        if not status:
            raise MissingAttribute("Performed Procedure Step Status (0040,0252) is empty", int(_STATUS, 16))
        words = " or ".join(filter(None, allowed))
        raise InvalidAttribute(f"Performed Procedure Step Status must be {words}", int(_STATUS, 16))


def _require(data_set: DataSet, needed: tuple[tuple[str, str], ...]) -> None:
    missing = [(tag, name) for tag, name in needed if not text_of(data_set, tag)]
    if missing:
        tag, name = missing[0]
        raise MissingAttribute(f"{name} ({tag[:4]},{tag[4:]}) is missing", *(int(tag, 16) for tag, _ in missing))


def _check_scheduled(data_set: DataSet) -> None:
    steps = items_of(data_set, _STEP_SEQUENCE)
    if not steps:
        raise MissingAttribute("Scheduled Step Attributes Sequence (0040,0270) is missing", int(_STEP_SEQUENCE, 16))
    for item in steps:
        uid = text_of(item, STUDY_UID)
        if not uid:
            raise MissingAttribute("Study Instance UID (0020,000D) is missing", int(STUDY_UID, 16))
        if not is_uid(uid):
            raise InvalidAttribute("Study Instance UID is no UID", int(STUDY_UID, 16))


def _check_references(step: Step) -> None:
    for series in items_of(step.data_set, _SERIES_SEQUENCE):
        if not text_of(series, SERIES_UID):
            raise MissingAttribute("Series Instance UID (0020,000E) is missing", int(SERIES_UID, 16))
    for series_uid, sop_uid in step.references:
        if not is_uid(series_uid) or not is_uid(sop_uid):
            raise InvalidAttribute("a referenced series or instance has no UID", int(_REFERENCED_INSTANCE, 16))


def items_of(data_set: DataSet, tag: str) -> list[DataSet]:
    """The items of a sequence; none when it is missing or empty."""
    return [item for item in data_set.get(tag, {}).get("Value") or () if isinstance(item, dict)]


def text_of(data_set: DataSet, tag: str) -> str:
    """The first value of an attribute as text without padding; "" when there is none."""
    values = data_set.get(tag, {}).get("Value")
    return values[0].strip(" \0") if values and isinstance(values[0], str) else ""
