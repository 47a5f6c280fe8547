"""Identifiers become searches: the resource, the parameters, and the rules of the models (PS3.4 C.3, C.4.1)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pydicom.dataset import Dataset

from app.dicom.peer import PRESETS
from app.errors import IdentifierMismatch, LimitExceeded
from dimse_bridge.identifiers import patients
from dimse_bridge.identifiers.keys import in_portions, levels_of, to_search, unsupported_keys
from dimse_bridge.identifiers.patients import patients_of
from dimse_bridge.identifiers.request import Identifier, read_identifier
from tests.dimse.find.encoding import PATIENT_ROOT, STUDY_ROOT, encode, identifier

PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.1"


def read(level: str, **keys: object) -> Identifier:
    return read_identifier(encode(identifier(level, **keys)), "1.2.840.10008.1.2")


@pytest.mark.parametrize(
    ("request_", "path", "parameters"),
    [
        (read("STUDY", PatientName="A^*", StudyID=None), "/studies", {"00100010": "A^*", "includefield": "00200010"}),
        (read("STUDY", PatientName="*", ModalitiesInStudy=["CT", "MR"]), "/studies", {"00080061": "CT,MR"}),
        (read("PATIENT", PatientID="1", StudyDate="2024"), "/patients", {"00100020": "1"}),
        (read("SERIES", StudyInstanceUID="1.2", Modality="CT"), "/studies/1.2/series", {"00080060": "CT"}),
        (read("SERIES", StudyInstanceUID=["1.2", "1.3"]), "/series", {"0020000D": "1.2,1.3"}),
        (read("IMAGE", StudyInstanceUID="1.2"), "/studies/1.2/instances", {}),
        (read("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.3"), "/studies/1.2/series/1.3/instances", {}),
        (read("IMAGE", SeriesInstanceUID="1.3"), "/instances", {"0020000E": "1.3"}),
        (read("IMAGE", StudyInstanceUID="../x"), "/instances", {"0020000D": "../x"}),
        (read("STUDY", SOPInstanceUID="1.2.3"), "/studies", {"00080018": "1.2.3"}),
        (read("STUDY", Rows=512, InstanceNumber=7), "/studies", {"00200013": "7"}),
    ],
)
def test_searches(request_: Identifier, path: str, parameters: dict[str, str]) -> None:
    search = to_search(request_, PATIENT_ROOT)
    found = dict(search.parameters)
    assert search.path == path
    assert {name: value for name, value in found.items() if name != "includefield" or name in parameters} == parameters


def test_conditions_inside_sequences_have_paths() -> None:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = "RP*", None
    search = to_search(read("SERIES", RequestAttributesSequence=[item]), STUDY_ROOT)
    assert search.parameters == (("00400275.00401001", "RP*"), ("includefield", "00400275"))


def test_very_many_fields_are_all() -> None:
    ds = identifier("IMAGE")
    for element in range(0x1001, 0x10F0):
        ds.add_new(0x00090000 | element, "LO", "")
    search = to_search(read_identifier(encode(ds), "1.2.840.10008.1.2"), STUDY_ROOT)
    assert search.parameters == (("includefield", "all"),)


def test_models_have_levels() -> None:
    assert levels_of(PATIENT_ROOT) == ("PATIENT", "STUDY", "SERIES", "IMAGE")
    assert levels_of(STUDY_ROOT) == ("STUDY", "SERIES", "IMAGE")
    assert levels_of(PATIENT_STUDY_ONLY) == ("PATIENT", "STUDY")
    with pytest.raises(IdentifierMismatch):
        levels_of("1.2.840.10008.5.1.4.31")


@pytest.mark.parametrize(
    ("model", "keys", "offending"),
    [
        (STUDY_ROOT, read("SERIES"), 0x0020000D),
        (STUDY_ROOT, read("IMAGE", StudyInstanceUID="1.2"), 0x0020000E),
        (STUDY_ROOT, read("SERIES", StudyInstanceUID="1.*"), 0x0020000D),
        (PATIENT_ROOT, read("STUDY"), 0x00100020),
        (PATIENT_ROOT, read("STUDY", PatientID="A*"), 0x00100020),
    ],
)
def test_hierarchical_queries_need_the_unique_keys_above(model: str, keys: Identifier, offending: int) -> None:
    to_search(keys, model)
    with pytest.raises(IdentifierMismatch) as refusal:
        to_search(keys, model, PRESETS["dxserver"])
    assert refusal.value.offending == (offending,)


def test_what_no_answer_of_a_level_can_hold() -> None:
    assert unsupported_keys(read("STUDY", Rows=None, Modality=None, SOPClassUID=None), "STUDY") == (0x00280010,)
    assert unsupported_keys(read("PATIENT", StudyDate=None, NumberOfPatientRelatedStudies=None), "PATIENT") == (
        0x00080020,
    )
    assert unsupported_keys(read("IMAGE", Rows=None), "IMAGE") == ()


def test_long_lists_are_asked_for_in_portions() -> None:
    uids = [f"1.2.{number}" for number in range(250)]
    portions = list(in_portions(read("IMAGE", SOPInstanceUID=uids + uids[:5], Rows=None), STUDY_ROOT))
    assert [len(portion.text(0x00080018).split("\\")) for portion in portions] == [100, 100, 50]
    assert [uid for portion in portions for uid in portion.text(0x00080018).split("\\")] == uids


def study(patient: str, series: int = 1) -> dict[str, Any]:
    return {
        "00100020": {"vr": "LO", "Value": [patient] if patient else []},
        "00201206": {"vr": "IS", "Value": [series]},
    }


async def pages(*studies: dict[str, Any]) -> AsyncGenerator[list[dict[str, Any]], None]:
    for start in range(0, len(studies), 2):
        yield list(studies[start : start + 2])


async def test_patients_out_of_studies() -> None:
    studies = (study("A"), study("B", 2), study("A", 3), study(""), study(""), study("B"))
    found = [patient async for page in patients_of(pages(*studies), counted=False) for patient in page]
    assert found == [studies[0], studies[1], studies[3], studies[4]]
    counted = [patient async for page in patients_of(pages(*studies), counted=True) for patient in page]
    assert [patient["00201200"]["Value"] for patient in counted] == [[2], [2], [1], [1]]
    assert [patient["00201202"]["Value"] for patient in counted] == [[4], [3], [1], [1]]


async def test_patients_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patients, "_MOST", 3)
    with pytest.raises(LimitExceeded):
        _ = [page async for page in patients_of(pages(*(study(str(number)) for number in range(9))), counted=False)]
