"""Archives to break. Each has its own embedded PostgreSQL and is used by one module only."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive import RunningArchive, start_archive
from tests.support.faults import planted
from tests.support.ledger import Ledger, Oracle

TIERS = {"push": 0, "nightly": 1, "release": 2}


def tier(push: int, nightly: int, release: int) -> int:
    """The figure of the tier that FILEROOM_TIER names; push when it names none."""
    return (push, nightly, release)[TIERS[os.environ.get("FILEROOM_TIER", "push")]]


@pytest.fixture(scope="session")
def seed() -> int:
    """Of every random choice; printed with a failure. FILEROOM_SEED repeats one."""
    chosen = int(os.environ.get("FILEROOM_SEED") or random.randrange(1 << 30))
    print(f"FILEROOM_SEED={chosen}")
    return chosen


@pytest.fixture(scope="session")
def failpoint_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the failpoints of `battered` are planned."""
    return tmp_path_factory.mktemp("failpoints") / "plan"


@pytest.fixture(scope="session")
def battered(tmp_path_factory: pytest.TempPathFactory, failpoint_file: Path) -> Iterator[RunningArchive]:
    """An archive that is killed, wholly and in part, again and again, and obeys `failpoint_file`."""
    folder = tmp_path_factory.mktemp("battered")
    environment = planted(folder / "plants", "quick_restarts") | {"FILEROOM_FAILPOINTS": f"@{failpoint_file}"}
    running = start_archive(folder / "data", **environment)
    yield running
    running.stop()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path / "ledger.jsonl")


@pytest.fixture
def oracle(battered: RunningArchive, ledger: Ledger) -> Oracle:
    """Of `battered`."""
    return Oracle(battered, ledger)
