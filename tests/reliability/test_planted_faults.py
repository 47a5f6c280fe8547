"""The suite against archives that are broken on purpose: whoever stays green here proves nothing elsewhere."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.blobs.syncing import sync_folder
from tests.reliability.test_kills import kill_workers
from tests.reliability.test_power_loss import lose_power, start_on
from tests.reliability.test_syscall_order import check_order, needs_ptrace, trace_store
from tests.reliability.test_twins import play, twins_of
from tests.support.archive import RunningArchive, start_archive
from tests.support.database import DatabaseServer
from tests.support.dicomweb import Broken, Client
from tests.support.faults import planted
from tests.support.ledger import Ledger, Oracle, Violation
from tests.support.load import Load
from tests.support.power_loss import PowerLoss, mounted, why_not
from tests.support.samples import new_sample


@contextmanager
def faulty(
    folder: Path, server: DatabaseServer, *faults: str, plan: Path | None = None
) -> Iterator[tuple[RunningArchive, str]]:
    """An archive with faults, and the URL of its database."""
    url = server.create()
    environment = planted(folder / "plants", "quick_restarts", *faults) | {"FILEROOM_DATABASE_URL": url}
    environment |= {"FILEROOM_FAILPOINTS": f"@{plan}"} if plan else {}
    archive = start_archive(folder / "data", **environment)
    try:
        yield archive, url
    finally:
        archive.stop()
        server.drop(url)


@needs_ptrace
def test_the_order_of_system_calls_shows_an_archive_that_never_syncs(
    tmp_path: Path, database_server: DatabaseServer
) -> None:
    with faulty(tmp_path, database_server, "no_sync") as (archive, _):
        sample = new_sample()
        calls = trace_store(archive, tmp_path / "trace", sample.encode())
        with pytest.raises(Violation, match="synced"):
            check_order(calls, archive.data.resolve() / "blobs", sample, [])


@pytest.mark.skipif(bool(why_not()), reason=f"power loss is a FUSE file system: {why_not()}")
def test_losses_of_power_show_an_archive_that_never_syncs(
    tmp_path: Path, database_server: DatabaseServer, ledger: Ledger, seed: int
) -> None:
    url = database_server.create()
    with mounted(tmp_path / "disk") as disk:
        (disk.folder / "blobs").mkdir()
        sync_folder(str(disk.folder))  # so that only what is stored is lost, and stores go on
        archive = start_on(disk, tmp_path, url, "no_sync")
        try:
            with pytest.raises(Violation):
                _lose_power_and_check(archive, disk, ledger, url, random.Random(seed))
        finally:
            archive.stop()
            database_server.drop(url)


def test_kills_show_an_archive_that_commits_before_it_writes(
    tmp_path: Path, database_server: DatabaseServer, ledger: Ledger, seed: int
) -> None:
    with faulty(tmp_path, database_server, "index_before_blob") as (archive, url):
        with pytest.raises(Violation):
            _kill_and_check(archive, Oracle(archive, ledger, url), ledger, random.Random(seed))


def test_failpoints_show_an_archive_that_commits_before_it_writes(
    tmp_path: Path, database_server: DatabaseServer, ledger: Ledger
) -> None:
    plan = tmp_path / "plan"
    with faulty(tmp_path, database_server, "index_before_blob", plan=plan) as (archive, url):
        plan.write_text("store.committed=kill")
        sample = new_sample()
        with pytest.raises(Broken):
            ledger.store(Client(archive.port), sample)
        with pytest.raises(Violation):
            Oracle(archive, ledger, url).check_instances([sample])


def test_twins_show_an_archive_that_overwrites_in_place(
    tmp_path: Path, database_server: DatabaseServer, ledger: Ledger
) -> None:
    with faulty(tmp_path, database_server, "overwrite_in_place") as (archive, _), twins_of(archive, ledger) as twins:
        with pytest.raises(Violation):
            play(twins, Client(archive.port), 10)


def _lose_power_and_check(
    archive: RunningArchive, disk: PowerLoss, ledger: Ledger, url: str, chance: random.Random
) -> None:
    lose_power(archive, disk, ledger, chance, 3)
    Oracle(archive, ledger, url, disk.folder / "blobs").check()


def _kill_and_check(archive: RunningArchive, oracle: Oracle, ledger: Ledger, chance: random.Random) -> None:
    load = Load(archive.port, ledger, chance.randrange(1 << 30))
    with load.running():
        for _ in range(5):
            load.wait_progress()
            time.sleep(chance.uniform(0.05, 0.2))
            kill_workers(archive, chance)
        load.wait_progress()
    oracle.check()
