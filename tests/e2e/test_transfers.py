"""Transfers by real processes: to Orthanc by DIMSE and to a second archive by STOW, while everything is killed."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.support.archive import RunningArchive, free_port, start_archive
from tests.support.bridge import RunningBridge, start_bridge
from tests.support.orthanc import Orthanc, orthanc
from tests.support.samples import Sample, new_token, new_uid

__all__ = ["orthanc"]

QUEUED = 1000
"""Transfers that wait when the archive is killed; a thousand take a minute."""
QUICK: Any = {
    "FILEROOM_TRANSFER_PAUSE_SECONDS": "0.2",
    "FILEROOM_TRANSFER_LEASE_SECONDS": "2",
    "FILEROOM_TRANSFERS_EACH": "4",
}


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """An archive of its own, which is killed often."""
    running = start_archive(tmp_path_factory.mktemp("sender") / "data", **QUICK)
    yield running
    running.wait_ready()
    assert running.stop() == 0


@pytest.fixture(scope="module")
def bridge(sender: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """A bridge before it."""
    running = start_bridge(tmp_path_factory.mktemp("bridge"), sender.root)
    yield running
    assert running.stop() == 0


def store(archive: RunningArchive, count: int) -> list[Sample]:
    """A new study of `count` instances in the archive."""
    study, series = new_uid(), new_uid()
    samples = [Sample(study, series, new_uid(), new_token()) for _ in range(count)]
    parts = [b"--b\r\nContent-Type: application/dicom\r\n\r\n" + one.encode() + b"\r\n" for one in samples]
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    answer = httpx.post(f"{archive.root}/studies", content=b"".join((*parts, b"--b--\r\n")), headers=headers)
    assert answer.status_code == 200, answer.text
    return samples


def register(archive: RunningArchive, orthanc: Orthanc, second: RunningArchive) -> None:
    """Both destinations."""
    peer = {"host": "127.0.0.1", "port": orthanc.dimse}
    assert httpx.put(f"{archive.url}/peers/{orthanc.aet}", json=peer).status_code in (201, 204)
    register_second(archive, second.root)


def register_second(archive: RunningArchive, url: str) -> None:
    """The DICOMweb server alone."""
    assert httpx.put(f"{archive.url}/destinations/second", json={"url": url}).status_code in (201, 204)


def transfer(archive: RunningArchive, **wanted: Any) -> int:
    """Queues a transfer; its id."""
    answer = httpx.post(f"{archive.url}/transfers", json=wanted)
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


def wait(archive: RunningArchive, number: int, seconds: float = 60) -> dict[str, Any]:
    """The transfer when it has ended."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            body: dict[str, Any] = httpx.get(f"{archive.url}/transfers/{number}").json()
        except (httpx.HTTPError, ValueError):
            body = {"state": "unknown"}
        if body["state"] in ("succeeded", "failed", "cancelled"):
            return body
        assert time.monotonic() < deadline, f"{body}\n{archive.log}"
        time.sleep(0.05)


def assert_at_orthanc(orthanc: Orthanc, samples: list[Sample]) -> None:
    """Each instance is there once, with its content."""
    for one in samples:
        found = orthanc.request("POST", "/tools/lookup", one.sop.encode())
        assert isinstance(found, list)
        (entry,) = (row for row in found if row["Type"] == "Instance")
        tags = orthanc.request("GET", f"/instances/{entry['ID']}/simplified-tags")
        assert isinstance(tags, dict)
        assert tags["ImageComments"] == one.token


def assert_at_archive(archive: RunningArchive, samples: list[Sample]) -> None:
    """Each instance is there, byte for byte, and none stands in conflict with another content."""
    for one in samples:
        found = httpx.get(archive.root + one.path, headers={"Accept": "application/dicom; transfer-syntax=*"})
        assert found.content == one.encode()


def test_a_study_goes_to_orthanc_by_dimse_and_to_a_second_archive(
    sender: RunningArchive, bridge: RunningBridge, orthanc: Orthanc, archive: RunningArchive
) -> None:
    register(sender, orthanc, archive)
    samples = store(sender, 20)
    numbers = [transfer(sender, study=samples[0].study, echo=True, **to) for to in _both(orthanc)]
    for number in numbers:
        ended = wait(sender, number)
        assert (ended["state"], ended["instances"]["arrived"]) == ("succeeded", 20)
        rows = httpx.get(f"{sender.url}/transfers/{number}/instances").json()["instances"]
        assert {row["state"] for row in rows} == {"arrived"}
    assert_at_orthanc(orthanc, samples)
    assert_at_archive(archive, samples)


def _both(orthanc: Orthanc) -> list[dict[str, str]]:
    return [{"peer": orthanc.aet}, {"server": "second"}]


def test_a_peer_that_is_away_is_waited_for(
    sender: RunningArchive, bridge: RunningBridge, orthanc: Orthanc, archive: RunningArchive
) -> None:
    register(sender, orthanc, archive)
    httpx.put(f"{sender.url}/peers/AWAY", json={"host": "127.0.0.1", "port": 1})
    samples = store(sender, 2)
    number = transfer(sender, study=samples[0].study, peer="AWAY")
    other = transfer(sender, study=samples[0].study, peer=orthanc.aet)
    assert wait(sender, other)["state"] == "succeeded"
    deadline = time.monotonic() + 20
    while not httpx.get(f"{sender.url}/transfers/{number}").json()["reason"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    httpx.put(f"{sender.url}/peers/AWAY", json={"host": "127.0.0.1", "port": orthanc.dimse})
    ended = wait(sender, number)
    assert (ended["state"], ended["tries"]) == ("succeeded", 1)


def _child(archive: RunningArchive, name: str) -> psutil.Process | None:
    try:
        found = psutil.Process(archive.pid).children()
        return next((child for child in found if child.name() == name), None)
    except psutil.NoSuchProcess:
        return None


def _kill_jobs(archive: RunningArchive, bridge: RunningBridge) -> None:
    process = _child(archive, "fileroom-jobs")
    if process is not None:
        process.send_signal(signal.SIGKILL)


def _kill_bridge(archive: RunningArchive, bridge: RunningBridge) -> None:
    bridge.kill()
    bridge.start()


def _kill_archive(archive: RunningArchive, bridge: RunningBridge) -> None:
    archive.kill()
    archive.start()


def _kill_postmaster(archive: RunningArchive, bridge: RunningBridge) -> None:
    psutil.Process(archive.postmaster()).send_signal(signal.SIGKILL)


Kill = Callable[[RunningArchive, RunningBridge], None]
_KILLS: tuple[Kill, ...] = (_kill_jobs, _kill_bridge, _kill_archive, _kill_postmaster)


def test_G23_nothing_queued_is_lost_whatever_is_killed(
    sender: RunningArchive, bridge: RunningBridge, orthanc: Orthanc, archive: RunningArchive
) -> None:
    register(sender, orthanc, archive)
    studies = [store(sender, 12) for _ in range(4)]
    numbers = [transfer(sender, study=study[0].study, **to) for study in studies for to in _both(orthanc)]
    choice = random.Random(5)
    for kill in _KILLS:
        time.sleep(choice.uniform(0.05, 0.4))
        kill(sender, bridge)
        sender.wait_ready()
    for number in numbers:
        ended = wait(sender, number)
        assert (ended["state"], ended["instances"]["arrived"]) == ("succeeded", 12), ended
    for study in studies:
        assert_at_orthanc(orthanc, study)
        assert_at_archive(archive, study)


def test_a_thousand_queued_transfers_survive_a_restart(sender: RunningArchive, archive: RunningArchive) -> None:
    register_second(sender, f"http://127.0.0.1:{free_port()}/dicom-web")
    samples = store(sender, 4)
    with httpx.Client() as client:
        for at in range(QUEUED):
            wanted = {"server": "second", "study": samples[0].study, "instances": [samples[at % 4].sop]}
            assert client.post(f"{sender.url}/transfers", json=wanted).status_code == 201
    sender.kill()
    sender.start()
    sender.wait_ready()
    register_second(sender, archive.root)
    deadline = time.monotonic() + 240
    query = {"destination": "second", "state": "waiting", "limit": "1"}
    while httpx.get(f"{sender.url}/transfers", params=query).json()["transfers"]:
        assert time.monotonic() < deadline, sender.log
        time.sleep(0.2)
    query |= {"state": "succeeded", "limit": "1000"}
    done = httpx.get(f"{sender.url}/transfers", params=query).json()["transfers"]
    assert sum(job["instances"] == {"total": 1, "arrived": 1, "refused": 0} for job in done) >= QUEUED
    assert_at_archive(archive, samples)
