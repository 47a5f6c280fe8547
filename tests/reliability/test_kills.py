"""R1: kill -9 at random moments, of workers, of the whole archive and of PostgreSQL, under load."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.reliability.conftest import tier
from tests.support.archive import RunningArchive
from tests.support.ledger import Ledger, Oracle
from tests.support.load import Load

KILLS = tier(60, 2_000, 10_000)
CHECK_EVERY = 250


def kill_worker(archive: RunningArchive, chance: random.Random) -> None:
    """One worker."""
    workers = archive.workers()
    if workers:
        _kill(chance.choice(workers))


def kill_workers(archive: RunningArchive, chance: random.Random) -> None:
    """All workers at once."""
    for worker in archive.workers():
        _kill(worker)


def kill_postmaster(archive: RunningArchive, chance: random.Random) -> None:
    """PostgreSQL's first process; the others follow it."""
    os.kill(archive.postmaster(), signal.SIGKILL)


def kill_parent(archive: RunningArchive, chance: random.Random) -> None:
    """The archive's first process; its children must not outlive it. Then it is started again."""
    archive.kill()
    archive.start()


def kill_everything(archive: RunningArchive, chance: random.Random) -> None:
    """Every process at once, as an out-of-memory killer gone wild."""
    for process in archive.processes():
        _kill(process)
    archive.process.wait(10)
    archive.start()


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


DEEDS: list[Callable[[RunningArchive, random.Random], None]] = [
    *[kill_worker] * 14,
    *[kill_workers] * 3,
    kill_postmaster,
    kill_parent,
    kill_everything,
]
"""In this proportion; the shares keep 60 kills within a minute."""


def deeds(chance: random.Random, kills: int) -> Iterator[Callable[[RunningArchive, random.Random], None]]:
    """`kills` deeds, each kind in its share, in random order."""
    while kills > 0:
        some = chance.sample(DEEDS, len(DEEDS))[:kills]
        yield from some
        kills -= len(some)


@pytest.mark.timeout(60 + KILLS * 4)
def test_G03_nothing_acknowledged_is_lost_by_kills(
    battered: RunningArchive, ledger: Ledger, oracle: Oracle, seed: int
) -> None:
    chance = random.Random(seed)
    left = KILLS
    while left:
        some = min(left, CHECK_EVERY)
        load = Load(battered.port, ledger, chance.randrange(1 << 30))
        with load.running():
            for deed in deeds(chance, some):
                load.wait_progress()
                time.sleep(chance.uniform(0.02, 0.2))
                deed(battered, chance)
            load.wait_progress()
        findings = oracle.check()
        left -= some
        print(f"{KILLS - left} kills: {ledger.acknowledged} acknowledged, {load.reads} reads, {findings}")
    assert ledger.acknowledged > KILLS
