"""R5: the power fails under the folder of the blobs; PostgreSQL stands on another disk and keeps what it committed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.reliability.conftest import tier
from tests.support.archive import RunningArchive, start_archive
from tests.support.database import DatabaseServer
from tests.support.faults import planted
from tests.support.ledger import Ledger, Oracle
from tests.support.load import Load
from tests.support.power_loss import PowerLoss, mounted, why_not

LOSSES = tier(20, 500, 3_000)

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"power loss is a FUSE file system: {why_not()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerLoss]:
    """A disk that can lose power."""
    with mounted(tmp_path / "disk") as power_loss:
        yield power_loss


def start_on(disk: PowerLoss, folder: Path, database_url: str, *faults: str) -> RunningArchive:
    """An archive with its blobs on `disk`."""
    environment = planted(folder / "plants", "quick_restarts", *faults)
    environment |= {"FILEROOM_BLOBS_URL": str(disk.folder / "blobs"), "FILEROOM_DATABASE_URL": database_url}
    return start_archive(folder / "data", **environment)


def cut_power(archive: RunningArchive, disk: PowerLoss, seed: int | None) -> None:
    """All that write die, the disk forgets, then the workers come back."""
    parent = psutil.Process(archive.pid)
    parent.suspend()
    children = archive.workers()
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    while any(child.status() != psutil.STATUS_ZOMBIE for child in children):
        time.sleep(0.001)
    disk.strike(seed)
    parent.resume()


def lose_power(archive: RunningArchive, disk: PowerLoss, ledger: Ledger, chance: random.Random, losses: int) -> None:
    """Power is lost `losses` times under load, each time after at least one acknowledged store."""
    load = Load(archive.port, ledger, chance.randrange(1 << 30))
    with load.running():
        for number in range(losses):
            load.wait_progress()
            time.sleep(chance.uniform(0.02, 0.3))
            cut_power(archive, disk, chance.randrange(1 << 30) if number % 2 else None)
        load.wait_progress()


@pytest.mark.timeout(60 + LOSSES * 4)
def test_G01_what_was_acknowledged_survives_a_loss_of_power(
    disk: PowerLoss, tmp_path: Path, database_server: DatabaseServer, ledger: Ledger, seed: int
) -> None:
    url = database_server.create()
    archive = start_on(disk, tmp_path, url)
    try:
        lose_power(archive, disk, ledger, random.Random(seed), LOSSES)
        findings = Oracle(archive, ledger, url, disk.folder / "blobs").check()
        print(f"{LOSSES} losses of power: {ledger.acknowledged} acknowledged, {findings}")
    finally:
        archive.stop()
        database_server.drop(url)
