"""Webhooks by real processes, while stores go on and everything is killed: no event is lost, their order is kept."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.archive import RunningArchive, start_archive
from tests.support.receiver import SECRET, Receiver, Reply, in_order
from tests.support.samples import Sample, new_token, new_uid

QUICK: Any = {
    "FILEROOM_WEBHOOK_SECONDS": "1",
    "FILEROOM_WEBHOOK_PAUSE_SECONDS": "0.1",
    "FILEROOM_QUIET_SECONDS": "1",
}
_DICOM = {"Content-Type": "application/dicom"}


def kill_jobs(archive: RunningArchive) -> None:
    """The job process alone; the archive starts another."""
    for child in psutil.Process(archive.pid).children():
        if child.name() == "fileroom-jobs":
            child.send_signal(signal.SIGKILL)


def kill_archive(archive: RunningArchive) -> None:
    """Every process of it but the database."""
    archive.kill()
    archive.start()


def kill_postmaster(archive: RunningArchive) -> None:
    """The database."""
    psutil.Process(archive.postmaster()).send_signal(signal.SIGKILL)


KILLS: tuple[Callable[[RunningArchive], None], ...] = (kill_jobs, kill_archive, kill_postmaster)


class Modality:
    """Stores one instance after the other, and goes on when one could not be stored."""

    def __init__(self, archive: RunningArchive) -> None:
        self._archive = archive
        self.stored: list[str] = []
        self.is_done = False

    async def work(self) -> None:
        """Until `is_done`."""
        study, series = new_uid(), new_uid()
        async with httpx.AsyncClient(timeout=30) as client:
            while not self.is_done:
                one = Sample(study, series, new_uid(), new_token())
                try:
                    answer = await client.post(f"{self._archive.root}/studies", content=one.encode(), headers=_DICOM)
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 200:
                    self.stored.append(one.sop)


async def register(archive: RunningArchive, receiver: Receiver) -> None:
    """A webhook that tells of all that happened."""
    async with httpx.AsyncClient(timeout=30) as client:
        wanted = {"url": receiver.url, "secret": SECRET, "after": 0}
        assert (await client.put(f"{archive.url}/webhooks/ris", json=wanted)).status_code == 201


async def everything(archive: RunningArchive) -> list[dict[str, Any]]:
    """The whole feed."""
    found: list[dict[str, Any]] = []
    async with httpx.AsyncClient(timeout=30) as client:
        while True:
            after = found[-1]["id"] if found else 0
            page = (await client.get(f"{archive.url}/changes?limit=1000&after={after}")).json()["changes"]
            if not page:
                return found
            found += page


async def test_G23_no_event_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    archive = await asyncio.to_thread(start_archive, tmp_path / "data", **QUICK)
    receiver = Receiver()
    choice = random.Random(8)
    receiver.reply = lambda message: Reply(choice.choice((204, 204, 204, 503, 0)), seconds=choice.uniform(0, 0.1))
    modality = Modality(archive)
    try:
        async with receiver.listening():
            await register(archive, receiver)
            storing = asyncio.create_task(modality.work())
            for kill in KILLS:
                seen = len(receiver.taken)
                await receiver.until(lambda seen=seen: len(receiver.taken) > seen + 1)  # type: ignore[misc]
                await asyncio.to_thread(kill, archive)
                await asyncio.to_thread(archive.wait_ready)
            modality.is_done = True
            await storing
            receiver.reply = lambda message: Reply()
            await receiver.until(lambda: {*modality.stored} <= {one.get("instance") for one in receiver.events})
            await receiver.until(lambda: any(one["kind"] == "study-quiet" for one in receiver.events))
        feed = await everything(archive)
        told = in_order(receiver.events)
        assert told == feed[: len(told)]
        assert len(told) > len(modality.stored) > 0
        ids = {message.id: message.body for message in receiver.got}
        assert all(ids[message.id] == message.body for message in receiver.got), "a message changed"
    finally:
        modality.is_done = True
        await asyncio.to_thread(archive.stop)
