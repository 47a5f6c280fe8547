"""Rung after a commit that makes work for the jobs, and heard by the job process of the same machine: so that it need
not ask the catalog all the time, and a store need not NOTIFY, which would let commits wait for each other.

A ring can be missed: of another node, of a command, or of a process that was killed behind its commit. Whoever waits
looks again after some seconds anyway."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

DEAF_SECONDS = 0.5
"""After it was heard, a shared bell is not listened to for so long: a thousand stores a second wake nobody each."""


class Bell:
    """A bell of one process; or, when it is `shared`, of this process and all that are forked from it, as long as they
    live. Its watchers are of one process and one event loop."""

    def __init__(self, *, shared: bool = False) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if shared else -1
        self._watchers: set[asyncio.Event] = set()
        self._deaf: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """Says that there is something new in the catalog. Costs a microsecond."""
        if self._descriptor < 0:
            self._sound()
        else:
            os.eventfd_write(self._descriptor, 1)

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set at each ring; whoever waits for it clears it before looking."""
        event = asyncio.Event()
        if not self._watchers:
            self._listen()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)
            if not self._watchers:
                self._leave()

    def close(self) -> None:
        """Gives the descriptor of a shared bell back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _sound(self) -> None:
        for event in self._watchers:
            event.set()

    def _listen(self) -> None:
        self._deaf = None
        if self._descriptor >= 0:
            asyncio.get_running_loop().add_reader(self._descriptor, self._hear)

    def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        os.eventfd_read(self._descriptor)
        loop.remove_reader(self._descriptor)
        self._deaf = loop.call_later(DEAF_SECONDS, self._listen)
        self._sound()

    def _leave(self) -> None:
        if self._deaf is not None:
            self._deaf.cancel()
            self._deaf = None
        elif self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)


async def await_ring(event: asyncio.Event, seconds: float) -> None:
    """Returns at the next ring since `event` was cleared, at the latest after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
