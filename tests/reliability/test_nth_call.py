"""R4: the Nth system call of a store fails, for every N and several errors: never a success whose bytes are missing."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.archive.context import Context
from app.archive.store import Storekeeper
from app.blobs import local, syncing
from app.blobs.local import LocalBlobStore
from app.catalog.engine import Catalog
from app.dicom.status import STATUSES, Outcome
from tests.reliability.conftest import tier
from tests.support.samples import Sample, new_sample, new_uid

CALLS = ("open", "mkdir", "writev", "write", "fsync", "fstat", "pread", "close", "unlink", "posix_fadvise")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE)[: tier(1, 4, 4)]
ROWS = (32, 4_000, 40_000)[: tier(2, 3, 3)]
"""Of an instance that is written at once, of one that is written while it waits for another's, and of one that is
written as it comes in."""
_KEY = "SELECT count(*) FROM instance WHERE uid = $1 AND state = 0"


class FaultyOs:
    """`os`, whose `nth` call of one function fails."""

    def __init__(self, call: str, nth: int, number: int) -> None:
        self._call = call
        self._left = nth
        self._number = number
        self.struck = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._faulty(real) if name == self._call else real

    def _faulty(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left:
                return real(*args, **kwargs)
            self.struck = True
            if real is os.close:
                real(*args)  # as Linux does: the descriptor is gone, whatever close says
            raise OSError(self._number, "planted")

        return call


async def store(keeper: Storekeeper, samples: list[Sample]) -> list[Outcome]:
    """Stores the first, and the others together while it is in a round of syncs; what became of each."""

    async def one(sample: Sample) -> Outcome:
        reception = await keeper.receive()
        content = sample.encode()
        for start in range(0, len(content), 1 << 18):
            await reception.write(content[start : start + (1 << 18)])
        return (await reception.finish()).outcome

    first = asyncio.ensure_future(one(samples[0]))
    for _ in range(1000):
        if keeper.rounds.inside or first.done():
            break
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(first, *map(one, samples[1:]))
    await keeper.drain()
    return outcomes


async def check(keeper: Storekeeper, root: Path, samples: list[Sample], outcomes: list[Outcome]) -> None:
    """What was stored is there whole; what was not may be tried again and then is."""
    for sample, outcome in zip(samples, outcomes, strict=True):
        visible = await keeper.context.catalog.fetchval(_KEY, sample.sop)
        assert visible == (outcome is Outcome.STORED)
        if outcome is not Outcome.STORED:
            assert STATUSES[outcome].retry, outcome
            assert await store(keeper, [sample]) == [Outcome.STORED]
        assert sample.encode() in stored_contents(root, sample)


def stored_contents(root: Path, sample: Sample) -> list[bytes]:
    """Every version of an instance on disk."""
    return [path.read_bytes() for path in root.rglob(f"{sample.sop}~*.dcm")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("call", CALLS)
async def test_G12_whichever_call_fails_success_means_stored(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, call: str, rows: int
) -> None:
    for number in ERRORS:
        for nth in range(1, 60):
            keeper = Storekeeper(Context(catalog, LocalBlobStore(tmp_path)))
            faulty = FaultyOs(call, nth, number)
            samples = [new_sample(study, rows=rows) for study in (new_uid(),) * 3]
            with monkeypatch.context() as patch:
                patch.setattr(syncing, "os", faulty)
                patch.setattr(local, "os", faulty)
                outcomes = await store(keeper, samples)
            await check(keeper, tmp_path, samples, outcomes)
            if not faulty.struck:
                break
        assert not faulty.struck, "the calls do not end"
