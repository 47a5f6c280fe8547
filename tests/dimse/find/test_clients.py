"""DCMTK's findscu as it comes, and C-CANCEL from both clients (PS3.4 C.4.1.2.2)."""

from __future__ import annotations

import subprocess

import httpx
import pytest
from pynetdicom import AE

from app.dicom.status import Progress
from tests.dimse.find.asking import ask, associated
from tests.dimse.find.conftest import CALLED, Bridge
from tests.dimse.find.encoding import STUDY_ROOT, identifier
from tests.requirements.instances import ROOT, encode, make, store

STUDY, PATIENT_ID = "7304", "FIND-MANY"
UID = f"{ROOT}.{STUDY}"
NUMBER = 800
HISTORY = "x" * 8000
"""Long enough that all answers together do not fit between the two sides."""


@pytest.fixture(scope="module", autouse=True)
def stored(client: httpx.Client) -> None:
    """A study whose answers at IMAGE level are many and long."""
    files = [
        encode(make(STUDY, number, PatientID=PATIENT_ID, AdditionalPatientHistory=HISTORY, InstanceNumber=number))
        for number in range(NUMBER)
    ]
    for start in range(0, NUMBER, 100):
        assert store(client, files[start : start + 100]).status_code == 200


def findscu(bridge: Bridge, *arguments: str, peer: str = "STANDARD") -> str:
    """What findscu prints."""
    command = ["findscu", "-v", "-aet", peer, "-aec", CALLED, *arguments, "127.0.0.1", str(bridge.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def keys(level: str, *more: str) -> list[str]:
    return [part for key in (f"QueryRetrieveLevel={level}", *more) for part in ("-k", key)]


@pytest.mark.parametrize("root", ["-P", "-S"])
@pytest.mark.parametrize("syntax", ["-xi", "-xe", "-xb"])
def test_findscu_at_every_level(bridge: Bridge, root: str, syntax: str) -> None:
    for level, unique in (("STUDY", "StudyInstanceUID"), ("SERIES", "SeriesInstanceUID")):
        printed = findscu(bridge, root, syntax, *keys(level, f"PatientID={PATIENT_ID}", unique))
        assert printed.count("(Pending)") == 1, printed
        assert f"[{UID}" in printed
    image = keys("IMAGE", f"StudyInstanceUID={UID}", f"SeriesInstanceUID={UID}.1", "InstanceNumber=7", "SOPInstanceUID")
    printed = findscu(bridge, root, syntax, *image)
    assert printed.count("(Pending)") == 1
    assert f"[{UID}.1.7" in printed
    if root == "-P":
        printed = findscu(
            bridge, root, syntax, *keys("PATIENT", f"PatientID={PATIENT_ID}", "NumberOfPatientRelatedInstances")
        )
        assert f"[{NUMBER}" in printed


def test_all_of_many_answers_come(bridge: Bridge) -> None:
    printed = findscu(bridge, "-S", *keys("IMAGE", f"StudyInstanceUID={UID}", "AdditionalPatientHistory"))
    assert printed.count("(Pending)") == NUMBER
    assert "Success" in printed


def test_findscu_cancels(bridge: Bridge) -> None:
    asked = keys("IMAGE", f"StudyInstanceUID={UID}", "AdditionalPatientHistory")
    printed = findscu(bridge, "-S", "--cancel", "2", *asked)
    assert "MatchingTerminatedDueToCancelRequest" in printed
    assert 2 <= printed.count("(Pending)") < NUMBER


def test_a_peer_whose_cancels_are_to_be_ignored_gets_everything(bridge: Bridge) -> None:
    asked = keys("IMAGE", f"StudyInstanceUID={UID}", "AdditionalPatientHistory")
    printed = findscu(bridge, "-S", "--cancel", "2", *asked, peer="DEAF")
    assert printed.count("(Pending)") == NUMBER
    assert "(Success)" in printed


def test_pynetdicom_cancels_and_goes_on(bridge: Bridge) -> None:
    request = identifier("IMAGE", StudyInstanceUID=UID, AdditionalPatientHistory=None)
    with associated(bridge) as association:
        statuses: list[int] = []
        for status, _ in association.send_c_find(request, STUDY_ROOT, msg_id=7):
            if not statuses:
                association.send_c_cancel(7, query_model=STUDY_ROOT)
            statuses.append(int(status.Status))
        assert statuses[-1] == Progress.CANCELLED
        assert 1 < len(statuses) < NUMBER
        again = ask(association, identifier(StudyInstanceUID=UID))
        assert (again.status, len(again.identifiers)) == (Progress.DONE, 1)


def test_a_client_that_goes_away_harms_no_other(bridge: Bridge) -> None:
    ae = AE(ae_title="STANDARD")
    ae.add_requested_context(STUDY_ROOT)
    request = identifier("IMAGE", StudyInstanceUID=UID, AdditionalPatientHistory=None)
    leaving = ae.associate("127.0.0.1", bridge.port, ae_title=CALLED)
    next(leaving.send_c_find(request, STUDY_ROOT))
    leaving.abort()
    with associated(bridge) as association:
        assert ask(association, identifier(StudyInstanceUID=UID)).status == Progress.DONE
