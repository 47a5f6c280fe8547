"""Waiting for a condition, with a deadline that only a fault meets: a fixed pause is too short on a busy machine."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0
"""Seconds after which what was waited for is taken not to come."""
_PAUSE = 0.02
_ESTABLISHED = "01"


def until(is_so: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Returns as soon as it is so; fails with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(_PAUSE)


async def soon(is_so: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """As `until`, while others work."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(_PAUSE)


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port of the loopback address."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def has_read_all(server: int, client: int) -> bool:
    """Whether a process that listens on port `server` of the loopback address has accepted the connection from port
    `client` and read all that arrived. A connection that waits to be accepted has no inode."""
    ends = f"0100007F:{server:04X}", f"0100007F:{client:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[2]) == ends:
            return fields[3] == _ESTABLISHED and fields[9] != "0" and fields[4].endswith(":00000000")
    return False
