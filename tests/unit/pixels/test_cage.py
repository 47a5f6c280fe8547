"""The cage (G32): whatever happens inside costs one job, says what happened, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from app.dicom.status import Outcome, outcome_of
from app.errors import DecoderFailed, LimitExceeded, Overloaded, Undecodable
from app.pixels.cage import Cage, CageLimits
from tests.support.waiting import soon

TASKS = "tests.support.cage_tasks"
LIMITS = CageLimits(children=2, seconds=20, cpu=10, memory=256 << 20, waiting=4)


@pytest_asyncio.fixture
async def cage() -> AsyncIterator[Cage]:
    made = Cage(LIMITS, TASKS)
    yield made
    made.close()


def processes() -> list[psutil.Process]:
    """Those of cages with our tasks, the zygote first."""
    return [one for one in psutil.Process().children(recursive=True) if TASKS in command_of(one)]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize("size", [0, 1, 70_000, 3 << 20])
async def test_a_payload_comes_back(cage: Cage, size: int) -> None:
    payload = os.urandom(size)
    assert await cage.run("echo", {}, payload) == payload
    assert await cage.run("pieces", {}, [payload, memoryview(payload)]) == b"a" + 2 * payload + b"z"


async def test_children_are_kept_and_work_beside_each_other(cage: Cage) -> None:
    first = await cage.run("whoami", {})
    assert await cage.run("whoami", {}) == first
    both = await asyncio.gather(cage.run("sleep", {"seconds": 0.3}), cage.run("whoami", {}))
    assert both[0] == b"awake"
    assert len(processes()) == 3


@pytest.mark.parametrize(
    ("task", "arguments", "cause"),
    [("segfault", {}, "crash"), ("abort", {}, "crash"), ("eat", {"bytes": 1 << 30}, "memory"), ("fail", {}, "bug"),
     ("lie", {"answer": "nonsense"}, "crash"), ("lie", {"answer": '{"length": 5, "job": 1}'}, "crash"),
     ("lie", {"answer": '{"length": 9223372036854775807, "job": 1}'}, "crash")],
)  # fmt: skip
async def test_G32_a_crash_costs_one_job(cage: Cage, task: str, arguments: dict[str, object], cause: str) -> None:
    other = asyncio.ensure_future(cage.run("sleep", {"seconds": 0.2}))
    with pytest.raises(DecoderFailed) as caught:
        await cage.run(task, arguments, b"x")
    assert caught.value.extra["cause"] == cause
    assert outcome_of(caught.value) is Outcome.DECODER_FAILED
    assert await other == b"awake"
    assert await cage.run("echo", {}, b"again") == b"again"


async def test_G32_an_answer_to_another_job_is_none(cage: Cage) -> None:
    for answer in ('{"length": 1}', '{"length": 1, "job": 7}'):
        with pytest.raises(DecoderFailed):
            await cage.run("lie", {"answer": answer}, b"x")
        assert await cage.run("echo", {}, b"next") == b"next"


async def test_G32_bad_pixels_are_told_apart_from_a_crash(cage: Cage) -> None:
    pid = await cage.run("whoami", {})
    with pytest.raises(Undecodable, match="these pixels are bad"):
        await cage.run("refuse", {})
    assert await cage.run("whoami", {}) == pid


async def test_G32_time_is_bounded(cage: Cage) -> None:
    with pytest.raises(DecoderFailed) as caught:
        await cage.run("spin", {}, seconds=0.2)
    assert caught.value.extra["cause"] == "time"
    impatient = Cage(CageLimits(children=1, seconds=30, cpu=0), TASKS)
    try:
        with pytest.raises(DecoderFailed) as caught:
            await impatient.run("spin", {})
        assert caught.value.extra["cause"] == "time"
    finally:
        impatient.close()


async def test_G32_no_file_and_no_network(cage: Cage) -> None:
    assert await cage.run("open_file", {}) == str(errno.EMFILE).encode()
    assert await cage.run("connect", {}) == str(errno.EMFILE).encode()


async def test_a_cancelled_job_frees_its_place(cage: Cage) -> None:
    jobs = [asyncio.ensure_future(cage.run("sleep", {"seconds": 60})) for _ in range(2)]
    await soon(lambda: len(processes()) == 3, "both children are there")
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    assert await asyncio.gather(*(cage.run("echo", {}, b"%d" % at) for at in range(4))) == [b"0", b"1", b"2", b"3"]


async def test_a_job_cancelled_while_its_child_is_made(cage: Cage) -> None:
    for wait in (0.0, 0.001, 0.02):
        job = asyncio.ensure_future(cage.run("echo", {}, b"x"))
        await asyncio.sleep(wait)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    assert await cage.run("echo", {}, b"y") == b"y"


async def test_too_many_waiting_jobs_are_refused(cage: Cage) -> None:
    jobs = [asyncio.ensure_future(cage.run("sleep", {"seconds": 0.1})) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await cage.run("echo", {})
    assert await asyncio.gather(*jobs) == [b"awake"] * 6


async def test_a_payload_over_the_limit_is_refused(cage: Cage) -> None:
    mib = memoryview(bytes(1 << 20))
    with pytest.raises(LimitExceeded):
        await cage.run("echo", {}, [mib] * 1025)


async def test_children_that_were_killed_are_replaced(cage: Cage) -> None:
    for _ in range(2):
        await cage.run("echo", {}, b"x")
        zygote, *children = processes()
        for one in (zygote, *children):
            one.send_signal(signal.SIGKILL)
        psutil.wait_procs(children, 5)
        assert await cage.run("echo", {}, b"y") == b"y"


async def test_closing_leaves_no_process_and_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))  # noqa: ASYNC240 - of this process, in memory
    for _ in range(2):
        made = Cage(LIMITS, TASKS)
        await asyncio.gather(*(made.run("echo", {}, b"x") for _ in range(2)))
        with pytest.raises(DecoderFailed):
            await made.run("segfault", {})
        made.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before  # noqa: ASYNC240
    assert processes() == []


def shared_memory() -> int:
    """Bytes in the memory files of this process."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            if "memfd:frame" in str(path.readlink()):
                found[path.stat().st_ino] = path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return sum(found.values())


@pytest.mark.parametrize("size", [100 << 20, 1 << 20])
async def test_memory_of_large_jobs_is_given_back(cage: Cage, size: int) -> None:
    assert len(await cage.run("eat", {"bytes": size})) == size
    assert len(await cage.run("echo", {}, bytes(size))) == size
    assert shared_memory() <= 2 << 20
