"""Worklist items as tests make them, and what they read of answers."""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

RESOURCE = "/modality-scheduled-procedure-steps"
STEP = "00400100"
_DEFAULTS: dict[str, Any] = {"PatientName": "Work^List", "PatientID": "WL-1"}
_STEP_DEFAULTS: dict[str, Any] = {
    "Modality": "CT",
    "ScheduledProcedureStepStartDate": "20240229",
    "ScheduledProcedureStepStartTime": "080000",
}


def element(keyword: str, value: object) -> tuple[str, dict[str, Any]]:
    """One member of a DICOM JSON object; None or an empty text for no value."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    vr = dictionary_VR(tag)
    values = value if isinstance(value, list) else [] if value in (None, "") else [value]
    if vr == "PN":
        groups = ("Alphabetic", "Ideographic", "Phonetic")
        values = [dict(zip(groups, str(name).split("="), strict=False)) for name in values]
    return f"{tag:08X}", {"vr": vr, "Value": values} if values else {"vr": vr}


def item(**values: object) -> dict[str, Any]:
    """An item by keywords; those of the step begin with `step_`. None leaves an attribute out."""
    step = _STEP_DEFAULTS | {name[5:]: value for name, value in values.items() if name.startswith("step_")}
    rest = _DEFAULTS | {name: value for name, value in values.items() if not name.startswith("step_")}
    made = dict(element(name, value) for name, value in rest.items() if value is not None)
    inner = dict(element(name, value) for name, value in step.items() if value is not None)
    return made | {STEP: {"vr": "SQ", "Value": [inner]}}


def step_of(found: dict[str, Any]) -> dict[str, Any]:
    """The item of the Scheduled Procedure Step Sequence."""
    (step,) = found[STEP]["Value"]
    assert isinstance(step, dict)
    return step


def text(found: dict[str, Any], tag: str) -> str:
    """The first value of an attribute, "" when it has none."""
    (value, *_) = found.get(tag, {}).get("Value") or [""]
    return str(value["Alphabetic"] if isinstance(value, dict) else value)
