"""Data sets as `app.dicom.json_model` reads them → DICOM JSON (PS3.18 Annex F) in its one normal form: members by tag,
person names by groups, binary values inline. Bulk data that is elsewhere cannot be written."""

from __future__ import annotations

import base64
from typing import Any

from app.dicom.json_model import DataSet, Element, Value
from app.errors import Unreadable

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def to_json(data_set: DataSet) -> dict[str, Any]:
    """The DICOM JSON object; raises `Unreadable` for an element whose value is bulk data."""
    return {f"{tag:08X}": _member(tag, data_set[tag]) for tag in sorted(data_set)}


def _member(tag: int, element: Element) -> dict[str, Any]:
    if element.uri is not None or element.bulk is not None:
        raise Unreadable(f"{tag:08X} has a BulkDataURI, which is not taken here")
    member: dict[str, Any] = {"vr": element.vr}
    if element.binary is not None:
        member["InlineBinary"] = base64.b64encode(element.binary).decode("ascii")
    elif element.values:
        member["Value"] = [_value(element.vr, value) for value in element.values]
    return member


def _value(vr: str, value: Value) -> Any:
    if isinstance(value, dict):
        return to_json(value)
    if vr == "PN" and isinstance(value, str):
        groups = zip(_GROUPS, value.split("="), strict=False)
        return {name: group for name, group in groups if group} or None
    return f"{value:08X}" if vr == "AT" and isinstance(value, int) else value
