"""What a peer answered to C-FIND as DICOM JSON (PS3.18 F): every attribute that came, asked for or not. Text is in
UTF-8 whatever its character set was; binary values, which no search answers, stay empty."""

from __future__ import annotations

from math import isfinite
from typing import Any

import orjson

from app.dicom.charsets import charset_of
from app.dicom.elements import CONVERTERS
from dimse_bridge.identifiers.repertoires import UTF_8
from dimse_bridge.identifiers.request import SPECIFIC_CHARACTER_SET, Identifier, Key

_IN_CHARSET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_NUMBERS = {"US": int, "SS": int, "UL": int, "SL": int, "UV": int, "SV": int, "FL": float, "FD": float}
_EXACT = 2**53
_UTF_8 = charset_of(UTF_8)[0]


def dicom_json(match: Identifier) -> bytes:
    """One match as a JSON object."""
    return orjson.dumps(_members(match.keys))


def _members(keys: tuple[Key, ...]) -> dict[str, Any]:
    return {f"{key.tag:08X}": _element(key) for key in keys}


def _element(key: Key) -> dict[str, Any]:
    if key.vr == "SQ" or key.items:
        items = [_members(item) for item in key.items]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if key.tag == SPECIFIC_CHARACTER_SET:
        return {"vr": "CS", "Value": [UTF_8]}
    if not key.text:
        return {"vr": key.vr}
    if key.vr == "AT":
        return {"vr": key.vr, "Value": key.text.split("\\")}
    if key.vr in _NUMBERS:
        return {"vr": key.vr, "Value": [_number(text, _NUMBERS[key.vr]) for text in key.text.split("\\")]}
    return _text(key)


def _number(text: str, kind: type[int] | type[float]) -> int | float | str:
    """PS3.18 F.2.3: what a JSON number cannot hold is a string."""
    number = kind(text)
    if isinstance(number, float):
        return number if isfinite(number) else {"inf": "Infinity", "-inf": "-Infinity"}.get(text, "NaN")
    return number if -_EXACT <= number <= _EXACT else text


def _text(key: Key) -> dict[str, Any]:
    convert = CONVERTERS.get(key.vr)
    if convert is None:
        return {"vr": "UN"}
    value = key.text.encode("utf_8" if key.vr in _IN_CHARSET else "latin_1", "replace")
    json, _, _ = convert(value, _UTF_8, "<")
    return {"vr": key.vr, "Value": orjson.Fragment(b"[" + json + b"]")} if json else {"vr": key.vr}
