"""R2: kill -9 at each named step of a store, a delete and a sweep; then the oracle, then the same request again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.failpoints import Failpoint
from tests.reliability.conftest import tier
from tests.support.archive import ROOT, RunningArchive
from tests.support.database import execute
from tests.support.dicomweb import Broken, Client, Stored
from tests.support.ledger import Ledger, Oracle, database_url
from tests.support.samples import Sample, new_sample

REPEATS = tier(1, 20, 100)
STORE_POINTS = [point for point in Failpoint if point.value.startswith("store.")]


@dataclass
class Stage:
    """Where a scene plays: what is done before the kill, and what is killed."""

    ledger: Ledger
    client: Client

    def prepare(self) -> Sample:
        """An instance that is stored."""
        sample = new_sample()
        assert self.ledger.store(self.client, sample).status == 200
        return sample

    def store(self, *samples: Sample) -> Stored:
        """The request that meets the failpoint."""
        return self.ledger.store(self.client, *samples)


def new(stage: Stage) -> list[Sample]:
    """An instance of a new study."""
    return [new_sample()]


def identical(stage: Stage) -> list[Sample]:
    """The same instance again."""
    return [stage.prepare()]


def conflicting(stage: Stage) -> list[Sample]:
    """A stored instance with other content."""
    return [stage.prepare().other_content()]


def five_parts(stage: Stage) -> list[Sample]:
    """Five parts: three new ones, one that is there already, one with other content."""
    there = stage.prepare()
    return [*(new_sample(there.study) for _ in range(3)), there, stage.prepare().other_content()]


def long(stage: Stage) -> list[Sample]:
    """An instance that is written to disk while it comes in."""
    return [new_sample(rows=60_000)]


def attempt(deed: Callable[[], object], until: float = 20.0) -> object:
    """Repeats a request until it is answered without 503: a worker may be on its way back."""
    deadline = time.monotonic() + until
    while True:
        try:
            answer = deed()
        except Broken:
            answer = None
        if answer is not None and getattr(answer, "status", answer) != 503:
            return answer
        assert time.monotonic() < deadline, "the archive does not come back"
        time.sleep(0.02)


@pytest.fixture
def stage(battered: RunningArchive, ledger: Ledger) -> Stage:
    """A stage on `battered`."""
    return Stage(ledger, Client(battered.port))


@pytest.mark.parametrize("point", STORE_POINTS, ids=lambda point: point.value)
def test_G03_G04_G06_a_store_killed_at_any_step_is_whole_or_absent(
    stage: Stage, oracle: Oracle, failpoint_file: Path, point: Failpoint
) -> None:
    for scene in (new, identical, conflicting, five_parts, long) * REPEATS:
        samples = scene(stage)
        failpoint_file.write_text(f"{point.value}=kill")
        with pytest.raises(Broken):
            stage.store(*samples)
        assert not failpoint_file.exists()
        oracle.check_instances(samples)
        again = attempt(lambda samples=samples: stage.store(*samples))  # type: ignore[misc]
        assert isinstance(again, Stored)
        assert (again.status, again.acknowledged) == (200, {sample.sop for sample in samples})
        oracle.check_instances(samples)
    oracle.check()


_SWEEP = """
import asyncio, sys
from pathlib import Path
from app.archive.context import Context
from app.archive.sweep import sweep
from app.blobs.local import LocalBlobStore
from app.catalog.engine import Catalog
asyncio.run(sweep(Context(Catalog(sys.argv[1]), LocalBlobStore(Path(sys.argv[2])), orphan_hours=0)))
"""


def sweep_with(archive: RunningArchive, plan: str) -> int:
    """Exit status of a process that sweeps once, every orphan being old enough."""
    command = [sys.executable, "-c", _SWEEP, database_url(archive.data), str(archive.data / "blobs")]
    return subprocess.run(command, env=os.environ | {"FILEROOM_FAILPOINTS": plan}, cwd=ROOT, check=False).returncode


@pytest.mark.parametrize("plan", ["delete.purging=kill", "sweep.removing=kill@2"])
def test_G10_G21_a_sweep_killed_at_any_step_is_finished_by_the_next(
    battered: RunningArchive, stage: Stage, oracle: Oracle, failpoint_file: Path, plan: str
) -> None:
    kept, deleted = stage.prepare(), [stage.prepare() for _ in range(3)]
    for _ in range(3):
        failpoint_file.write_text("store.committing=kill")
        with pytest.raises(Broken):
            stage.store(new_sample(kept.study))
    for sample in deleted:
        assert attempt(lambda sample=sample: stage.ledger.delete(stage.client, sample)) == 200  # type: ignore[misc]
    execute(database_url(battered.data), "UPDATE deletion SET purge_after = now()")
    statuses = [sweep_with(battered, plan), sweep_with(battered, plan)]
    assert -signal.SIGKILL in statuses
    findings = oracle.check()
    assert findings.instances == 1
    blobs = list((battered.data / "blobs").rglob("*.dcm"))
    assert not [blob for blob in blobs for sample in deleted if sample.sop in blob.name.split("~")]


def test_G21_one_sweep_ends_every_deletion_that_is_due(battered: RunningArchive, stage: Stage, oracle: Oracle) -> None:
    samples = [stage.prepare() for _ in range(4)]
    for sample in samples:
        assert attempt(lambda sample=sample: stage.ledger.delete(stage.client, sample)) == 200  # type: ignore[misc]
    execute(database_url(battered.data), "UPDATE deletion SET purge_after = now()")
    assert sweep_with(battered, "") == 0
    names = [blob.name for blob in (battered.data / "blobs").rglob("*.dcm")]
    assert not [name for name in names for sample in samples if name.startswith(f"{sample.sop}~")]
    oracle.check()


def test_G21_a_delete_killed_after_it_hid_has_happened(stage: Stage, oracle: Oracle, failpoint_file: Path) -> None:
    sample = stage.prepare()
    failpoint_file.write_text("delete.hidden=kill")
    with pytest.raises(Broken):
        stage.ledger.delete(stage.client, sample)
    assert attempt(lambda: stage.client.delete(sample.path)) == 404
    oracle.check_instances([sample])
    oracle.check()
    assert attempt(lambda: stage.store(sample)) is not None
    oracle.check()
