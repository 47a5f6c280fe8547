"""`fileroom serve` with its own bridge, a web user's client, and the archives that know us as a destination."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from tests.requirements.instances import ROOT, encode, make
from tests.support.archive import RunningArchive, free_port
from tests.support.bridge import run_dcmtk, start_both, start_bridge
from tests.support.dcmqrscp import QueryRetrieve, start_dcmqrscp
from tests.support.orthanc import Orthanc, orthanc

__all__ = ["orthanc"]


@dataclass
class Site:
    """The archive, its bridge's DIMSE port, and a user of it."""

    archive: RunningArchive
    dimse: int
    user: httpx.Client

    def register(self, aet: str, port: int | None, **members: object) -> None:
        """Registers a peer of this machine; `port` None: without an address."""
        where = {"host": "127.0.0.1", "port": port} if port is not None else {}
        assert self.user.put(f"/peers/{aet}", json=where | members).status_code in (201, 204)

    def events(self, aet: str, **wish: object) -> list[tuple[str, dict[str, Any]]]:
        """The events of a retrieve."""
        with self.user.stream("POST", f"/peers/{aet}/retrieve", json=wish) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"] == "text/event-stream"
            return read_events("".join(answer.iter_text()))

    def instances(self, study: str) -> set[str]:
        """SOP Instance UIDs that the archive has of a study."""
        answer = self.user.get(f"/dicom-web/studies/{study}/instances")
        return {one["00080018"]["Value"][0] for one in answer.json()} if answer.status_code == 200 else set()


def read_events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and data of Server-Sent Events; comments are passed over."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for the tests of this folder: use new AE titles and UIDs."""
    archive, port = start_both(
        tmp_path_factory.mktemp("remote") / "data",
        FILEROOM_DIMSE_REMOTE_SECONDS="2",
        FILEROOM_DIMSE_ASSOCIATE_SECONDS="2",
    )
    with httpx.Client(base_url=archive.url, timeout=60) as user:
        yield Site(archive, port, user)
    assert archive.stop() == 0


@pytest.fixture(scope="session")
def dcmqrscp(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryRetrieve]:
    """DCMTK's archive, registered with us and we with it."""
    with start_dcmqrscp(tmp_path_factory.mktemp("dcmqrscp"), {"FILEROOM": site.dimse}) as running:
        site.register(running.aet, running.port)
        yield running


@pytest.fixture(scope="session")
def other(site: Site, orthanc: Orthanc) -> Orthanc:
    """Orthanc, registered with us and we with it."""
    orthanc.know("remote", "FILEROOM", site.dimse)
    site.register(orthanc.aet, orthanc.dimse)
    return orthanc


def studies(prefix: str, count: int, **values: object) -> list[Dataset]:
    """`count` studies of two instances each."""
    found = []
    for number in range(count):
        for instance in (1, 2):
            ds = make(f"{prefix}.{number}", instance, **values)
            ds.InstanceNumber, ds.StudyDescription = instance, "Knee"
            found.append(ds)
    return found


def send(port: int, aet: str, folder: Path, data_sets: Sequence[Dataset]) -> None:
    """Stores data sets in another archive by DCMTK's storescu."""
    for number, ds in enumerate(data_sets):
        (folder / f"{number}.dcm").write_bytes(encode(ds))
    status, said = run_dcmtk("storescu", "-aec", aet, "127.0.0.1", port, "+sd", folder)
    assert status == 0, said


def uid(study: str) -> str:
    """The Study Instance UID that `studies` gives."""
    return f"{ROOT}.{study}"


SECRET = "a secret of this test run"


@pytest.fixture(scope="session")
def apart(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A `fileroom bridge` before the same archive, which has a door for remote peers: its address."""
    door = free_port()
    bridge = start_bridge(
        tmp_path_factory.mktemp("apart"),
        site.archive.root,
        FILEROOM_DIMSE_REMOTE=f"127.0.0.1:{door}",
        FILEROOM_REMOTE_TOKEN=SECRET,
        FILEROOM_DIMSE_REMOTE_SECONDS="3",
    )
    yield f"http://127.0.0.1:{door}"
    assert bridge.stop() == 0
