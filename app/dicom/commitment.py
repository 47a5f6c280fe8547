"""Storage commitment as DICOM JSON (PS3.18 J, PS3.4 J.3): what a request references, and what the result says. A
request lists instances, or has them below studies and series (web services only); the result has the same form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import orjson

from app.dicom.json_model import parse_object
from app.dicom.json_write import to_json
from app.dicom.limits import DEFAULT, Limits
from app.dicom.performed_step import items_of, text_of
from app.dicom.uid import is_uid
from app.errors import BadRequest, LimitExceeded

DataSet = dict[str, Any]
MOST_REFERENCES = 100_000
_TRANSACTION, _REFERENCED, _FAILED, _REASON = "00081195", "00081199", "00081198", "00081197"
_CLASS, _INSTANCE = "00081150", "00081155"
_STUDIES, _SERIES, _BY_CLASS, _INSTANCES = "00081110", "00081115", "00081112", "0008114A"
_STUDY_UID, _SERIES_UID = "0020000D", "0020000E"


class FailureReason(IntEnum):
    """Failure Reason (0008,1197) of an instance that is not committed (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION = 0x0131
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that a request names; study and series are "" where it lists instances only."""

    sop_class: str
    sop_instance: str
    study: str = ""
    series: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What somebody else's result says: instances that are committed, and Failure Reasons (0008,1197) of others."""

    transaction: str
    committed: tuple[str, ...]
    failures: Mapping[str, int]


def read(content: object, limits: Limits = DEFAULT) -> list[Reference]:
    """The references of a Storage Commitment Request Module (PS3.18 J.1), each instance once. Raises `BadRequest`,
    `Unreadable` or `LimitExceeded`."""
    wide = replace(limits, elements=8 * MOST_REFERENCES)
    data_set = to_json(parse_object(content, wide).data_set)
    listed, below = items_of(data_set, _REFERENCED), items_of(data_set, _STUDIES)
    if listed and below:
        raise BadRequest("instances are referenced in a list or by study, not both")
    found = [Reference(text_of(item, _CLASS), text_of(item, _INSTANCE)) for item in listed] or list(_by_study(below))
    if not found:
        raise BadRequest("no instance is referenced")
    if len(found) > MOST_REFERENCES:
        raise LimitExceeded("references", f"a request may reference {MOST_REFERENCES} instances at most")
    for one in found:
        if not is_uid(one.sop_class) or not is_uid(one.sop_instance):
            raise BadRequest("a reference has no SOP Class UID, or no SOP Instance UID")
    return list(dict.fromkeys(found))


def read_result(content: object, limits: Limits = DEFAULT) -> Result:
    """A result: the Storage Commitment Response Module (PS3.18 J.2), or what an N-EVENT-REPORT says (PS3.4 J.3.3): it
    has a Transaction UID. What stands in both lists is not committed. Raises `Unreadable` or `LimitExceeded`."""
    data_set = to_json(parse_object(content, replace(limits, elements=8 * MOST_REFERENCES)).data_set)
    failures = {text_of(item, _INSTANCE): _reason(item) for item in items_of(data_set, _FAILED)}
    listed = [text_of(item, _INSTANCE) for item in items_of(data_set, _REFERENCED)]
    listed += [
        text_of(item, _INSTANCE)
        for study in items_of(data_set, _STUDIES)
        for series in items_of(study, _SERIES)
        for of_class in items_of(series, _BY_CLASS)
        for item in items_of(of_class, _INSTANCES)
    ]
    return Result(
        transaction_of(data_set), tuple(uid for uid in dict.fromkeys(listed) if uid not in failures), failures
    )


def _reason(item: DataSet) -> int:
    values = item.get(_REASON, {}).get("Value")
    reason = values[0] if values else None
    return reason if isinstance(reason, int) and 0 < reason <= 0xFFFF else FailureReason.PROCESSING_FAILURE


def request(references: Iterable[tuple[str, str]], uid: str = "") -> DataSet:
    """The Storage Commitment Request Module (PS3.18 J.1) about (SOP class, SOP instance); with `uid` as N-ACTION has it
    (PS3.4 Table J.3-1)."""
    found = {_REFERENCED: _sequence([_item(Reference(*one)) for one in references])}
    return with_transaction(found, uid) if uid else found


def transaction_of(data_set: Mapping[str, Any]) -> str:
    """Transaction UID (0008,1195) of a DIMSE request, "" when it is missing or no UID."""
    uid = text_of(dict(data_set), _TRANSACTION)
    return uid if is_uid(uid) else ""


def _by_study(studies: list[DataSet]) -> Iterator[Reference]:
    for study in studies:
        for series in items_of(study, _SERIES):
            uids = (text_of(study, _STUDY_UID), text_of(series, _SERIES_UID))
            if not all(map(is_uid, uids)):
                raise BadRequest("a referenced study or series has no UID")
            for of_class in items_of(series, _BY_CLASS):
                for item in items_of(of_class, _INSTANCES):
                    yield Reference(text_of(of_class, _CLASS), text_of(item, _INSTANCE), *uids)


def result(references: list[Reference], failures: Mapping[int, int]) -> bytes:
    """The Storage Commitment Response Module (PS3.18 J.2); `failures` has reasons by position. Every reference is in it
    once. Neither a Retrieve AE Title nor a media file-set is told."""
    members: DataSet = {}
    good = [one for at, one in enumerate(references) if at not in failures]
    if good and good[0].study:
        members[_STUDIES] = _sequence(_studies(good))
    elif good:
        members[_REFERENCED] = _sequence([_item(one) for one in good])
    bad = [
        {**_item(one), _REASON: {"vr": "US", "Value": [int(failures[at])]}}
        for at, one in enumerate(references)
        if at in failures
    ]
    if bad:
        members[_FAILED] = _sequence([dict(sorted(item.items())) for item in bad])
    return orjson.dumps(dict(sorted(members.items())))


def has_failures(data_set: Mapping[str, Any]) -> bool:
    """Whether a result says that some instance is not committed."""
    return bool(items_of(dict(data_set), _FAILED))


def with_transaction(data_set: Mapping[str, Any], uid: str) -> DataSet:
    """A result as N-EVENT-REPORT has it (PS3.4 Table J.3-2): with its Transaction UID."""
    return dict(sorted({**data_set, _TRANSACTION: _uid(uid)}.items()))


def _studies(references: list[Reference]) -> list[DataSet]:
    tree: dict[str, dict[str, dict[str, list[DataSet]]]] = {}
    for one in references:
        classes = tree.setdefault(one.study, {}).setdefault(one.series, {})
        classes.setdefault(one.sop_class, []).append({_INSTANCE: _uid(one.sop_instance)})
    return [
        {
            _SERIES: _sequence(
                [
                    {
                        _BY_CLASS: _sequence(
                            [{_INSTANCES: _sequence(items), _CLASS: _uid(uid)} for uid, items in classes.items()]
                        ),
                        _SERIES_UID: _uid(series),
                    }
                    for series, classes in all_series.items()
                ]
            ),
            _STUDY_UID: _uid(study),
        }
        for study, all_series in tree.items()
    ]


def _item(one: Reference) -> DataSet:
    return {_CLASS: _uid(one.sop_class), _INSTANCE: _uid(one.sop_instance)}


def _uid(value: str) -> DataSet:
    return {"vr": "UI", "Value": [value]}


def _sequence(items: list[DataSet]) -> DataSet:
    return {"vr": "SQ", "Value": items}
