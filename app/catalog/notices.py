"""Being told by the catalog that there is something new (LISTEN), so that nobody needs to ask all the time.

A notice can be lost when the connection breaks: whoever waits looks again after some seconds anyway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

QUEUE = "fileroom_queue"
CHANGES = "fileroom_changes"
_CHANNELS = (QUEUE, CHANGES)
_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Notices:
    """What one process hears by one connection, made when somebody first listens and again after it broke."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._watches: dict[str, set[asyncio.Event]] = {channel: set() for channel in _CHANNELS}
        self._connection: Any = None
        self._lock = asyncio.Lock()
        self.is_leaving = False

    @asynccontextmanager
    async def watch(self, channel: str) -> AsyncIterator[Watch]:
        """Listens to `channel` from now on."""
        event = asyncio.Event()
        self._watches[channel].add(event)
        try:
            await self.listen()
            yield Watch(self, event)
        finally:
            self._watches[channel].discard(event)

    async def listen(self) -> None:
        """Makes the connection unless it is there. Nothing is raised when it cannot be had."""
        async with self._lock:
            if self._connection is not None and not self._connection.is_closed():
                return
            with contextlib.suppress(*_ERRORS, TimeoutError):
                connection: Any = await asyncpg.connect(self._url, timeout=5)
                for channel in _CHANNELS:
                    await connection.add_listener(channel, self._heard)
                connection.add_termination_listener(self._broken)
                self._connection = connection

    def _heard(self, connection: object, pid: int, channel: str, payload: object) -> None:
        for event in self._watches[channel]:
            event.set()

    def _broken(self, connection: object) -> None:
        """What was not heard meanwhile is looked for."""
        for events in self._watches.values():
            for event in events:
                event.set()

    def leave(self) -> None:
        """Lets nobody wait any more: the process ends."""
        self.is_leaving = True
        self._broken(self._connection)

    async def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.terminate()


class Watch:
    """One who listens."""

    def __init__(self, notices: Notices, event: asyncio.Event) -> None:
        self._notices = notices
        self._event = event

    async def wait(self, seconds: float) -> None:
        """Returns after the next notice since the last `wait`, at the latest after `seconds`."""
        await self._notices.listen()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
