"""DICOM JSON (PS3.18 Annex F) read strictly into data sets that `encode` can write: shapes, VRs, numbers, base64 and
limits are checked here, so that nothing later can fail on them. Iterative, since the depth is the sender's. Text is
kept as sent; numbers in DS and IS become text as PS3.5 6.2 allows; person names are joined to their three groups."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from app.dicom.dictionary import standard_vr
from app.dicom.limits import DEFAULT, Limits
from app.errors import BadRequest, LimitExceeded, Refused, Unreadable


class Span(NamedTuple):
    """`length` bytes from `offset` in a file that the caller holds."""

    offset: int
    length: int


@dataclass(slots=True)
class Element:
    """One data element. At most one of `values`, `binary`, `uri` and `bulk` is set; none means an empty value."""

    vr: str
    values: list[Value] = field(default_factory=list)
    binary: bytes | None = None
    """The value in little endian byte order, from InlineBinary."""
    uri: str | None = None
    """A BulkDataURI that nobody has resolved yet."""
    bulk: tuple[Span, ...] | None = None
    """Where the value's bytes lie, one after the other; in encapsulated Pixel Data each is a frame."""


DataSet = dict[int, Element]
Value = str | int | float | None | DataSet


class Reference(NamedTuple):
    """An element whose value is elsewhere. `path` is its tag path, such as `54000100/1/54001010`."""

    path: str
    element: Element


@dataclass(slots=True)
class Parsed:
    """One data set and its elements that have a BulkDataURI."""

    data_set: DataSet
    references: list[Reference]


TEXT_VRS = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
BINARY_VRS = frozenset("OB OD OF OL OV OW UN".split())
INTEGER_RANGES = {
    "US": (0, 2**16 - 1),
    "SS": (-(2**15), 2**15 - 1),
    "UL": (0, 2**32 - 1),
    "SL": (-(2**31), 2**31 - 1),
    "UV": (0, 2**64 - 1),
    "SV": (-(2**63), 2**63 - 1),
}
_PN_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_TOKENS = 2_000_000
"""Brackets and commas in one document: what bounds the memory of its parsed form, some 100 bytes for each."""
_DS_LENGTH = 16


def parse(document: bytes | bytearray, limits: Limits = DEFAULT) -> list[Parsed | Refused]:
    """The data sets of a DICOM JSON array (a lone object is taken as an array of one), each with its own refusal.
    Raises `BadRequest` when the document is no JSON of that shape, `LimitExceeded` when it is too large."""
    if len(document) > limits.json_metadata:
        raise LimitExceeded("json_metadata", f"the metadata has more than {limits.json_metadata} bytes")
    if sum(document.count(token) for token in (b"{", b"[", b",")) > _TOKENS:
        raise LimitExceeded("json_metadata", f"the metadata has more than {_TOKENS} values")
    try:
        content = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise BadRequest("the metadata is not JSON in UTF-8") from error
    data_sets = content if isinstance(content, list) else [content]
    results: list[Parsed | Refused] = []
    for data_set in data_sets:
        try:
            results.append(parse_object(data_set, limits))
        except Refused as refused:
            results.append(refused)
    return results


def parse_object(content: object, limits: Limits = DEFAULT) -> Parsed:
    """One DICOM JSON object; raises `Unreadable` naming the tag path, or `LimitExceeded`. File Meta Information,
    command and Group Length elements are left out: whoever writes the file makes them anew."""
    data_set: DataSet = {}
    references: list[Reference] = []
    count = 0
    stack: list[tuple[object, DataSet, str, int]] = [(content, data_set, "", 0)]
    while stack:
        members, target, path, depth = stack.pop()
        if not isinstance(members, dict):
            raise Unreadable(f"{path or 'the data set'} is not an object of attributes")
        if depth > limits.sequence_depth:
            raise LimitExceeded("sequence_depth", f"sequences are nested deeper than {limits.sequence_depth}")
        count += len(members)
        if count > limits.elements:
            raise LimitExceeded("elements", f"the data set has more than {limits.elements} elements")
        for key, attribute in members.items():
            here = f"{path}{key[:8]}"
            tag = _tag(key, here)
            if tag >> 16 in (0x0000, 0x0002) or tag & 0xFFFF == 0:
                continue
            element = target[tag] = _element(tag, attribute, here)
            if element.uri is not None:
                references.append(Reference(here, element))
            if element.vr == "SQ":
                for number, item in enumerate(attribute.get("Value") or (), 1):
                    nested: DataSet = {}
                    element.values.append(nested)
                    stack.append((item if item is not None else {}, nested, f"{here}/{number}/", depth + 1))
    return Parsed(data_set, references)


def _tag(key: str, path: str) -> int:
    if _TAG.fullmatch(key) is None:
        raise Unreadable(f"a member of {path[:-8] or 'the data set'} is not named by a tag of eight hexadecimal digits")
    return int(key, 16)


def _element(tag: int, attribute: object, path: str) -> Element:
    """The element without the items of a sequence, which the caller adds."""
    if not isinstance(attribute, dict):
        raise Unreadable(f"{path} is not an object with a VR")
    values, inline, uri = (attribute.get(name) for name in ("Value", "InlineBinary", "BulkDataURI"))
    if sum(part is not None for part in (values, inline, uri)) > 1:
        raise Unreadable(f"{path} has more than one of Value, InlineBinary and BulkDataURI")
    if values is not None and not isinstance(values, list):
        raise Unreadable(f"{path} has a Value that is not an array")
    vr = _vr(tag, attribute.get("vr"), values, path)
    if inline is not None:
        return Element(vr, binary=_inline(vr, inline, path))
    if uri is not None:
        if not isinstance(uri, str) or not uri or vr == "SQ":
            raise Unreadable(f"{path} has a BulkDataURI that is no address, or a VR that allows none")
        return Element(vr, uri=uri)
    return Element(vr, [] if vr == "SQ" or not values or values == [None] else _values(vr, values, path))


def _vr(tag: int, given: object, values: list[object] | None, path: str) -> str:
    if given is None:
        given = _choose(tag, values)
    if not isinstance(given, str) or given not in _CONVERTERS:
        raise Unreadable(f"{path} has no known VR")
    return given


def _choose(tag: int, values: list[object] | None) -> str:
    """The VR in PS3.6, the one that fits of `OB or OW`, `US or SS`, `US or OW`, `US or SS or OW`; else UN."""
    vr = standard_vr(tag)
    if vr is None:
        return "LO" if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    if " or " not in vr:
        return vr
    if not values:
        return "OW" if "OW" in vr else "US"
    return "SS" if any(isinstance(value, int) and value < 0 for value in values) else "US"


def _inline(vr: str, inline: object, path: str) -> bytes:
    if vr not in BINARY_VRS or not isinstance(inline, str):
        raise Unreadable(f"{path} has an InlineBinary that is no text, or a VR that allows none")
    try:
        return base64.b64decode("".join(inline.split()) if any(map(inline.count, " \r\n\t")) else inline, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable(f"{path} has an InlineBinary that is not base64") from error


def _values(vr: str, values: list[object], path: str) -> list[Value]:
    convert = _CONVERTERS[vr]
    try:
        if vr in TEXT_VRS:
            return [None if value is None else convert(value) for value in values]
        return [convert(value) for value in values]
    except (ValueError, OverflowError) as error:
        raise Unreadable(f"{path} has a value that its VR {vr} does not allow") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError
    return value


def _integer_string(value: object) -> str:
    if isinstance(value, str):
        return value
    number = _number(value)
    if number != int(number):
        raise ValueError
    return str(int(number))


def _decimal_string(value: object) -> str:
    return value if isinstance(value, str) else decimal_string(_number(value))


def decimal_string(number: int | float) -> str:
    """The most exact DS text of `number`: at most 16 characters (PS3.5 6.2)."""
    text = str(number) if isinstance(number, int) else repr(number)
    if isinstance(number, float) and number.is_integer() and abs(number) < 1e15:
        text = str(int(number))
    digits = 17
    while len(text) > _DS_LENGTH:
        digits -= 1
        text = f"{number:.{digits}g}"
    return text


def _person_name(value: object) -> str:
    """The component groups joined by `=`, without the empty ones at the end."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise ValueError
    groups = [value.get(name) for name in _PN_GROUPS]
    return "=".join(_text(group) if group is not None else "" for group in groups).rstrip("=")


def _attribute_tag(value: object) -> int:
    text = _text(value)
    if _TAG.fullmatch(text) is None:
        raise ValueError
    return int(text, 16)


def _float(value: object) -> float:
    return float(value) if isinstance(value, str) else float(_number(value))


def _single(value: object) -> float:
    struct.pack("<f", number := _float(value))
    return number


def _integer(low: int, high: int) -> Callable[[object], Value]:
    def convert(value: object) -> Value:
        number = int(value, 10) if isinstance(value, str) else _number(value)
        if number != int(number) or not low <= number <= high:
            raise ValueError
        return int(number)

    return convert


def _refuse(value: object) -> Value:
    raise ValueError


_CONVERTERS: dict[str, Callable[[object], Value]] = {
    **dict.fromkeys(TEXT_VRS, _text),
    **dict.fromkeys(BINARY_VRS, _refuse),
    **{vr: _integer(low, high) for vr, (low, high) in INTEGER_RANGES.items()},
    "DS": _decimal_string,
    "IS": _integer_string,
    "PN": _person_name,
    "AT": _attribute_tag,
    "FL": _single,
    "FD": _float,
    "SQ": _refuse,
}
