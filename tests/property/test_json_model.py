"""DICOM JSON and XML under any input: a data set that can be written and read back, or a refusal."""

from __future__ import annotations

import io
import json
from typing import Any

import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dicom.encode import part10
from app.dicom.json_model import Element, Parsed, parse, parse_object
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from app.dicom.xml_model import from_xml, to_xml
from app.errors import Refused

_VRS = (
    "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV XX".split()
)
_tags = st.sampled_from(
    (
        "00080060",
        "00100010",
        "00280010",
        "00280106",
        "00091001",
        "00090010",
        "7FE00010",
        "00400555",
        "FFFFFFFF",
        "0008006G",
    )
)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_names = st.dictionaries(st.sampled_from(("Alphabetic", "Ideographic", "Phonetic", "x")), _scalars, max_size=3)


def _attributes(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    values = st.lists(_scalars | _names | items, max_size=3)
    attribute = st.fixed_dictionaries(
        {"vr": st.sampled_from(_VRS)},
        optional={"Value": values | _scalars, "InlineBinary": st.text(max_size=9) | _scalars, "BulkDataURI": _scalars},
    )
    return st.dictionaries(_tags | st.text(max_size=8), attribute | _scalars, max_size=4)


_anything = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))
_data_sets = st.recursive(_attributes(st.nothing()), _attributes, max_leaves=6)


def _valid_values(vr: str) -> st.SearchStrategy[list[Any]]:
    text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\^="), max_size=9)
    number = {
        "US": st.integers(0, 65535),
        "SS": st.integers(-32768, 32767),
        "FD": st.floats(allow_nan=False, allow_infinity=False),
        "DS": st.integers(-(10**9), 10**9),
        "PN": text.map(lambda name: {"Alphabetic": "n" + name + "."}),
    }
    return st.lists(number.get(vr, text.map(lambda value: "v" + value + ".")), max_size=4)


_valid = st.dictionaries(
    st.integers(0x00180001, 0x0018FFFF).map(lambda tag: f"{tag:08X}"),
    st.sampled_from(("LO", "SH", "US", "SS", "FD", "DS", "PN", "UT")).flatmap(
        lambda vr: _valid_values(vr).map(lambda values: {"vr": vr, "Value": values} if values else {"vr": vr})
    ),
    max_size=6,
)


@given(st.binary(max_size=200) | (_anything | _data_sets).map(lambda content: json.dumps(content).encode()))
@settings(deadline=None)
def test_any_document_gives_data_sets_or_refusals(document: bytes) -> None:
    try:
        results = parse(document)
    except Refused:
        return
    for result in results:
        if isinstance(result, Parsed):
            _write(result)


@given(_data_sets)
@settings(deadline=None)
def test_any_object_gives_a_data_set_or_a_refusal(members: Any) -> None:
    try:
        parsed = parse_object(members)
    except Refused:
        return
    _write(parsed)


def _write(parsed: Parsed) -> bytes:
    data_set = {**parsed.data_set, 0x00080016: Element("UI", ["1.2"]), 0x00080018: Element("UI", ["1.2.3"])}
    return b"".join(segment for segment in part10(data_set, EXPLICIT_LE) if isinstance(segment, bytes))


@given(_valid)
@settings(deadline=None, max_examples=60)
def test_what_is_valid_comes_back(members: dict[str, Any]) -> None:
    again = pydicom.dcmread(io.BytesIO(_write(parse_object(members))))
    for tag, attribute in members.items():
        element, vr = again[int(tag, 16)], attribute["vr"]
        values = attribute.get("Value", [])
        if vr == "PN":
            values = [value["Alphabetic"] for value in values]
        if vr == "UT":
            values = ["\\".join(values)] if values else []
        assert vr == element.VR
        assert (list(element.value) if element.VM > 1 else [element.value] if element.VM else []) == values


@given(_valid)
@settings(deadline=None)
def test_xml_and_back(members: dict[str, Any]) -> None:
    again = from_xml(to_xml(members))
    assert parse_object(again) == parse_object(members)


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_xml_or_refused(document: bytes) -> None:
    for content in (document, b"<NativeDicomModel>" + document + b"</NativeDicomModel>"):
        try:
            parse_object(from_xml(content))
        except Refused:
            pass
