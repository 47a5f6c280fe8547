"""What the listed products say of MPPS and storage commitment as provider: each row of the lists, tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from tests.dimse.procedures.test_commitment import INSTANCE, PUSH, request
from tests.dimse.procedures.test_mpps import BELIEVED, STEP, create, update
from tests.requirements.instances import rows
from tests.support.archive import RunningArchive
from tests.support.bridge import CALLED, RunningBridge
from tests.support.small_files import data_set
from tests.support.steps import beginning, ending

CLASSES = {STEP, PUSH}
SERVICES = {"MPPS": STEP, "Storage Commitment Push Model": PUSH}
SYNTAXES = [row for row in rows("transfer_syntaxes.csv") if row["service"] in SERVICES and row["role"] == "SCP"]
STATUSES = [row for row in rows("status_codes.csv") if row["service"].startswith("MPPS")]
PEER = "DXLISTED"


@pytest.fixture(scope="module")
def peer(archive: RunningArchive, bridge_process: RunningBridge) -> Iterator[str]:
    """The AE title of a peer that is used to DxServer."""
    assert httpx.put(f"{archive.url}/peers/{PEER}", json={"behaviour": "dxserver"}).is_success
    time.sleep(BELIEVED)
    yield PEER
    httpx.delete(f"{archive.url}/peers/{PEER}")


@contextmanager
def calling(bridge: RunningBridge, sop_class: str, syntax: str) -> Iterator[Association]:
    association = AE(PEER).associate("127.0.0.1", bridge.port, [build_context(sop_class, syntax)], CALLED)
    assert [str(one.transfer_syntax[0]) for one in association.accepted_contexts] == [syntax]
    try:
        yield association
    finally:
        association.release()


def test_no_row_is_forgotten() -> None:
    listed = [row for row in rows("sop_classes.csv") if row["uid"] in CLASSES]
    assert {(row["uid"], row["scp"]) for row in listed} == {(uid, "yes") for uid in CLASSES}
    assert {SERVICES[row["service"]] for row in SYNTAXES} == CLASSES
    assert {(row["service"], row["code"]) for row in STATUSES} == set(PROVOKED)
    assert len(STATUSES) == 8


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("row", SYNTAXES, ids=lambda row: f"{row['service']}-{row['uid']}")
def test_the_service_is_there_in_its_syntax(bridge_process: RunningBridge, row: dict[str, str]) -> None:
    with calling(bridge_process, SERVICES[row["service"]], row["uid"]) as association:
        if row["service"] == "MPPS":
            answer = create(association, str(generate_uid()), beginning("1.2.3"))
        else:
            answer, _ = association.send_n_action(request([data_set()]), 1, PUSH, INSTANCE)
    assert answer.Status == 0


def _begun(association: Association) -> str:
    uid = str(generate_uid())
    assert create(association, uid, beginning("1.2.3")).Status == 0
    return uid


def _without(ds: Dataset, keyword: str) -> Dataset:
    del ds[keyword]
    return ds


def _ended_twice(association: Association) -> Dataset:
    uid = _begun(association)
    update(association, uid, ending([data_set()]))
    return update(association, uid, ending([data_set()]))


PROVOKED: dict[tuple[str, str], Callable[[Association], Dataset]] = {
    ("MPPS N-CREATE", "0120"): lambda one: create(one, str(generate_uid()), _without(beginning("1.2.3"), "Modality")),
    ("MPPS N-CREATE", "0111"): lambda one: create(one, _begun(one), beginning("1.2.3")),
    ("MPPS N-CREATE", "C000"): lambda one: create(
        one, str(generate_uid()), beginning("1.2.3", PerformedProcedureStepStatus="COMPLETED")
    ),
    ("MPPS N-CREATE", "0000"): lambda one: create(one, str(generate_uid()), beginning("1.2.3")),
    ("MPPS N-SET", "0120"): lambda one: update(
        one, _begun(one), _without(ending([data_set()]), "PerformedProcedureStepEndTime")
    ),
    ("MPPS N-SET", "0112"): lambda one: update(one, str(generate_uid()), ending([data_set()])),
    ("MPPS N-SET", "C000"): _ended_twice,
    ("MPPS N-SET", "0000"): lambda one: update(one, _begun(one), ending([data_set()])),
}


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("row", STATUSES, ids=lambda row: f"{row['service']}-{row['code']}")
def test_the_status_is_answered_with_its_fields(bridge_process: RunningBridge, row: dict[str, str]) -> None:
    with calling(bridge_process, STEP, SYNTAXES[0]["uid"]) as association:
        answer = PROVOKED[row["service"], row["code"]](association)
    assert f"{answer.Status:04X}" == row["code"]
    assert bool(answer.get("ErrorComment")) == ("(0000,0902)" in row["related_fields"])
