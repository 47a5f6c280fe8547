"""Threads for blocking file work. A hop costs half of the standard executor's: no second future, no lock is made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, TypeVarTuple, Unpack

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Threads:
    """`count` daemon threads, started at the first job, so that an instance may be made before a fork."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._started = False

    def run(self, function: Callable[[Unpack[_Ts]], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Runs `function` in a thread. The job goes on when the returned future is cancelled."""
        if not self._started:
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._jobs.put((loop, future, function, args))
        return future

    def _start(self) -> None:
        self._started = True
        for number in range(self._count):
            threading.Thread(target=_work, args=(self._jobs,), name=f"{self._name}-{number}", daemon=True).start()


def _work(jobs: SimpleQueue[_Job]) -> None:
    while True:
        loop, future, function, args = jobs.get()
        result, error = None, None
        try:
            result = function(*args)
        except BaseException as raised:  # noqa: BLE001 - handed to the coroutine that waits
            error = raised
        try:
            loop.call_soon_threadsafe(_settle, future, result, error)
        except RuntimeError:
            continue  # the loop was closed: nobody waits any more
        finally:
            del loop, future, function, args, result, error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
