"""Priors from DCMTK's dcmqrscp, for worklist items that come by REST and from `.wl` files; its bad day; and the echo
before anything is routed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydicom.dataset import Dataset

from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import C_ECHO_RQ, C_STORE_RQ, response
from tests.dimse.remote.conftest import Site, send
from tests.requirements.instances import CT, EXPLICIT_LE, encode, make
from tests.requirements.instances import ROOT as UIDS
from tests.support.archive import ROOT
from tests.support.bridge import start_both
from tests.support.dcmqrscp import QueryRetrieve, start_dcmqrscp
from tests.support.series_peer import series_peer
from tests.support.worklist import RESOURCE, item

ENDED = ("succeeded", "failed")
TODAY = f"{datetime.now():%Y%m%d}"
QUICK = {
    "FILEROOM_TRANSFER_PAUSE_SECONDS": "0.2",
    "FILEROOM_TRANSFER_LEASE_SECONDS": "2",
    "FILEROOM_DIMSE_REMOTE_SECONDS": "5",
    "FILEROOM_DIMSE_ASSOCIATE_SECONDS": "2",
}


@pytest.fixture(scope="module")
def department(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An archive with its bridge, whose jobs are killed here."""
    archive, port = start_both(tmp_path_factory.mktemp("department") / "data", **QUICK)
    with httpx.Client(base_url=archive.url, timeout=60) as user:
        yield Site(archive, port, user)
    assert archive.stop() == 0


@pytest.fixture(scope="module")
def priors(department: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryRetrieve]:
    """The archive of priors, and the rule that asks it."""
    with start_dcmqrscp(tmp_path_factory.mktemp("priors"), {"FILEROOM": department.dimse}) as running:
        department.register(running.aet, running.port)
        rule = {"peer": running.aet, "modalities": ["same"], "most": 2}
        assert department.user.put("/prefetch-rules/priors", json=rule).status_code == 201
        yield running


def study(number: str, patient: str, day: str, modality: str = "CT", count: int = 2) -> list[Dataset]:
    """The instances of a study."""
    values = {"PatientID": patient, "StudyDate": day, "Modality": modality}
    made = [make(f"7832.{number}", at, CT, EXPLICIT_LE, **values) for at in range(1, count + 1)]
    for at, ds in enumerate(made):
        ds.InstanceNumber = at
    return made


def uid(number: str) -> str:
    return f"{UIDS}.7832.{number}"


def order(site: Site, patient: str, number: str) -> None:
    """A worklist item for today, by REST."""
    one = item(PatientID=patient, StudyInstanceUID=uid(number), step_ScheduledProcedureStepStartDate=TODAY)
    assert site.user.put(f"/dicom-web{RESOURCE}/item-{number}", json=one).status_code == 201


def prefetch(site: Site, key: str, is_so: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
    """The job about an item when it is as wanted, or has ended."""
    deadline = time.monotonic() + 60
    while True:
        try:
            found = site.user.get("/transfers").json()["transfers"]
        except (httpx.HTTPError, ValueError):
            found = []
        for one in found:
            ended = one["state"] not in ("waiting", "active")
            if (not key or one.get("item") == key) and (is_so(one) if is_so else ended):
                return dict(one)
        assert time.monotonic() < deadline, f"{found}\n{site.archive.log}"
        time.sleep(0.05)


def here(site: Site, *numbers: str) -> list[int]:
    """How many instances of each study are in the archive."""
    return [len(site.instances(uid(number))) for number in numbers]


@pytest.mark.parametrize(("way", "at"), [("move", "10"), ("get", "20")])
def test_the_newest_of_the_modality_come(
    department: Site, priors: QueryRetrieve, tmp_path: Path, way: str, at: str
) -> None:
    patient = f"PRE-{way}"
    department.register(priors.aet, priors.port, behaviour={"retrieve_with": way})
    sent = study(f"{at}.1", patient, "20200101") + study(f"{at}.2", patient, "20210101", count=3)
    sent += study(f"{at}.3", patient, "20220101") + study(f"{at}.4", patient, "20230101", "MR")
    sent += study(f"{at}.5", patient, TODAY) + study(f"{at}.6", f"{patient}-OTHER", "20230101")
    send(priors.port, priors.aet, tmp_path, sent)
    order(department, patient, f"{at}.5")  # begun already over there: it is no prior of itself
    ended = prefetch(department, f"item-{at}.5")
    assert (ended["state"], ended["peer"], ended["kind"]) == ("succeeded", priors.aet, "prefetch")
    assert ended["instances"] == {"total": 5, "arrived": 5, "refused": 0}
    assert here(department, *(f"{at}.{number}" for number in range(1, 7))) == [0, 3, 2, 0, 0, 0]
    order(department, patient, f"{at}.7")  # the next order: today's study is a prior by now, the others are here
    ended = prefetch(department, f"item-{at}.7")
    assert ended["instances"] == {"total": 2, "arrived": 2, "refused": 0}
    assert here(department, f"{at}.5", f"{at}.3", f"{at}.2") == [2, 2, 3]
    department.register(priors.aet, priors.port)


def test_a_peer_without_the_image_level_sends_whole_series(department: Site) -> None:
    images = [*study("50.1", "PRE-SERIES", "20220101", count=3), *study("50.2", "PRE-SERIES", "20210101")]
    with series_peer(images) as peer:
        department.register("BYSERIES", peer.port, behaviour={"retrieve_with": "get"})
        rule = {"peer": "BYSERIES", "where": {"PatientID": "PRE-SERIES"}}
        assert department.user.put("/prefetch-rules/by-series", json=rule).status_code == 201
        try:
            order(department, "PRE-SERIES", "50.3")
            ended = prefetch(department, "item-50.3", lambda one: one["peer"] == "BYSERIES" and one["state"] in ENDED)
            assert (ended["state"], here(department, "50.1", "50.2")) == ("succeeded", [3, 2]), ended
            assert ended["instances"] == {"total": 2, "arrived": 2, "refused": 0}, "each series counts as one"
            order(department, "PRE-SERIES", "50.4")
            ended = prefetch(department, "item-50.4", lambda one: one["peer"] == "BYSERIES" and one["state"] in ENDED)
            assert (ended["state"], ended["instances"]["total"]) == ("succeeded", 0), "nothing is fetched again"
            assert peer.got == ["STUDY", "STUDY"]
        finally:
            department.user.delete("/prefetch-rules/by-series")


def test_items_of_worklist_files_have_their_priors_too(department: Site, priors: QueryRetrieve, tmp_path: Path) -> None:
    send(priors.port, priors.aet, tmp_path, study("30.1", "PRE-WL", "20200101"))
    step, ds = Dataset(), Dataset()
    step.Modality, step.ScheduledStationAETitle = "CT", "CT1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = TODAY, "235900"
    ds.AccessionNumber, ds.StudyInstanceUID = "A30", uid("30.2")
    ds.PatientName, ds.PatientID = "Prior^File", "PRE-WL"
    ds.ScheduledProcedureStepSequence = [step]
    folder = tmp_path / "wl"
    folder.mkdir()
    ds.save_as(folder / "one.wl", implicit_vr=False, little_endian=True)
    command = [sys.executable, "-m", "app.cli", "worklist", "import", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=department.archive.environment, check=False, capture_output=True)
    assert done.returncode == 0, done
    prefetch(department, "", lambda _: here(department, "30.1") == [2])


def _kill_jobs(site: Site) -> None:
    for child in psutil.Process(site.archive.pid).children():
        if child.name() == "fileroom-jobs":
            child.send_signal(signal.SIGKILL)


def test_G23_priors_come_though_their_archive_is_down_and_the_jobs_are_killed(
    department: Site, priors: QueryRetrieve, tmp_path: Path
) -> None:
    send(priors.port, priors.aet, tmp_path, study("40.1", "PRE-BAD", "20220101", count=60))
    send(priors.port, priors.aet, tmp_path, study("40.2", "PRE-BAD", "20210101", count=20))
    priors.kill()
    order(department, "PRE-BAD", "40.3")
    waiting = prefetch(department, "item-40.3", lambda one: "no echo" in one["reason"])
    assert (waiting["state"], waiting["tries"]) == ("waiting", 0)
    _kill_jobs(department)
    priors.start()
    prefetch(department, "item-40.3", lambda one: one["instances"]["total"] == 80)
    _kill_jobs(department)
    time.sleep(0.3)
    priors.kill()
    time.sleep(0.3)
    _kill_jobs(department)
    priors.start()
    ended = prefetch(department, "item-40.3")
    assert (ended["state"], ended["instances"]["arrived"]) == ("succeeded", 80), ended
    assert here(department, "40.1", "40.2") == [60, 20]
    found = department.user.get("/transfers", params={"limit": "1000"}).json()["transfers"]
    assert len([one for one in found if one.get("item") == "item-40.3"]) == 1


async def test_D1_an_echo_precedes_what_is_routed_to_a_peer(department: Site) -> None:
    """D1: as long as the echo fails, nothing is sent; it can be switched off."""
    seen: list[int] = []
    echo_status = 0x0110

    async def serve(association: Association) -> None:
        while True:
            message = await association.receive()
            await message.drain()
            seen.append(message.command.field)
            status = echo_status if message.command.field == C_ECHO_RQ else 0
            await association.send(message.context, response(message.command, status))

    def route(patient: str, **members: object) -> None:
        rule = {"event": "instance", "peer": "ECHOES", "where": {"PatientID": patient}} | members
        assert department.user.put(f"/routes/{patient}", json=rule).status_code == 201
        (ds,) = study(f"50.{patient[-1]}", patient, "20200101", count=1)
        headers = {"Content-Type": "application/dicom"}
        assert department.user.post("/dicom-web/studies", content=encode(ds), headers=headers).status_code == 200

    async with await serve_associations("127.0.0.1", 0, accept_all, serve) as listener:
        department.register("ECHOES", listener.port)
        await asyncio.to_thread(route, "ECHO-1")
        waiting = await asyncio.to_thread(prefetch, department, "", lambda one: "no echo" in one["reason"])
        assert (waiting["state"], waiting["tries"], set(seen)) == ("waiting", 0, {C_ECHO_RQ})
        echo_status = 0
        ended = await asyncio.to_thread(prefetch, department, "", lambda one: _is_done(one, "ECHO-1"))
        assert (ended["tries"], seen[-2:]) == (1, [C_ECHO_RQ, C_STORE_RQ])
        seen.clear()
        echo_status = 0x0110
        await asyncio.to_thread(route, "ECHO-2", echo=False)
        await asyncio.to_thread(prefetch, department, "", lambda one: _is_done(one, "ECHO-2"))
        assert seen == [C_STORE_RQ]


def _is_done(job: dict[str, Any], patient: str) -> bool:
    return bool(job["origin"] == f"route {patient}" and job["state"] == "succeeded")
