"""The bridge's listening sockets, which are opened before its processes start: a port that is taken ends the start with
a word about it, and a bridge that is started again misses no call."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from app.errors import CannotStart
from dimse_bridge.settings import Listener, Settings, addresses

BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening, non-blocking socket, and who answers there."""

    socket: socket.socket
    listener: Listener

    @property
    def port(self) -> int:
        """The port, which the system chose when the settings say 0."""
        return int(self.socket.getsockname()[1])


def bind(settings: Settings, *, patience: float = 2.0) -> list[Bound]:
    """Listens wherever the settings say; waits `patience` seconds for a killed bridge to go. Raises `CannotStart`."""
    deadline = time.monotonic() + patience
    return [
        Bound(_listen(family, address, listener.port, deadline, alone=listener.host != "::"), listener)
        for listener in settings.listeners
        for family, address in addresses(listener.host)
    ]


def _listen(family: int, address: str, port: int, deadline: float, *, alone: bool) -> socket.socket:
    """`alone`: an IPv6 socket takes no IPv4 calls."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(alone))
    while True:
        try:
            listener.bind((address, port))
            break
        except OSError as error:
            if time.monotonic() > deadline:
                listener.close()
                raise CannotStart(_problem(address, port, error)) from error
            time.sleep(0.05)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _problem(address: str, port: int, error: OSError) -> str:
    return (
        f"Cannot listen for DIMSE on {address} port {port}: {error.strerror}.\n"
        f"See who does: ss -ltnp 'sport = :{port}'. Or choose another port, FILEROOM_DIMSE_PORT=11113; with 0 "
        "`fileroom serve` goes without DIMSE."
    )
