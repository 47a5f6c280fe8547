"""Storage commitment as its user, after transfers: by pynetdicom, Orthanc and a second Fileroom as the other side, with
reports on the same association and on one of the peer's, and with everything killed in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from tests.support.archive import RunningArchive
from tests.support.bridge import CALLED, RunningBridge, start_both
from tests.support.commitment_scp import NEVER, NEW, SAME, keeping
from tests.support.orthanc import Orthanc, orthanc
from tests.support.samples import Sample, new_token, new_uid

__all__ = ["orthanc"]
OURS = "SENDER"
BELIEVED = 1.1
"""Seconds after which the bridge has heard of a new peer."""


class Site:
    """An archive with its bridge, which sends."""

    def __init__(self, archive: RunningArchive, port: int) -> None:
        self.archive = archive
        self.port = port

    @property
    def ours(self) -> tuple[str, int]:
        """Where peers call us."""
        return OURS, self.port

    def store(self, count: int) -> list[Sample]:
        """A new study of `count` instances."""
        study, series = new_uid(), new_uid()
        samples = [Sample(study, series, new_uid(), new_token()) for _ in range(count)]
        parts = [b"--b\r\nContent-Type: application/dicom\r\n\r\n" + one.encode() + b"\r\n" for one in samples]
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        content = b"".join((*parts, b"--b--\r\n"))
        assert httpx.post(f"{self.archive.root}/studies", content=content, headers=headers).status_code == 200
        return samples

    def register(self, aet: str, port: int, behaviour: object = "standard") -> None:
        """A peer."""
        peer = {"host": "127.0.0.1", "port": port, "behaviour": behaviour}
        assert httpx.put(f"{self.archive.url}/peers/{aet}", json=peer).is_success
        time.sleep(BELIEVED)

    def transfer(self, aet: str, samples: list[Sample], tries: int = 5) -> int:
        """Sends and wants commitment; the transfer's id."""
        wanted = {"peer": aet, "study": samples[0].study, "commit": True, "tries": tries}
        answer = httpx.post(f"{self.archive.url}/transfers", json=wanted)
        assert answer.status_code == 201, answer.text
        number: int = answer.json()["id"]
        return number

    def until(self, number: int, is_so: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        """The transfer as soon as it is as wanted."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                body: dict[str, Any] = httpx.get(f"{self.archive.url}/transfers/{number}").json()
            except (httpx.HTTPError, ValueError):
                body = {"state": "unknown"}
            if is_so(body):
                return body
            assert time.monotonic() < deadline, f"{body}\n{self.archive.log[-4000:]}"
            time.sleep(0.05)

    def ended(self, number: int) -> dict[str, Any]:
        """The transfer when it has ended."""
        return self.until(number, lambda body: body["state"] in ("succeeded", "failed", "cancelled"))

    def instances(self, number: int) -> dict[str, str]:
        """State of each instance."""
        rows = httpx.get(f"{self.archive.url}/transfers/{number}/instances").json()["instances"]
        return {row["instance"]: row["state"] for row in rows}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    quick = {"FILEROOM_AET": OURS, "FILEROOM_TRANSFER_PAUSE_SECONDS": "0.2", "FILEROOM_TRANSFER_LEASE_SECONDS": "2"}
    archive, port = start_both(tmp_path_factory.mktemp("committing") / "data", **quick)
    yield Site(archive, port)
    assert archive.stop() == 0


def test_the_report_comes_on_the_same_association(site: Site) -> None:
    samples = site.store(3)
    with keeping("SAME", site.ours, SAME) as keeper:
        site.register("SAME", keeper.port, {"commitment_seconds": 30})
        number = site.transfer("SAME", samples)
        ended = site.ended(number)
    assert (ended["state"], ended["commit"]["committed"]) == ("succeeded", 3)
    assert set(site.instances(number).values()) == {"committed"}
    assert (keeper.answers, keeper.was_open) == ([0], [True])
    (asked,) = keeper.asked
    assert asked.TransactionUID == ended["commit"]["transaction"]
    assert [one.ReferencedSOPInstanceUID for one in asked.ReferencedSOPSequence] == keeper.stored


@pytest.mark.parametrize("has_roles", [True, False])
def test_D19_the_association_is_closed_at_once_and_the_report_comes_on_another(site: Site, has_roles: bool) -> None:
    """By role selection; some peers forget that."""
    aet, samples = f"NEW{has_roles}".upper(), site.store(2)
    with keeping(aet, site.ours, NEW) as keeper:
        keeper.has_roles = has_roles
        site.register(aet, keeper.port, "dxserver")
        ended = site.ended(site.transfer(aet, samples))
    assert (ended["state"], ended["commit"]["committed"]) == ("succeeded", 2)
    assert (keeper.answers, keeper.was_open) == ([0], [False])


def test_D19_what_is_not_committed_is_sent_again_and_fails_at_last(site: Site) -> None:
    samples = site.store(3)
    with keeping("PICKY", site.ours) as keeper:
        bad = samples[1].sop
        keeper.refused = {bad}
        site.register("PICKY", keeper.port, "dxserver")
        number = site.transfer("PICKY", samples, tries=2)
        ended = site.ended(number)
        assert (ended["state"], ended["tries"], ended["reason"]) == ("failed", 2, "1 instances are not committed")
        states = site.instances(number)
        assert states.pop(bad) == "waiting"
        assert set(states.values()) == {"committed"}
        assert sorted(keeper.stored) == sorted([bad, *(one.sop for one in samples)])
        keeper.refused = set()
        assert httpx.post(f"{site.archive.url}/transfers/{number}/retry").is_success
        assert site.ended(number)["state"] == "succeeded"
    assert keeper.stored.count(bad) == 3


def test_a_refused_request_is_made_again_without_sending_again(site: Site) -> None:
    samples = site.store(1)
    with keeping("REFUSES", site.ours) as keeper:
        keeper.action_status = 0x0213
        site.register("REFUSES", keeper.port, "dxserver")
        number = site.transfer("REFUSES", samples)
        keeper.wait_asked(2)
        keeper.action_status = 0
        assert site.ended(number)["state"] == "succeeded"
    assert len(keeper.stored) == 1


def test_G25_orthanc_commits(site: Site, orthanc: Orthanc) -> None:
    """It reports on an association of its own."""
    orthanc.know("committing", OURS, site.port)
    site.register(orthanc.aet, orthanc.dimse)
    samples = site.store(4)
    number = site.transfer(orthanc.aet, samples)
    ended = site.ended(number)
    assert (ended["state"], ended["tries"]) == ("succeeded", 1), ended
    assert set(site.instances(number).values()) == {"committed"}


def test_a_second_fileroom_commits_by_dimse(site: Site, archive: RunningArchive, bridge_process: RunningBridge) -> None:
    Site(archive, bridge_process.port).register(OURS, site.port)
    site.register(CALLED, bridge_process.port, "dxserver")
    samples = site.store(3)
    ended = site.ended(site.transfer(CALLED, samples))
    assert (ended["state"], ended["commit"]["committed"]) == ("succeeded", 3), ended
    for one in samples:
        found = httpx.get(archive.root + one.path, headers={"Accept": "application/dicom; transfer-syntax=*"})
        assert one.token.encode() in found.content


def test_G23_a_report_that_comes_after_everything_was_killed_is_taken(site: Site) -> None:
    samples = site.store(2)
    with keeping("SLOW", site.ours, NEVER) as keeper:
        site.register("SLOW", keeper.port, "dxserver")
        number = site.transfer("SLOW", samples)
        asked = keeper.wait_asked()
        site.until(number, lambda body: bool(body["state"] == "committing" and body["commit"]["asked"]))
        site.archive.kill()
        site.archive.start()
        site.archive.wait_ready()
        assert site.until(number, lambda body: body["state"] != "unknown")["state"] == "committing"
        deadline = time.monotonic() + 40
        while True:  # until the bridge listens again
            try:
                status = keeper.report(asked)
            except AssertionError:
                status = -1
            if status == 0:
                break
            assert time.monotonic() < deadline, status
            time.sleep(0.2)
        ended = site.ended(number)
    assert (ended["state"], len(keeper.stored), len(keeper.asked)) == ("succeeded", 2, 1)


def test_reports_that_nobody_waits_for_are_refused(site: Site) -> None:
    with keeping("STRANGER", site.ours, NEVER) as keeper:
        nothing, unknown = Dataset(), Dataset()
        nothing.ReferencedSOPSequence = []
        unknown.ReferencedSOPSequence, unknown.TransactionUID = [], "2.25.1"
        assert keeper.report(unknown) == 0x0112
        nothing.TransactionUID = ""
        assert keeper.report(nothing) == 0x0115
