"""Performed procedure steps by DIMSE, with pynetdicom as the modality: every status, in every transfer syntax, and all
attributes there and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.support.archive import RunningArchive
from tests.support.bridge import CALLED, RunningBridge
from tests.support.small_files import data_set
from tests.support.steps import beginning, ending

STEP, RETRIEVE = "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.3.1.2.3.4"
SUCCESS = 0
BELIEVED = 1.1
"""Seconds after which the bridge has heard of a new peer."""


@contextmanager
def calling(bridge: RunningBridge, syntax: str = IMPLICIT_LE, aet: str = "MODALITY") -> Iterator[Association]:
    contexts = [build_context(STEP, syntax), build_context(RETRIEVE, syntax)]
    association = AE(aet).associate("127.0.0.1", bridge.port, contexts, CALLED)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def create(association: Association, uid: str, ds: Dataset) -> Dataset:
    """The command set that answers an N-CREATE."""
    status, _ = association.send_n_create(ds, STEP, uid)
    return status


def update(association: Association, uid: str, ds: Dataset) -> Dataset:
    """The command set that answers an N-SET."""
    status, _ = association.send_n_set(ds, STEP, uid)
    return status


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_a_day_of_a_step(bridge_process: RunningBridge, syntax: str) -> None:
    uid = str(generate_uid())
    begun = beginning(str(generate_uid()), SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Änne")
    begun.add_new(0x00091001, "LO", "kept too")
    begun.StudyID = "7"
    with calling(bridge_process, syntax) as association:
        assert create(association, uid, begun).Status == SUCCESS
        change = Dataset()
        change.PerformedProcedureStepDescription = "Head"
        assert update(association, uid, change).Status == SUCCESS
        assert update(association, uid, ending([data_set()])).Status == SUCCESS
        status, found = association.send_n_get([], RETRIEVE, uid)
        assert (status.Status, status.RequestedSOPInstanceUID if "RequestedSOPInstanceUID" in status else uid) == (
            0,
            uid,
        )
        assert found is not None
        assert found.PatientName == "Müller^Änne"
        assert found.PerformedProcedureStepDescription == "Head"
        assert found.PerformedProcedureStepStatus == "COMPLETED"
        assert found.ScheduledStepAttributesSequence[0].AccessionNumber == "ACC1"
        assert (0x0009, 0x1001) in found
        assert len(found.PerformedSeriesSequence[0].ReferencedImageSequence) == 1


def test_chosen_attributes_only(bridge_process: RunningBridge) -> None:
    uid = str(generate_uid())
    with calling(bridge_process) as association:
        assert create(association, uid, beginning("1.2.3")).Status == SUCCESS
        status, found = association.send_n_get([Tag(0x00080060), Tag(0x00400253)], RETRIEVE, uid)
        assert (status.Status, [] if found is None else [one.keyword for one in found]) == (
            SUCCESS,
            ["Modality", "PerformedProcedureStepID"],
        )
        status, found = association.send_n_get([Tag(0x00080060), Tag(0x00081030)], RETRIEVE, uid)
        assert (status.Status, [] if found is None else [one.keyword for one in found]) == (0x0001, ["Modality"])
        status, _ = association.send_n_get([], RETRIEVE, str(generate_uid()))
        assert (status.Status, status.ErrorComment != "") == (0x0112, True)


def test_an_instance_without_a_uid_gets_one(bridge_process: RunningBridge, archive: RunningArchive) -> None:
    study = str(generate_uid())
    with calling(bridge_process) as association:
        status, _ = association.send_n_create(beginning(study), STEP, None)
    assert status.Status == SUCCESS
    steps = httpx.get(f"{archive.root}/modality-performed-procedure-steps", params={"StudyInstanceUID": study}).json()
    assert [step["status"] for step in steps["steps"]] == ["IN PROGRESS"]
    assert steps["steps"][0]["uid"].startswith("2.25.")


def refusals(association: Association) -> dict[str, Dataset]:
    """Each way in which a request can be wrong, and what was answered."""
    uid, done = str(generate_uid()), ending([data_set()])
    begun = beginning("1.2.3")
    headless = beginning("1.2.3")
    del headless.PerformedStationAETitle
    found = {
        "set before create": update(association, uid, done),
        "wrong status": create(association, uid, beginning("1.2.3", PerformedProcedureStepStatus="COMPLETED")),
        "missing": create(association, uid, headless),
    }
    assert create(association, uid, begun).Status == SUCCESS
    found["twice"] = create(association, uid, begun)
    endless = ending([data_set()])
    del endless.PerformedProcedureStepEndDate
    found["missing at end"] = update(association, uid, endless)
    assert update(association, uid, done).Status == SUCCESS
    found["after the end"] = update(association, uid, done)
    return found


def test_every_refusal_has_its_status_and_says_why(bridge_process: RunningBridge) -> None:
    with calling(bridge_process) as association:
        found = refusals(association)
    assert {name: answer.Status for name, answer in found.items()} == {
        "set before create": 0x0112,
        "wrong status": 0x0106,
        "missing": 0x0120,
        "twice": 0x0111,
        "missing at end": 0x0120,
        "after the end": 0x0110,
    }
    assert all(answer.ErrorComment for answer in found.values())
    assert found["after the end"].ErrorID == 0xA710
    assert found["after the end"].ErrorComment == "Performed Procedure Step Object may no longer be updated"


def test_dxserver_peers_know_fewer_statuses(bridge_process: RunningBridge, archive: RunningArchive) -> None:
    assert httpx.put(f"{archive.url}/peers/DXSTEPS", json={"behaviour": "dxserver"}).is_success
    time.sleep(BELIEVED)
    with calling(bridge_process, aet="DXSTEPS") as association:
        found = {name: answer.Status for name, answer in refusals(association).items()}
    assert found == {
        "set before create": 0x0112,
        "wrong status": 0xC000,
        "missing": 0x0120,
        "twice": 0x0111,
        "missing at end": 0x0120,
        "after the end": 0xC000,
    }
    httpx.delete(f"{archive.url}/peers/DXSTEPS")


def test_who_may_not_gets_no_context(bridge_process: RunningBridge, archive: RunningArchive) -> None:
    assert httpx.put(f"{archive.url}/peers/NOSTEPS", json={"may": ["echo"]}).is_success
    time.sleep(BELIEVED)
    association = AE("NOSTEPS").associate("127.0.0.1", bridge_process.port, [build_context(STEP)], CALLED)
    assert not association.accepted_contexts
    httpx.delete(f"{archive.url}/peers/NOSTEPS")


@pytest.mark.parametrize("wrong", ["set on the retrieve class", "get on the step class"])
def test_operations_of_another_class_are_not_recognized(bridge_process: RunningBridge, wrong: str) -> None:
    with calling(bridge_process) as association:
        answer: Any
        if wrong.startswith("set"):
            association.network_timeout = 5
            answer, _ = association.send_n_set(ending([]), STEP, "1.2.3", meta_uid=RETRIEVE)
        else:
            answer, _ = association.send_n_get([], RETRIEVE, "1.2.3", meta_uid=STEP)
    assert answer.Status == 0x0211
