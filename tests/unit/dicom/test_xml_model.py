"""The Native DICOM Model against DCMTK's dcm2xml and xmllint, round trips, and documents that must be refused."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from app.dicom.limits import Limits
from app.dicom.xml_model import from_xml, to_xml
from app.errors import BadRequest, LimitExceeded

FILES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "rtplan.dcm",
    "rtstruct.dcm",
    "reportsi.dcm",
    "test-SR.dcm",
    "liver_1frame.dcm",
    "examples_ybr_color.dcm",
)
_HEAD = b'<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'


def _path(name: str) -> str:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return path


def _json_object(name: str) -> dict[str, Any]:
    data_set = pydicom.dcmread(_path(name), force=True)
    return data_set.to_json_dict(bulk_data_threshold=256, bulk_data_element_handler=lambda element: "bulk/1?a=b&c")


def _normal(members: dict[str, Any]) -> dict[str, Any]:
    """`members` so that equal content compares equal: DS and IS as numbers, FL shortened, no bulk addresses."""
    result = {}
    for tag, attribute in members.items():
        vr, values = attribute["vr"], list(attribute.get("Value", ()))
        if vr == "SQ":
            values = [_normal(item) for item in values]
        elif vr in ("DS", "IS", "FL", "FD"):
            values = [None if value is None else float(f"{float(value):.6g}") for value in values]
        elif vr != "PN":
            values = [value.rstrip() if isinstance(value, str) else value or "" for value in values]
        bulk = "BulkDataURI" in attribute or "InlineBinary" in attribute
        result[tag] = (vr, "bulk" if bulk else values)
    return result


@pytest.mark.parametrize("name", FILES)
def test_round_trip_and_well_formed(name: str) -> None:
    members = _json_object(name)
    document = to_xml(members)
    assert _normal(from_xml(document)) == _normal(members)
    assert shutil.which("xmllint"), "libxml2-utils is not installed"
    subprocess.run(["xmllint", "--noout", "-"], input=document, check=True, capture_output=True)


@pytest.mark.parametrize("name", FILES)
def test_same_as_dcm2xml(name: str) -> None:
    assert shutil.which("dcm2xml"), "dcmtk is not installed"
    command = ["dcm2xml", "--native-format", "+Xn", "+Eb", "+U8", _path(name)]
    theirs = _normal(from_xml(subprocess.run(command, check=True, capture_output=True).stdout))
    ours = _normal(from_xml(to_xml(_json_object(name))))
    for members in (ours, theirs):
        members.pop("00080005", None)  # dcm2xml converts to UTF-8 and says so
    assert ours == theirs


def test_private_elements_carry_their_creator() -> None:
    members = {
        "00090010": {"vr": "LO", "Value": ["A & B"]},
        "00091002": {"vr": "UI", "Value": ["1.2"]},
        "00091102": {"vr": "UI", "Value": ["3.4"]},
    }
    document = to_xml(members)
    assert b'tag="00090002" privateCreator="A &amp; B"' in document
    assert from_xml(document) == members


def test_creator_that_is_only_an_attribute_gets_a_free_block() -> None:
    document = (
        _HEAD + b'<DicomAttribute tag="00090010" vr="LO"><Value number="1">X</Value></DicomAttribute>'
        b'<DicomAttribute tag="00090007" vr="CS" privateCreator="Y"><Value number="1">V</Value></DicomAttribute>'
        b"</NativeDicomModel>"
    )
    assert from_xml(document) == {
        "00090010": {"vr": "LO", "Value": ["X"]},
        "00090011": {"vr": "LO", "Value": ["Y"]},
        "00091107": {"vr": "CS", "Value": ["V"]},
    }


def test_second_block_of_one_creator_keeps_its_tags() -> None:
    members = {
        "00090010": {"vr": "LO", "Value": ["A"]},
        "00090011": {"vr": "LO", "Value": ["A"]},
        "00091002": {"vr": "UI", "Value": ["1"]},
        "00091102": {"vr": "UI", "Value": ["2"]},
    }
    assert from_xml(to_xml(members)) == members


def test_text_that_xml_must_escape() -> None:
    members = {
        "00081030": {"vr": "LO", "Value": ['<a> & "b"', None, "æ日本"]},
        "0032 4000".replace(" ", ""): {"vr": "LT", "Value": [" line\r\nline\t\f"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^^B", "Phonetic": "^C"}]},
        "7FE00010": {"vr": "OW", "BulkDataURI": 'https://h/a?b&c="d"'},
        "00420011": {"vr": "OB", "InlineBinary": "AAEC"},
        "00400555": {"vr": "SQ", "Value": [{}, {"00400001": {"vr": "AE", "Value": ["X"]}}]},
        "00280010": {"vr": "US", "Value": [512]},
        "00189074": {"vr": "FD", "Value": [1.5e-7]},
        "00080090": {"vr": "PN"},
    }
    again = from_xml(to_xml(members))
    assert again.pop("00324000") == {"vr": "LT", "Value": [" line\r\nline\t\ufffd"]}
    del members["00324000"]
    assert again == members


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"<NativeDicomModel>",
        b"<html/>",
        b"<!DOCTYPE x><NativeDicomModel/>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><NativeDicomModel>&a;</NativeDicomModel>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><NativeDicomModel>&a;</NativeDicomModel>',
        _HEAD + b"<Value/></NativeDicomModel>",
        _HEAD + b'<DicomAttribute tag="1" vr="CS"/></NativeDicomModel>',
        _HEAD + b'<DicomAttribute tag="00080005" vr="CS"/><DicomAttribute tag="00080005" vr="CS"/></NativeDicomModel>',
        _HEAD + b'<DicomAttribute tag="00080005" vr="CS"><Value number="9999"/></DicomAttribute></NativeDicomModel>',
        _HEAD
        + b'<DicomAttribute tag="00080005" vr="CS"><Value number="2"/><Value number="1"/></DicomAttribute>'
        + b"</NativeDicomModel>",
        b'<?xml version="1.0" encoding="EBCDIC"?>' + _HEAD + b"</NativeDicomModel>",
    ],
)
def test_refused_documents(document: bytes) -> None:
    with pytest.raises(BadRequest):
        from_xml(document)


def test_G31_limits() -> None:
    with pytest.raises(LimitExceeded) as refused:
        from_xml(_HEAD + b"</NativeDicomModel>", Limits(json_metadata=10))
    assert refused.value.limit == "json_metadata"
    nest = b'<DicomAttribute tag="00400555" vr="SQ"><Item number="1">'
    with pytest.raises(LimitExceeded) as refused:
        from_xml(_HEAD + nest * 33)
    assert refused.value.limit == "sequence_depth"
