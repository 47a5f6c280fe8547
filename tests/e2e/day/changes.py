"""Who hears of changes: a reader of the feed who keeps a cursor, and goes on from there whenever the archive comes
back; and a receiver of webhooks in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx

from tests.support.receiver import Receiver


class Follower:
    """Follows the feed of the archive at `url` by Server-Sent Events from its beginning."""

    def __init__(self, url: str) -> None:
        self.told: list[dict[str, Any]] = []
        self._url = url
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()

    def wait_for(self, event: int, seconds: float = 60) -> None:
        """Returns when it has been told of this event."""
        deadline = time.monotonic() + seconds
        while not self.told or self.told[-1]["id"] < event:
            assert time.monotonic() < deadline, f"told up to {self.told[-1:]}, not {event}"
            time.sleep(0.05)

    def _follow(self) -> None:
        with httpx.Client(base_url=self._url, timeout=1) as client:
            while not self._is_over.wait(0.1):
                try:
                    self._read(client)
                except httpx.TransportError:
                    continue

    def _read(self, client: httpx.Client) -> None:
        """Reads until the connection ends, or has been silent for a second."""
        after = self.told[-1]["id"] if self.told else 0
        headers = {"Accept": "text/event-stream"}
        with client.stream("GET", "/changes", params={"after": after}, headers=headers) as answer:
            if answer.status_code != 200:
                return
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    self.told.append(json.loads(line[6:]))
                if self._is_over.is_set():
                    return


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that takes messages until the block ends."""
    receiver, loop = Receiver(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listening = receiver.listening()
    try:
        asyncio.run_coroutine_threadsafe(listening.__aenter__(), loop).result(30)
        yield receiver
        asyncio.run_coroutine_threadsafe(listening.__aexit__(None, None, None), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
