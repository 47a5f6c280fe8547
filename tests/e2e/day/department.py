"""A department: the archive with its bridge and HL7 feed, a second archive, Orthanc, and DCMTK's dcmqrscp with the
past. Each is a process of its own, and ended by its id."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.day.changes import receiving
from tests.e2e.day.modality import Modality
from tests.e2e.day.orders import DAY
from tests.support.archive import ROOT, RunningArchive, free_port, start_archive
from tests.support.bridge import start_both
from tests.support.dcmqrscp import QueryRetrieve, start_dcmqrscp
from tests.support.orthanc import Orthanc, start_orthanc
from tests.support.receiver import SECRET, Receiver

STATION = "MR1"
IMAGES_OF_TODAY = {"ModalitiesInStudy": "MR", "StudyDate": DAY}
_QUICK = {
    "FILEROOM_QUIET_SECONDS": "1",
    "FILEROOM_TRANSFER_PAUSE_SECONDS": "0.2",
    "FILEROOM_TRANSFER_LEASE_SECONDS": "2",
    "FILEROOM_WEBHOOK_PAUSE_SECONDS": "0.2",
    "FILEROOM_COMMITMENT_SECONDS": "0.5",
    "FILEROOM_COMMITMENT_TIMEOUT_SECONDS": "120",
    "FILEROOM_WORKLIST_IMAGES_MINUTES": "-1",  # an item goes because of its MPPS
}
_PATIENCE = 60.0


@dataclass
class Department:
    """What runs. `dimse` and `hl7` are ports of `archive`."""

    archive: RunningArchive
    dimse: int
    hl7: int
    second: RunningArchive
    orthanc: Orthanc
    past: QueryRetrieve
    modality: Modality
    receiver: Receiver
    user: httpx.Client

    def get(self, path: str, **query: str | int) -> Any:
        """What a GET of the archive answers, asked again while it is away."""
        return get(self.user, path, **query)

    def put(self, path: str, **members: object) -> None:
        """Registers something, again while the archive is away."""
        said = patient(lambda: self.user.put(path, json=members))
        assert said.status_code in (201, 204), f"{path}: {said.status_code} {said.text}"

    def until(self, path: str, is_so: Callable[[Any], bool], seconds: float = _PATIENCE, **query: str | int) -> Any:
        """What a GET answers as soon as it is as wanted."""
        deadline = time.monotonic() + seconds
        while not is_so(found := self.get(path, **query)):
            assert time.monotonic() < deadline, f"{path}: {found}\n{self.archive.log[-4000:]}"
            time.sleep(0.05)
        return found

    def worklist_states(self, patient: str = "*") -> dict[str, str]:
        """The state of the worklist item of each patient, `hidden` behind that of one which nobody sees any more."""
        command = [sys.executable, "-m", "app.cli", "worklist", "list", "--key", f"PatientID={patient}"]
        done = subprocess.run(command, cwd=ROOT, env=self.archive.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        states = ("scheduled", "in progress", "completed", "discontinued", "cancelled")
        found = {}
        for line in done.stdout.splitlines():
            name = line.split()[4]
            assert name not in found, done.stdout
            state = next(state for state in states if f"  {state}" in line)
            found[name] = f"{state} hidden" if "  hidden " in line else state
        return found

    def steps(self, study: str) -> dict[str, Any]:
        """What is known of the performed procedure steps of a study."""
        found: dict[str, Any] = self.get("/dicom-web/modality-performed-procedure-steps", StudyInstanceUID=study)
        return found

    def told_second(self, step: str) -> str:
        """The status of a performed procedure step at the second archive; "" when it has not heard of it."""
        answer = httpx.get(f"{self.second.root}/modality-performed-procedure-steps/{step}", timeout=60)
        if answer.status_code == 404:
            return ""
        status: str = answer.raise_for_status().json()[0]["00400252"]["Value"][0]
        return status

    def transfers(self, study: str) -> dict[str, dict[str, Any]]:
        """The newest transfer of a study's instances to each destination."""
        found = {}
        for one in reversed(self.jobs("send")):
            first = self.get(f"/transfers/{one['id']}/instances", limit=1)["instances"]
            if first and first[0]["study"] == study:
                found[str(one.get("peer") or one.get("server"))] = one
        return found

    def jobs(self, kind: str) -> list[dict[str, Any]]:
        """The jobs of the queue of one kind, the newest first."""
        return [one for one in self.get("/transfers", limit=1000)["transfers"] if one["kind"] == kind]

    def changes(self, after: int = 0) -> list[dict[str, Any]]:
        """The change feed behind a cursor."""
        found: list[dict[str, Any]] = []
        while page := self.get("/changes", after=after, limit=1000)["changes"]:
            found += page
            after = page[-1]["id"]
        return found

    def told_of(self, study: str) -> list[dict[str, Any]]:
        """The change feed about one study."""
        return [one for one in self.changes() if one["study"] == study]


def get(user: httpx.Client, path: str, **query: str | int) -> Any:
    """What a GET answers, None for nothing; asked again while nobody answers, or says that it cannot now."""
    said = patient(lambda: user.get(path, params=query))
    assert said.status_code in (200, 204), f"{path}: {said.status_code} {said.text}"
    return said.json() if said.content else None


def patient(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer to a request that may be repeated: one that is not "later"."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            answer = ask()
        except httpx.TransportError as error:
            said = repr(error)
        else:
            if answer.status_code != 503:
                return answer
            said = answer.text
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


@contextmanager
def at_work(folder: Path, **environment: str) -> Iterator[Department]:
    """A department with its routes to both destinations; keywords are settings of its archive."""
    with ExitStack() as stack:
        hl7 = free_port()
        second = start_archive(folder / "second", ready=False, FILEROOM_WORKERS="1", FILEROOM_COMMITMENT_SECONDS="0.5")
        stack.callback(_end, second)
        archive, dimse = start_both(folder / "archive", **_QUICK | {"FILEROOM_HL7_PORT": str(hl7)} | environment)
        stack.callback(_end, archive)
        orthanc = stack.enter_context(start_orthanc(folder / "orthanc"))
        past = stack.enter_context(start_dcmqrscp(folder / "dcmqrscp", {"FILEROOM": dimse}))
        modality = Modality(STATION, dimse, folder / "modality")
        stack.callback(modality.close)
        receiver = stack.enter_context(receiving())
        user = stack.enter_context(httpx.Client(base_url=archive.url, timeout=60))
        second.wait_ready()
        department = Department(archive, dimse, hl7, second, orthanc, past, modality, receiver, user)
        _introduce(department)
        yield department


def _end(archive: RunningArchive) -> None:
    assert archive.stop() == 0, archive.log[-4000:]


def _introduce(department: Department) -> None:
    """Tells each who the others are, and what goes where."""
    for aet, port in (
        (department.orthanc.aet, department.orthanc.dimse),
        (department.past.aet, department.past.port),
        (STATION, department.modality.port),
    ):
        department.put(f"/peers/{aet}", host="127.0.0.1", port=port)
    department.put("/destinations/second", url=department.second.root)
    department.put("/webhooks/ris", url=department.receiver.url, secret=SECRET, after=0)
    department.orthanc.know("fileroom", "FILEROOM", department.dimse)
    rule = {"event": "study", "seconds": 1, "where": IMAGES_OF_TODAY, "echo": True, "commit": True}
    department.put("/routes/to-orthanc", peer=department.orthanc.aet, **rule)
    department.put("/routes/to-second", server="second", **rule)
    department.put("/routes/steps", event="mpps-message", server="second")
