"""DICOM JSON becomes the data set that it was made from, in every native syntax; JSON that is no DICOM is refused."""

from __future__ import annotations

import base64
import io
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.dicom.part10 import HeaderReader
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from app.errors import ArchiveUnreachable
from dimse_bridge.identifiers.answer import Answers, encode_answer
from dimse_bridge.identifiers.request import Identifier, Key, read_identifier
from tests.dimse.find.encoding import SYNTAXES, decode, encode, identifier
from tests.property.datasets import datasets
from tests.property.datasets import encode as encode_file

ADDED = (0x00080052, 0x00080054, 0x00080056)
UNDECIDED = (0x00189810, 0x00280106, 0x00283002)
"""Their VR depends on Pixel Representation, which implicit VR loses when it was not asked for."""


def asked_for(ds: Dataset) -> Identifier:
    """A request at IMAGE level for all that is in `ds`."""
    keys = [Key(int(element.tag), element.VR) for element in ds if element.tag not in UNDECIDED]
    return Identifier(tuple(key for key in keys if key.tag != 0x00080005))


def header_json(file: bytes) -> Any:
    reader = HeaderReader()
    reader.feed(file)
    return orjson.loads(reader.finish().json)


def normal(ds: Dataset) -> dict[str, Any]:
    """What is compared: JSON without padding and empty values, numbers as numbers."""
    return {tag: value for tag, element in ds.to_json_dict(1 << 30).items() if (value := normal_element(element))}


def normal_element(element: dict[str, Any]) -> Any:
    values = element.get("Value", [])
    if element["vr"] == "SQ":
        return [
            {tag: value for tag, one in item.items() if tag != "00080005" and (value := normal_element(one))}
            for item in values
        ]
    if element["vr"] == "PN":
        names = [{group: text.rstrip(" ") for group, text in (name or {}).items()} for name in values]
        return [{group: text for group, text in name.items() if text} for name in names] if any(names) else []
    if element["vr"] in ("DS", "IS"):
        return [None if value is None else pytest.approx(float(value)) for value in values]
    if element["vr"] in ("FL", "FD"):
        return [repr(value) for value in values]
    stripped = [value.strip(" \0") or None if isinstance(value, str) else value for value in values]
    # pydicom does not swap the words of big endian.
    return (
        stripped
        if any(value is not None for value in stripped)
        else sorted(base64.b64decode(element.get("InlineBinary", "")))
    )


def has_empty_name_among_others(ds: Dataset) -> bool:
    """pydicom has no JSON for it."""
    return any(element.VR == "PN" and element.VM > 1 and not all(element.value) for element in ds.iterall())


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(datasets(), st.sampled_from(SYNTAXES))
def test_what_was_stored_comes_back(ds: Dataset, syntax: str) -> None:
    assume(not has_empty_name_among_others(ds))
    file = encode_file(ds, EXPLICIT_LE)
    request = asked_for(ds)
    encoded = encode_answer(header_json(file), request, "IMAGE", syntax, ae_title="US")
    assert len(encoded) % 2 == 0
    found = decode(encoded, syntax)
    expected = dcmread(io.BytesIO(file))
    for tag in (*ADDED, 0x00080005, *UNDECIDED):
        for each in (found, expected):
            if tag in each:
                del each[tag]
    if syntax != IMPLICIT_LE:
        assert_same(found, expected)
    else:
        assert {int(element.tag) for element in found} == {int(element.tag) for element in expected}


def assert_same(found: Dataset, expected: Dataset) -> None:
    ours, theirs = normal(found), normal(expected)
    assert set(ours) == set(theirs)
    for tag, value in theirs.items():
        assert ours[tag] == value, tag


def request_for(**keys: object) -> Identifier:
    return read_identifier(encode(identifier(**keys)), IMPLICIT_LE)


def test_values_of_every_kind_in_big_endian() -> None:
    request = request_for(
        PatientName=None, Rows=None, FrameIncrementPointer=None, SliceThickness=None, SeriesNumber=None
    )
    item = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山"}]},
        "00280010": {"vr": "US", "Value": [512]},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00180050": {"vr": "DS", "Value": [1.25, "3"]},
        "00200011": {"vr": "IS", "Value": [7, None]},
    }
    found = decode(encode_answer(item, request, "IMAGE", EXPLICIT_BE, ae_title="US"), EXPLICIT_BE)
    assert (str(found.PatientName), found.Rows, found.FrameIncrementPointer) == ("A^B=山", 512, 0x00181063)
    assert (list(found.SliceThickness), list(found.SeriesNumber)) == ([1.25, 3], [7, ""])
    assert found.SpecificCharacterSet == "ISO_IR 192"


def test_a_value_too_long_for_its_length_field_is_un() -> None:
    item = {"00204000": {"vr": "LT", "Value": ["x" * 70_000]}}
    encoded = encode_answer(item, request_for(ImageComments=None), "IMAGE", EXPLICIT_LE, ae_title="US")
    assert b"\x20\x00\x00\x40UN\0\0" in encoded
    assert len(decode(encoded, EXPLICIT_LE)[0x00204000].value) == 70_000


@pytest.mark.parametrize(
    "element",
    [
        [],
        7,
        {},
        {"vr": "XX", "Value": [1]},
        {"vr": "US", "Value": [-1]},
        {"vr": "US", "Value": ["x"]},
        {"vr": "LO", "Value": [7]},
        {"vr": "LO", "Value": 7},
        {"vr": "PN", "Value": [7]},
        {"vr": "AT", "Value": ["0018"]},
        {"vr": "DS", "Value": [{}]},
        {"vr": "SQ", "Value": [7]},
        {"vr": "SQ", "Value": [{"x": {"vr": "LO"}}]},
        {"vr": "OB", "InlineBinary": "?"},
        {"vr": [], "Value": [1]},
    ],
    ids=str,
)
@pytest.mark.parametrize("keyword", ["StudyDescription", "ProcedureCodeSequence"])
def test_junk_is_no_answer(element: object, keyword: str) -> None:
    request = request_for(**{keyword: [] if keyword.endswith("Sequence") else None})
    answers = Answers(request, "STUDY", EXPLICIT_LE, ae_title="US")
    tag = {"StudyDescription": "00081030", "ProcedureCodeSequence": "00081032"}[keyword]
    try:
        decode(answers.encode({tag: element}), EXPLICIT_LE)
    except ArchiveUnreachable:
        return
    assert keyword.endswith("Sequence") or element in (
        {"vr": "AT", "Value": ["0018"]},
        {"vr": "OB", "InlineBinary": "?"},
    )
