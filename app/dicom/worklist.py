"""Worklist items as DICOM JSON objects: checked, completed with every return key of PS3.4 Table K.6-1, and taken apart
into the columns that searches match. What an item must have and nobody gave is made where it can be made."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from app.dicom import json_model
from app.dicom.json_write import to_json
from app.dicom.limits import DEFAULT, Limits
from app.dicom.matching import KIND_OF_VR, keys_of
from app.dicom.uid import is_uid
from app.dicom.values import date_key, time_key
from app.dicom.worklist_keys import KEYS, STEP_SEQUENCE, WorklistKey
from app.errors import BadRequest

Item = dict[str, Any]
SEQUENCE = f"{STEP_SEQUENCE:08X}"
CHARACTER_SET, STUDY_UID, PROCEDURE_ID, ACCESSION = "00080005", "0020000D", "00401001", "00080050"
PATIENT_ID, ISSUER, PATIENT_NAME = "00100020", "00100021", "00100010"
STATION_AET, START_DATE, START_TIME, STEP_ID, STEP_STATUS = "00400001", "00400002", "00400003", "00400009", "00400020"
PLACER, FILLER = "00402016", "00402017"
MODALITY = "00080060"
_MIDNIGHT = "000000"
_NAMESPACE = uuid.UUID("4b0d2b5e-6a0e-4c5c-9f5d-6f1f0a8b7f31")
"""Study Instance UIDs that are made of the same order are the same, however often it is sent."""
_SHORT = 16
"""Characters of an SH value."""
_NEEDED = ((PATIENT_ID, "PatientID"), (PATIENT_NAME, "PatientName"))
_NEEDED_IN_STEP = ((MODALITY, "Modality"), (START_DATE, "ScheduledProcedureStepStartDate"))


def read_item(content: object, limits: Limits = DEFAULT) -> Item:
    """The worklist item that a DICOM JSON object describes, complete and in normal form. Made when they are missing are
    Study Instance UID, the IDs of the requested procedure and of the step, and midnight as start time. Raises
    `BadRequest` for what cannot be made, `Unreadable` or `LimitExceeded`."""
    given = to_json(json_model.parse_object(content, limits).data_set)
    items = given.get(SEQUENCE, {}).get("Value") or []
    if len(items) != 1 or not isinstance(items[0], dict):
        raise BadRequest("ScheduledProcedureStepSequence needs exactly one item")
    step = items[0]
    _require(given, _NEEDED)
    _require(step, _NEEDED_IN_STEP)
    _check_start(step)
    _make(given, step)
    complete = {**_always_there(in_step=False), **given}
    complete[SEQUENCE] = {"vr": "SQ", "Value": [_sorted({**_always_there(in_step=True), **step})]}
    complete.pop(CHARACTER_SET, None)
    if not orjson.dumps(complete).isascii():
        complete[CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return _sorted(complete)


def step_of(item: Mapping[str, Any]) -> Item:
    """The item of the Scheduled Procedure Step Sequence."""
    step: Item = item[SEQUENCE]["Value"][0]
    return step


def text_of(data_set: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute as text, "" when there is none; of names the first group."""
    values = data_set.get(tag, {}).get("Value") or [None]
    value = values[0]
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    return "" if value is None else str(value)


def columns_of(item: Item) -> dict[str, Any]:
    """What the catalog's columns hold of an item: keys as `app.dicom.matching` compares them."""
    step = step_of(item)
    columns: dict[str, Any] = {}
    for key in KEYS:
        if key.column:
            element = (step if key.in_step else item).get(key.attribute.hex, {})
            found = keys_of(element, KIND_OF_VR[key.attribute.vr])
            columns[key.column] = found if key.attribute.matching == "set" else next(iter(found), "")
    return columns


def split(item: Item) -> tuple[bytes, bytes]:
    """The members of the table, which every search returns, and the others; both without braces."""
    usual = {tag: element for tag, element in item.items() if tag in _IN_TABLE}
    others = {tag: element for tag, element in item.items() if tag not in _IN_TABLE}
    return orjson.dumps(usual)[1:-1], orjson.dumps(others)[1:-1]


_IN_TABLE = frozenset(key.attribute.hex for key in KEYS if not key.in_step)


def _require(data_set: Item, needed: tuple[tuple[str, str], ...]) -> None:
    for tag, keyword in needed:
        if not text_of(data_set, tag).strip():
            raise BadRequest(f"{keyword} is missing", extra={"attribute": keyword})


def _check_start(step: Item) -> None:
    if not date_key(text_of(step, START_DATE)):
        raise BadRequest("ScheduledProcedureStepStartDate is no date")
    time = text_of(step, START_TIME)
    if time and not time_key(time):
        raise BadRequest("ScheduledProcedureStepStartTime is no time")


def _make(item: Item, step: Item) -> None:
    """Values that an item must have, where nobody gave them."""
    if not text_of(step, START_TIME):
        step[START_TIME] = {"vr": "TM", "Value": [_MIDNIGHT]}
    if not text_of(item, PROCEDURE_ID):
        item[PROCEDURE_ID] = {"vr": "SH", "Value": [text_of(item, ACCESSION)[:_SHORT] or _new_id()]}
    if not text_of(step, STEP_ID):
        step[STEP_ID] = {"vr": "SH", "Value": [text_of(item, PROCEDURE_ID)]}
    uid = text_of(item, STUDY_UID)
    if uid and not is_uid(uid):
        raise BadRequest("StudyInstanceUID is no UID")
    if not uid:
        item[STUDY_UID] = {"vr": "UI", "Value": [made_study_uid(item)]}


def made_study_uid(item: Mapping[str, Any]) -> str:
    """The Study Instance UID for an order that names none (PS3.5 B.2): the same for the same patient, accession number
    and requested procedure."""
    parts = [text_of(item, tag) for tag in (ISSUER, PATIENT_ID, ACCESSION, PROCEDURE_ID)]
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


def _new_id() -> str:
    return uuid.uuid4().hex[:_SHORT].upper()


def _always_there(*, in_step: bool) -> Item:
    return {key.attribute.hex: {"vr": key.attribute.vr} for key in KEYS if _is_due(key, in_step)}


def _is_due(key: WorklistKey, in_step: bool) -> bool:
    return key.in_step == in_step and key.is_always_there


def _sorted(data_set: Item) -> Item:
    return dict(sorted(data_set.items()))
