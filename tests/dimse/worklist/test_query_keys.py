"""Every worklist key of the lists matches as listed, and comes back with its return type, for the peer whose list it
is."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from app.dicom.status import Progress
from tests.dimse.worklist.conftest import ask, associated, keys
from tests.requirements.instances import rows
from tests.requirements.test_query_keys import wildcards
from tests.support.bridge import RunningBridge
from tests.support.worklist import RESOURCE, STEP, element, item

ROWS = [row for row in rows("query_keys.csv") if row["model"] == "MWL"]
PATIENT_ID = "WLKEYS-1"
STEP_VALUES: dict[str, str] = {
    "Modality": "MR",
    "ScheduledStationAETitle": "MR1",
    "ScheduledProcedureStepStartDate": "20011203",
    "ScheduledProcedureStepStartTime": "101112",
    "ScheduledProcedureStepLocation": "ROOM 1",
    "ScheduledPerformingPhysicianName": "Doer^Dora",
    "ScheduledProcedureStepDescription": "KNEE LEFT",
    "ScheduledStationName": "MAGNET-ONE",
    "ScheduledProcedureStepID": "SPS-1",
}
VALUES: dict[str, str | int | float] = {
    "PatientName": "Zimmer^Anna",
    "PatientID": PATIENT_ID,
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "AccessionNumber": "ACC-77-X",
    "ReferringPhysicianName": "Ordner^Otto",
    "RequestedProcedureID": "RP-5",
    "RequestedProcedureDescription": "KNEE MRI",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.7332.77",
}
CODE = dict((element("CodeValue", "KNEE"), element("CodingSchemeDesignator", "99X"), element("CodeMeaning", "Knee")))
ABSENT = {"ScheduledProcedureStepStartDate": "19990101", "ScheduledProcedureStepStartTime": "2359"}


@pytest.fixture(scope="module")
def peers(bridge: RunningBridge, client: httpx.Client) -> Iterator[dict[str, Association]]:
    made = item(**VALUES, **{f"step_{name}": value for name, value in STEP_VALUES.items()})
    made["00321064"] = made[STEP]["Value"][0]["00400008"] = {"vr": "SQ", "Value": [CODE]}
    assert client.put(f"{RESOURCE}/keys", json=made).status_code == 201
    with associated(bridge.port, "XPACS") as xpacs, associated(bridge.port, "DXSERVER") as dx:
        yield {"xpacs": xpacs, "dxserver": dx}
    client.delete(f"{RESOURCE}/keys")


def found(peer: Association, level: str, keyword: str, value: object) -> list[Dataset]:
    """Answers about the item of this test."""
    own: dict[str, object] = {"PatientID": PATIENT_ID}
    step: dict[str, object] = {}
    if keyword == "PatientID":
        own = {"AccessionNumber": "ACC-77-X"}
    inner, _, sequence = level.partition(">")
    target = step if inner == "SPS" else own
    if sequence:
        nested = Dataset()
        setattr(nested, keyword, value)
        target[sequence] = [nested]
    elif keyword == "ScheduledProcedureStepSequence":
        own[keyword] = []
        return _answers(peer, keys(**own))
    else:
        target[keyword] = value
    return _answers(peer, keys(step, **own))


def _answers(peer: Association, request: Dataset) -> list[Dataset]:
    reply = ask(peer, request)
    assert reply.status == Progress.DONE, reply.final
    assert set(reply.pending) <= {Progress.PENDING}
    return reply.identifiers


def inside(answer: Dataset, level: str) -> Dataset:
    """Where the key of this level stands in an answer."""
    for part in level.replace("ROOT", "").split(">"):
        sequence = {"SPS": "ScheduledProcedureStepSequence"}.get(part, part)
        if sequence and answer.get(sequence):
            answer = answer[sequence][0]
    return answer


def test_the_list_is_whole() -> None:
    assert len(ROWS) == 53
    assert {row["seed"] for row in ROWS} == {"xpacs", "dxserver"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join((row["seed"], row["level"], row["keyword"])))
def test_the_key_works_as_listed(peers: dict[str, Association], row: dict[str, str]) -> None:
    peer, level, keyword = peers[row["seed"]], row["level"], row["keyword"]
    matching, _, returned = row["matching"].partition("; return type ")
    if returned:
        _comes_back(peer, level, keyword, returned)
    for kind in matching.split("|"):
        _matches(peer, level, keyword, kind)


def _comes_back(peer: Association, level: str, keyword: str, kind: str) -> None:
    empty: object = [] if dictionary_VR(keyword) == "SQ" else None
    (answer,) = found(peer, level, keyword, empty)
    holder = inside(answer, level)
    if level.endswith("ReferencedStudySequence"):
        assert answer.ReferencedStudySequence == []  # its keys are there when it has an item
        return
    assert keyword in holder
    if kind == "1":
        assert holder[keyword].value


def _matches(peer: Association, level: str, keyword: str, kind: str) -> None:
    value = str((STEP_VALUES if level == "SPS" else VALUES).get(keyword, ""))
    match kind:
        case "return" | "sequence":
            assert len(found(peer, level, keyword, [] if dictionary_VR(keyword) == "SQ" else None)) == 1
        case "single":
            assert len(found(peer, level, keyword, value)) == 1
            assert found(peer, level, keyword, ABSENT.get(keyword, "1.1")) == []
        case "wildcard":
            for text in wildcards(value):
                assert len(found(peer, level, keyword, text)) == 1, text
            assert found(peer, level, keyword, "NO*") == []
        case "range" if keyword.endswith("Date"):
            assert len(found(peer, level, keyword, "20011201-20011231")) == 1
            assert len(found(peer, level, keyword, "20011203-")) == 1
            assert found(peer, level, keyword, "-20011202") == []
        case "range":
            own = {"ScheduledProcedureStepStartDate": "20011203"}
            for times, count in (("1000-1100", 1), ("101112-", 1), ("-101111", 0), ("-1012", 1)):
                assert len(_answers(peer, keys({keyword: times} | own, PatientID=PATIENT_ID))) == count, times
        case _:
            pytest.fail(f"unknown matching: {kind}")
