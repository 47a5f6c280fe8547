"""C-FIND and QIDO-RS give the same answer to the same question, over the real corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from app.dicom.status import Progress
from tests.dimse.find.asking import ask, associated
from tests.dimse.find.conftest import Bridge
from tests.dimse.find.encoding import PATIENT_ROOT, identifier

RESOURCES = {"PATIENT": "/patients", "STUDY": "/studies", "SERIES": "/series", "IMAGE": "/instances"}
OF_PATIENT = "PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex".split()
OF_STUDY = """StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID StudyDescription ReferringPhysicianName
ModalitiesInStudy SOPClassesInStudy NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances PatientAge PatientWeight
ProcedureCodeSequence NameOfPhysiciansReadingStudy RequestedProcedureID""".split()
OF_SERIES = """SeriesInstanceUID Modality SeriesNumber SeriesDescription BodyPartExamined ProtocolName SeriesDate
NumberOfSeriesRelatedInstances RequestAttributesSequence PerformedProcedureStepStartDate""".split()
OF_IMAGE = """SOPInstanceUID SOPClassUID InstanceNumber Rows Columns BitsAllocated NumberOfFrames ContentDate ImageType
ImagePositionPatient WindowCenter ConceptNameCodeSequence""".split()
RETURNED = {
    "PATIENT": OF_PATIENT,
    "STUDY": OF_PATIENT + OF_STUDY,
    "SERIES": OF_PATIENT + OF_STUDY[:8] + OF_SERIES,
    "IMAGE": OF_PATIENT + OF_STUDY[:8] + OF_SERIES + OF_IMAGE,
}
UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
QUESTIONS: list[tuple[str, dict[str, str]]] = [
    ("STUDY", {}),
    ("STUDY", {"PatientName": "*"}),
    ("STUDY", {"PatientName": "*a*"}),
    ("STUDY", {"PatientName": "?e*"}),
    ("STUDY", {"PatientName": "Yamada^Tarou"}),
    ("STUDY", {"PatientName": "山田^太郎"}),
    ("STUDY", {"PatientName": "Äneas*"}),
    ("STUDY", {"PatientID": "1*"}),
    ("STUDY", {"StudyDate": "20000101-20101231"}),
    ("STUDY", {"StudyDate": "-20000101"}),
    ("STUDY", {"StudyDate": "20040101-"}),
    ("STUDY", {"StudyTime": "1000-1200"}),
    ("STUDY", {"StudyDate": "19900101-20101231", "StudyTime": "0800-1800"}),
    ("STUDY", {"ModalitiesInStudy": "CT\\MR"}),
    ("STUDY", {"ModalitiesInStudy": "M*"}),
    ("STUDY", {"StudyDescription": "*e*", "ModalitiesInStudy": "CT"}),
    ("STUDY", {"Modality": "US"}),
    ("STUDY", {"AccessionNumber": "*1*"}),
    ("STUDY", {"NumberOfStudyRelatedInstances": "2"}),
    ("STUDY", {"PatientID": "NOBODY"}),
    ("PATIENT", {}),
    ("PATIENT", {"PatientName": "*a*"}),
    ("PATIENT", {"PatientSex": "F"}),
    ("SERIES", {"Modality": "CT"}),
    ("SERIES", {"Modality": "MR", "SeriesDescription": "*"}),
    ("SERIES", {"PatientName": "*a*", "Modality": "OT"}),
    ("SERIES", {"SeriesNumber": "1"}),
    ("IMAGE", {"PatientID": "*", "Modality": "MR"}),
    ("IMAGE", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2\\1.2.840.10008.5.1.4.1.1.4"}),
    ("IMAGE", {"InstanceNumber": "1", "Modality": "US"}),
]


@pytest.fixture(scope="module")
def peer(bridge: Bridge, stocked: None) -> Iterator[Association]:
    with associated(bridge) as association:
        yield association


def elements_of(answer: Dataset, level: str) -> dict[str, Any]:
    """The keys that were asked for, as DICOM JSON without empty ones."""
    found = {}
    for keyword in RETURNED[level]:
        element = answer[keyword]
        if not element.is_empty:
            found[f"{int(element.tag):08X}"] = comparable(element.to_json_dict(None, 1 << 20))
    return found


def comparable(element: dict[str, Any]) -> Any:
    """What may differ without a difference in meaning: numbers that are strings, empty members and values."""
    if element["vr"] == "SQ":
        return [
            {tag: comparable(one) for tag, one in sorted(item.items()) if has_value(one) and tag != "00080005"}
            for item in element.get("Value", ())
        ]
    if element["vr"] in ("DS", "IS"):
        return [float(value) if value is not None else None for value in element.get("Value", ())]
    if element["vr"] == "PN":
        return [{group: text for group, text in (name or {}).items() if text} for name in element.get("Value", ())]
    return [value or None for value in element.get("Value", ())] or element.get("InlineBinary")


def has_value(element: dict[str, Any]) -> bool:
    return any(value not in (None, {}) for value in element.get("Value", ())) or "InlineBinary" in element


@pytest.mark.parametrize(("level", "conditions"), QUESTIONS, ids=str)
def test_both_doors_answer_alike(
    peer: Association, client: httpx.Client, level: str, conditions: dict[str, str]
) -> None:
    keys: dict[str, object] = {keyword: None for keyword in RETURNED[level] if not keyword.endswith("Sequence")}
    keys |= {keyword: [] for keyword in RETURNED[level] if keyword.endswith("Sequence")}
    keys |= {name: text.split("\\") if "\\" in text else text for name, text in conditions.items()}
    keys["SpecificCharacterSet"] = "ISO_IR 192"
    reply = ask(peer, identifier(level, **keys), PATIENT_ROOT)
    assert reply.status == Progress.DONE
    parameters = {name: text.replace("\\", ",") for name, text in conditions.items()}
    asked = client.get(RESOURCES[level], params=parameters | {"includefield": ",".join(RETURNED[level]), "limit": 1000})
    expected = [
        {
            tag: comparable(result[tag])
            for tag in (f"{tag_for_keyword(keyword):08X}" for keyword in RETURNED[level])
            if tag in result and has_value(result[tag])
        }
        for result in (asked.json() if asked.content else [])
    ]
    assert [elements_of(answer, level) for answer in reply.identifiers] == expected


def test_the_questions_find_something(peer: Association) -> None:
    """A comparison of nothing with nothing would prove nothing."""
    found = [
        len(ask(peer, identifier(level, SpecificCharacterSet="ISO_IR 192", **conditions), PATIENT_ROOT).identifiers)
        for level, conditions in QUESTIONS
    ]
    assert sum(map(bool, found)) > len(found) * 0.8
    assert found[0] > 50
