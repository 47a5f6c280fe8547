"""Jobs in threads: each is done once, whoever starts it and however many come, and results reach whoever waits."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from app.blobs.threads import Crew, Threads


async def test_results_and_errors_come_back() -> None:
    threads = Threads(2, "test")
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)


async def test_as_many_at_a_time_as_there_are_threads() -> None:
    threads, meeting = Threads(3, "test"), threading.Barrier(3, timeout=10)
    assert sorted(await asyncio.gather(*(threads.run(meeting.wait) for _ in range(3)))) == [0, 1, 2]


async def test_a_job_goes_on_when_nobody_waits_any_more() -> None:
    threads, done = Threads(1, "test"), SimpleQueue[str]()
    future = threads.run(lambda: done.put("done"))
    future.cancel()
    assert await asyncio.to_thread(done.get, True, 10) == "done"
    assert await threads.run(int, "1") == 1


def test_what_was_started_is_done_before_the_threads_end() -> None:
    crew, done, before = Crew(3, "test"), SimpleQueue[int](), threading.active_count()
    for number in range(100):
        crew.start(lambda number=number: done.put(number))  # type: ignore[misc]
    crew.close()
    assert done.qsize() == 100
    assert threading.active_count() == before


def test_every_job_of_many_starters_is_done_once() -> None:
    crew, done = Crew(4, "test"), SimpleQueue[int]()

    def start(first: int) -> None:
        for number in range(first, first + 2000):
            crew.start(lambda number=number: done.put(number))  # type: ignore[misc]
            if number % 7 == 0:
                time.sleep(0)  # so that threads become idle between two jobs

    with ThreadPoolExecutor(4) as starters:
        list(starters.map(start, range(0, 8000, 2000)))
    assert sorted(done.get(timeout=10) for _ in range(8000)) == list(range(8000))
    assert done.empty()
