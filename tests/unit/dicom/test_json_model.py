"""DICOM JSON (PS3.18 Annex F): what each VR allows, what is tolerated, what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.dicom.json_model import Element, Parsed, decimal_string, parse, parse_object
from app.dicom.limits import Limits
from app.errors import BadRequest, LimitExceeded, Unreadable


def _one(tag: str, attribute: Any) -> Element:
    return parse_object({tag: attribute}).data_set[int(tag, 16)]


@pytest.mark.parametrize(
    ("tag", "attribute", "values"),
    [
        ("00080060", {"vr": "CS", "Value": ["CT"]}, ["CT"]),
        ("00080008", {"vr": "CS", "Value": ["A", None, "B"]}, ["A", None, "B"]),
        ("00080060", {"vr": "CS", "Value": [None]}, []),
        ("00080060", {"vr": "CS", "Value": []}, []),
        ("00080060", {"vr": "CS", "Value": None}, []),
        ("00080060", {"vr": "CS"}, []),
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}, ["A^B"]),
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "A", "Phonetic": "C"}]}, ["A==C"]),
        ("00100010", {"vr": "PN", "Value": [{"Ideographic": "山", "Alphabetic": None}]}, ["=山"]),
        ("00100010", {"vr": "PN", "Value": ["A^B=山"]}, ["A^B=山"]),
        ("00200013", {"vr": "IS", "Value": [1, "2", 3.0]}, ["1", "2", "3"]),
        ("00280030", {"vr": "DS", "Value": [0.5, 2, "3.50", 1.0]}, ["0.5", "2", "3.50", "1"]),
        ("00280010", {"vr": "US", "Value": [512, "512", 512.0]}, [512, 512, 512]),
        ("00189087", {"vr": "FD", "Value": [1, 1.5, "NaN", "-inf"]}, [1.0, 1.5, float("nan"), float("-inf")]),
        ("00280009", {"vr": "AT", "Value": ["00181063"]}, [0x00181063]),
        ("00660040", {"vr": "UV", "Value": [2**64 - 1]}, [2**64 - 1]),
        ("00080060", {"Value": ["CT"]}, ["CT"]),
        ("00280106", {"Value": [-5]}, [-5]),
        ("00090010", {"Value": ["CREATOR"]}, ["CREATOR"]),
    ],
)
def test_values(tag: str, attribute: Any, values: list[Any]) -> None:
    assert repr(_one(tag, attribute).values) == repr(values)


@pytest.mark.parametrize(
    ("tag", "attribute", "vr"),
    [
        ("00080060", {}, "CS"),
        ("00280106", {"Value": [-5]}, "SS"),
        ("00280106", {"Value": [5]}, "US"),
        ("00281201", {"BulkDataURI": "x"}, "OW"),
        ("7FE00010", {"InlineBinary": ""}, "OW"),
        ("00090010", {}, "LO"),
        ("00091001", {}, "UN"),
    ],
)
def test_vr_from_the_dictionary(tag: str, attribute: Any, vr: str) -> None:
    assert _one(tag, attribute).vr == vr


def test_binary_values() -> None:
    assert _one("7FE00010", {"vr": "OW", "InlineBinary": "AAEC\r\nAw=="}).binary == b"\0\1\2\3"
    assert _one("7FE00010", {"vr": "OW", "InlineBinary": ""}).binary == b""


@pytest.mark.parametrize(
    "attribute",
    [
        "CT",
        None,
        ["CT"],
        {"vr": "XX"},
        {"vr": 1},
        {"vr": "CS", "Value": "CT"},
        {"vr": "CS", "Value": [1]},
        {"vr": "CS", "Value": [["CT"]]},
        {"vr": "CS", "Value": [{}]},
        {"vr": "CS", "Value": ["CT"], "BulkDataURI": "x"},
        {"vr": "CS", "InlineBinary": "AA=="},
        {"vr": "OB", "InlineBinary": "A"},
        {"vr": "OB", "InlineBinary": "*AA=="},
        {"vr": "OB", "InlineBinary": 1},
        {"vr": "OB", "Value": [1]},
        {"vr": "OB", "BulkDataURI": ""},
        {"vr": "OB", "BulkDataURI": 1},
        {"vr": "SQ", "BulkDataURI": "x"},
        {"vr": "SQ", "Value": ["x"]},
        {"vr": "SQ", "Value": [[]]},
        {"vr": "PN", "Value": [1]},
        {"vr": "PN", "Value": [{"Alphabetic": 1}]},
        {"vr": "US", "Value": [65536]},
        {"vr": "US", "Value": [-1]},
        {"vr": "US", "Value": [1.5]},
        {"vr": "US", "Value": [True]},
        {"vr": "US", "Value": ["x"]},
        {"vr": "US", "Value": [1, None]},
        {"vr": "IS", "Value": [1.5]},
        {"vr": "DS", "Value": [True]},
        {"vr": "FL", "Value": [1e300]},
        {"vr": "FD", "Value": ["x"]},
        {"vr": "AT", "Value": ["0018106"]},
        {"vr": "AT", "Value": [1]},
    ],
)
def test_refused_attributes(attribute: Any) -> None:
    with pytest.raises(Unreadable) as refused:
        parse_object({"00400555": {"vr": "SQ", "Value": [{}, {"00080060": attribute}]}})
    assert "00400555/2/00080060" in refused.value.detail


@pytest.mark.parametrize("key", ["PatientName", "0008006", "000800600", "0008006G", "0008,0060", ""])
def test_refused_names(key: str) -> None:
    with pytest.raises(Unreadable):
        parse_object({key: {"vr": "CS"}})


def test_file_meta_commands_and_group_lengths_are_left_out() -> None:
    members = {tag: {"vr": "UL", "Value": [1]} for tag in ("00020000", "00020010", "00000100", "00080000")}
    assert parse_object(members).data_set == {}


def test_references_tell_their_paths() -> None:
    parsed = parse_object(
        {
            "7FE00010": {"vr": "OW", "BulkDataURI": "a"},
            "54000100": {"vr": "SQ", "Value": [None, {"54001010": {"vr": "OW", "BulkDataURI": "b"}}]},
        }
    )
    assert {(path, element.uri) for path, element in parsed.references} == {
        ("7FE00010", "a"),
        ("54000100/2/54001010", "b"),
    }
    assert parsed.data_set[0x54000100].values[0] == {}


@pytest.mark.parametrize("document", [b"", b"[", b"{'a':1}", b"\xff", b'["\\ud800"]', b"[" * 5000])
def test_documents_that_are_no_json(document: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(document)


def test_each_data_set_is_refused_alone() -> None:
    results = parse(b'[{"00080060":{"vr":"CS"}}, {"x":1}, 5, null, {}]')
    assert [isinstance(result, Parsed) for result in results] == [True, False, False, False, True]
    (lone,) = parse(b'{"00080060":{"vr":"CS"}}')
    assert isinstance(lone, Parsed)


def _nested(depth: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for _ in range(depth):
        members = {"00400555": {"vr": "SQ", "Value": [members]}}
    return members


def test_G31_limits() -> None:
    parse_object(_nested(32))
    with pytest.raises(LimitExceeded) as refused:
        parse_object(_nested(33))
    assert refused.value.limit == "sequence_depth"
    with pytest.raises(LimitExceeded) as refused:
        parse_object({f"{tag:08X}": {"vr": "CS"} for tag in range(0x00200001, 0x00200001 + 11)}, Limits(elements=10))
    assert refused.value.limit == "elements"
    with pytest.raises(LimitExceeded) as refused:
        parse(b"[" + b"[]," * 2_000_000 + b"[]]")
    assert refused.value.limit == "json_metadata"
    with pytest.raises(LimitExceeded):
        parse(orjson.dumps([{"00080060": {"vr": "CS"}}]), Limits(json_metadata=10))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-1.5, "-1.5"),
        (1e22, "1e+22"),
        (0.1 + 0.2, "0.3"),
        (-158.135803, "-158.135803"),
        (1 / 3, "0.33333333333333"),
        (-1e-7 / 3, "-3.333333333e-08"),
        (123456789012345678, "1.2345678901e+17"),
        (-0.0, "0"),
    ],
)
def test_decimal_strings_have_at_most_16_characters(number: float, text: str) -> None:
    result = decimal_string(number)
    assert len(result) <= 16
    assert float(result) == pytest.approx(number, rel=1e-9)
    assert float(result) == pytest.approx(float(text), rel=1e-9)
