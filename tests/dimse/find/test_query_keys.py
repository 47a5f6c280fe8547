"""Every query key of the lists that is about C-FIND as provider matches as listed, or is returned when asked for, for
the peer whose list it is.

Elsewhere: the worklist (MWL), which is another service; C-GET, C-MOVE and what we ask as user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from app.dicom.status import Progress
from tests.dimse.find.asking import ask, associated
from tests.dimse.find.conftest import Bridge
from tests.dimse.find.encoding import PATIENT_ROOT, STUDY_ROOT, identifier
from tests.requirements.instances import ROOT, encode, make, rows, store
from tests.requirements.test_query_keys import ABSENT, KEY_OBJECT, NOT_OF_THE_STANDARD, VALUES, wildcards

ELSEWHERE = {"MWL", "Study Root GET", "Study Root FIND (SCU)", "Study Root MOVE (SCP)", "Study Root MOVE (SCU)"}
MODELS = {"Patient Root FIND": PATIENT_ROOT, "Study Root FIND": STUDY_ROOT, "Study Root FIND (SCP)": STUDY_ROOT}
STUDY, PATIENT_ID = "7301", "FIND-KEYS-1"
UID = f"{ROOT}.{STUDY}"
ABOVE: dict[str, dict[str, object]] = {
    "PATIENT": {},
    "STUDY": {"PatientID": PATIENT_ID},
    "SERIES": {"PatientID": PATIENT_ID, "StudyInstanceUID": UID},
    "IMAGE": {"PatientID": PATIENT_ID, "StudyInstanceUID": UID, "SeriesInstanceUID": UID + ".1"},
}
"""The unique keys of the levels above (PS3.4 C.4.1.3.1.1)."""


@dataclass(frozen=True)
class Key:
    """One row, one kind of matching."""

    seed: str
    model: str
    level: str
    keyword: str
    matching: str


def listed_keys() -> list[Key]:
    keys = {
        Key(row["seed"], row["model"], level.replace("ALL", "STUDY"), row["keyword"], matching)
        for row in rows("query_keys.csv")
        if row["model"] in MODELS
        for level in [row["level"].split(" ")[0]]
        for matching in row["matching"].split("|")
        if (row["keyword"], matching) not in NOT_OF_THE_STANDARD
    }
    return sorted(keys, key=lambda key: (key.seed, key.model, key.level, key.keyword, key.matching))


def test_no_row_is_forgotten() -> None:
    models = {row["model"] for row in rows("query_keys.csv")}
    assert models - set(MODELS) == ELSEWHERE
    assert len(listed_keys()) == 121


@pytest.fixture(scope="module")
def stored(client: httpx.Client) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113000", "DCM", "Of Interest"
    values = VALUES | {"PatientID": PATIENT_ID}
    ds = make(STUDY, 1, KEY_OBJECT, **values, ConceptNameCodeSequence=[code])
    assert store(client, [encode(ds)]).status_code == 200
    return ds


@pytest.fixture(scope="module")
def peers(bridge: Bridge, stored: Dataset) -> Iterator[dict[str, Association]]:
    with (
        associated(bridge, "XPACS") as xpacs,
        associated(bridge, "DXSERVER") as dx,
        associated(bridge, "ONEPACS") as one,
    ):
        yield {"xpacs": xpacs, "dxserver": dx, "onepacs": one}


@pytest.mark.parametrize("key", listed_keys(), ids=lambda key: "-".join(vars(key).values()))
def test_the_key_works_as_listed(peers: dict[str, Association], stored: Dataset, key: Key) -> None:
    def found(value: object) -> list[Dataset]:
        own = {"PatientID": PATIENT_ID} | ABOVE[key.level]
        if key.keyword == "PatientID":
            own |= {"PatientName": "Zimmer^Anna"} if key.level == "PATIENT" else {"StudyInstanceUID": UID}
        request = identifier(key.level, **(own | {key.keyword: value}))
        reply = ask(peers[key.seed], request, MODELS[key.model])
        assert reply.status == Progress.DONE, reply.final
        assert set(reply.pending) <= {Progress.PENDING}
        return reply.identifiers

    source = "Modality" if key.keyword == "ModalitiesInStudy" else key.keyword
    value = str(stored.get(source, ""))
    match key.matching:
        case "return" | "universal":
            empty: object = [] if dictionary_VR(key.keyword) == "SQ" else None
            (answer,) = found(empty)
            # The set of an answer is named when there is something to say with it.
            assert key.keyword in answer if key.keyword == "SpecificCharacterSet" else answer[key.keyword].value
        case "single" | "unique":
            assert len(found(value)) == 1
            assert found(ABSENT.get(key.keyword, "1.1")) == []
        case "wildcard":
            for text in wildcards(value):
                assert len(found(text)) == 1, text
            assert found("NO*") == []
        case "range":
            assert len(found("20011201-20011231")) == 1
            assert len(found("20011203-")) == 1
            assert found("-20011202") == []
        case "multiple-value OR":
            assert len(found(["US", "MR"])) == 1
            assert found(["US", "CT"]) == []
        case _:
            pytest.fail(f"unknown matching: {key.matching}")
