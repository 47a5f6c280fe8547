"""Every query key of the lists that a search can carry matches as listed, or is returned when it is asked for.

Not here: the worklist (`tests/dimse/worklist`), and Retrieve by C-MOVE and C-GET, which the bridge expands by the same
searches."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest
from pydicom.dataset import Dataset

from tests.requirements.instances import ROOT, encode, make, rows, store

STUDY = "4"
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
VALUES: dict[str, str | int] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Zimmer^Anna",
    "PatientID": "KEYS-0815",
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "StudyDate": "20011203",
    "StudyTime": "101112",
    "AccessionNumber": "ACC-77-X",
    "StudyID": "ST-9",
    "StudyDescription": "KNEE LEFT",
    "ReferringPhysicianName": "Ordner^Otto",
    "RequestedProcedureID": "RP-5",
    "RequestedProcedureDescription": "KNEE MRI",
    "Modality": "MR",
    "SeriesDescription": "T2 SAGITTAL",
    "ProtocolName": "KNEE PROTOCOL",
    "BodyPartExamined": "KNEE",
    "SeriesNumber": 7,
    "InstanceNumber": 3,
    "NumberOfFrames": 1,
    "ContentLabel": "LABEL",
    "ContentDescription": "A DESCRIPTION",
    "PresentationCreationDate": "20011204",
    "PresentationCreationTime": "121314",
    "ContentCreatorName": "Maker^Max",
    "ContentDate": "20011205",
    "ContentTime": "131415",
    "ObservationDateTime": "20011205131415",
}
"""What the stored instance holds."""
NOT_OF_THE_STANDARD = {("StudyDate", "wildcard"): "dates have no wildcards (PS3.4 C.2.2.2.4); the range covers them"}
ABSENT = {"PatientID": "NOBODY", "StudyDate": "19990101", "SeriesNumber": "1", "InstanceNumber": "1"}
RESOURCES = {"PATIENT": "/patients", "STUDY": "/studies", "SERIES": "/series", "IMAGE": "/instances", "ALL": "/studies"}


@dataclass(frozen=True)
class Key:
    """One requirement, whoever asked for it."""

    level: str
    keyword: str
    tag: str
    matching: str


def listed_keys() -> list[Key]:
    keys = {
        Key(level, row["keyword"], row["tag"].strip("()").replace(",", "").upper(), matching)
        for row in rows("query_keys.csv")
        if "FIND" in row["model"] or "GET" in row["model"]
        for level in [row["level"].split(" ")[0]]
        for matching in row["matching"].split("|")
        if (row["keyword"], matching) not in NOT_OF_THE_STANDARD
    }
    return sorted(keys, key=lambda key: (key.level, key.keyword, key.matching))


@pytest.fixture(scope="module")
def study(client: httpx.Client) -> Dataset:
    """A study that holds every key."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113000", "DCM", "Of Interest"
    ds = make(STUDY, 1, KEY_OBJECT, **VALUES, ConceptNameCodeSequence=[code])
    assert store(client, [encode(ds)]).status_code == 200
    return ds


def value_of(key: Key, ds: Dataset) -> str:
    return str(ds[{"ModalitiesInStudy": "Modality"}.get(key.keyword, key.keyword)].value)


def found(client: httpx.Client, level: str, **parameters: str) -> list[dict[str, dict[str, object]]]:
    """The results of this test's study."""
    own = {"StudyInstanceUID": f"{ROOT}.{STUDY}"} if "PatientID" in parameters else {"PatientID": "KEYS-0815"}
    query = {"includefield": "all", **own, **parameters}
    answer = client.get(RESOURCES[level], params=query)
    assert answer.status_code in (200, 204), answer.text
    return answer.json() if answer.content else []


def wildcards(value: str) -> list[str]:
    return [f"{value[:2]}*", f"*{value[2:]}", f"?{value[1:]}", value]


@pytest.mark.parametrize("key", listed_keys(), ids=lambda key: f"{key.level}-{key.keyword}-{key.matching}")
def test_the_key_matches_as_listed(client: httpx.Client, study: Dataset, key: Key) -> None:
    match key.matching:
        case "return" | "universal":
            results = found(client, key.level, **({key.keyword: ""} if key.matching == "universal" else {}))
            assert len(results) == 1
            assert key.tag in results[0]
        case "single" | "unique":
            assert len(found(client, key.level, **{key.keyword: value_of(key, study)})) == 1
            assert found(client, key.level, **{key.keyword: ABSENT.get(key.keyword, "1.1")}) == []
        case "wildcard":
            for text in wildcards(value_of(key, study)):
                assert len(found(client, key.level, **{key.keyword: text})) == 1, text
            assert found(client, key.level, **{key.keyword: "NO*"}) == []
        case "range":
            assert len(found(client, key.level, **{key.keyword: "20011201-20011231"})) == 1
            assert len(found(client, key.level, **{key.keyword: "20011203-"})) == 1
            assert found(client, key.level, **{key.keyword: "-20011202"}) == []
        case "multiple-value OR":
            assert len(found(client, key.level, **{key.keyword: "US\\MR"})) == 1
            assert found(client, key.level, **{key.keyword: "US\\CT"}) == []
        case _:
            pytest.fail(f"unknown matching: {key.matching}")


def test_the_list_is_whole() -> None:
    assert len({(key.level, key.keyword) for key in listed_keys()}) == 47
