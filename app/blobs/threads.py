"""Threads for blocking file work, and hops to them that cost little: no second future, no lock made for each job, and a
job wakes one thread only. (A queue's lock wakes each waiting thread in turn, and all but one find nothing to do.)"""

from __future__ import annotations

import asyncio
import threading
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Crew:
    """`count` daemon threads, started at the first job, so that an instance may be made before a fork. The thread that
    became idle last works first: its caches are warm."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._idle: list[LockType] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._starting = allocate_lock()

    def start(self, job: Callable[[], None]) -> None:
        """Has `job` done, which must not raise."""
        if not self._threads:
            self._begin()
        self._jobs.append(job)
        try:
            self._idle.pop().release()
        except IndexError:
            return  # all are at work, and look at the jobs before they rest

    def _begin(self) -> None:
        with self._starting:
            if self._threads:
                return
            threads = [
                threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
                for number in range(self._count)
            ]
            for thread in threads:
                thread.start()
            self._threads = threads

    def close(self) -> None:
        """Waits until what was started is done, and ends the threads. Nothing may be started any more."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().release()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        asleep = allocate_lock()
        asleep.acquire()
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                if self._closed:
                    return
                self._rest(asleep)
                continue
            job()
            del job

    def _rest(self, asleep: LockType) -> None:
        """Waits to be woken. What came since the last look, a job or the end, finds this thread idle or is found."""
        self._idle.append(asleep)
        if self._jobs or self._closed:
            try:
                self._idle.remove(asleep)
            except ValueError:
                pass  # it is being woken already
            else:
                return
        asleep.acquire()


class Threads:
    """A crew that serves one event loop."""

    def __init__(self, count: int, name: str) -> None:
        self._crew = Crew(count, name)
        self.close = self._crew.close

    def run(self, function: Callable[[Unpack[_Ts]], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Runs `function` in a thread. The job goes on when the returned future is cancelled."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._crew.start(lambda: _do(loop, partial(_settle, future), function, args))
        return future

    def tell(
        self, ended: Callable[[BaseException | None], object], function: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None:
        """Runs `function` in a thread, then `ended` in the loop with what it raised: a future, of which nobody would
        wait for the result, is spared."""
        loop = asyncio.get_running_loop()
        self._crew.start(lambda: _do(loop, lambda _, error: ended(error), function, args))


def _do(
    loop: asyncio.AbstractEventLoop,
    ended: Callable[[Any, BaseException | None], object],
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    result, error = None, None
    try:
        result = function(*args)
    except BaseException as raised:  # noqa: BLE001 - handed to whoever waits
        error = raised
    try:
        loop.call_soon_threadsafe(ended, result, error)
    except RuntimeError:
        pass  # the loop was closed: nobody waits any more
    finally:
        del error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
