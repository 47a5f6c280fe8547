"""The listening socket, shared by the workers, and who of them accepts: the one with the fewest connections.

Left to the kernel, one worker takes a whole burst of clients, or SO_REUSEPORT's hash puts them on one worker; clients
that keep connections alive then stay there. Each worker notes its connections in shared memory, and one that has more
than another leaves an arriving connection to it for a moment.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import mmap
import socket
import time
from collections.abc import Callable, Sequence

from app.errors import CannotStart

log = logging.getLogger("fileroom.serve")

BACKLOG = 2048
_DEFERENCE_SECONDS = 0.002
_EXHAUSTED_SECONDS = 0.2
_LINGERING = 100
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-type: application/problem+json\r\ncontent-length: 66\r\n\r\n"
    b'{"type":"about:blank","title":"Too many connections","status":503}'
)


def addresses(host: str, port: int) -> list[tuple[int, str]]:
    """(family, numeric address) of every address that `host` means; raises `CannotStart`."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotStart(f"FILEROOM_HTTP_HOST={host} is no address of this machine: {error.strerror}.") from error
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches `address`."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def listen(host: str, port: int, *, patience: float = 2.0) -> list[socket.socket]:
    """Listening sockets on every address of `host`; waits `patience` seconds for a killed archive's workers to go."""
    deadline = time.monotonic() + patience
    sockets: list[socket.socket] = []
    for family, address in addresses(host, port):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
        while True:
            try:
                listener.bind((address, port or (sockets[0].getsockname()[1] if sockets else 0)))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise CannotStart(_bind_problem(address, port, error)) from error
                time.sleep(0.05)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        sockets.append(listener)
    return sockets


def _bind_problem(address: str, port: int, error: OSError) -> str:
    return (
        f"Cannot listen on {address} port {port}: {error.strerror}.\n"
        f"See who does: ss -ltnp 'sport = :{port}'. Or choose another port: FILEROOM_HTTP_PORT=8081 fileroom serve"
    )


class Board:
    """How many connections each worker has, in memory that the processes share; -1 for one that does not serve."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, max(slots * 4, 1))
        self._counts = memoryview(self._memory).cast("i")[:slots]
        for slot in range(slots):
            self._counts[slot] = -1

    def __setitem__(self, slot: int, count: int) -> None:
        self._counts[slot] = count

    def heavier(self, slot: int) -> bool:
        """Whether another worker that serves has fewer connections."""
        mine = self._counts[slot]
        return any(0 <= count < mine for count in self._counts)


class Acceptor:
    """Accepts for one worker. Has `close` and `wait_closed` as an `asyncio.Server` has."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        heavier: Callable[[], bool],
        is_full: Callable[[], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._make_protocol = make_protocol
        self._heavier = heavier
        self._is_full = is_full
        self._deferred = False
        self._closed = False
        self._lingering = 0
        self._joining: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Begins to accept."""
        if not self._closed:
            for listener in self._sockets:
                self._loop.add_reader(listener.fileno(), self._on_readable, listener)

    def close(self) -> None:
        """Stops accepting."""
        if not self._closed:
            self._stop()
            self._closed = True

    async def wait_closed(self) -> None:
        """Returns at once: the connections are the server's."""

    def _stop(self) -> None:
        for listener in self._sockets:
            self._loop.remove_reader(listener.fileno())

    def _rest(self, seconds: float) -> None:
        self._stop()
        self._loop.call_later(seconds, self.start)

    def _on_readable(self, listener: socket.socket) -> None:
        if not self._deferred and self._heavier():
            self._deferred = True
            self._rest(_DEFERENCE_SECONDS)
            return
        self._deferred = False
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no file descriptors or no memory left
            log.error("cannot accept connections: %s", error.strerror)
            self._rest(_EXHAUSTED_SECONDS)
            return
        connection.setblocking(False)
        if self._is_full():
            self._refuse(connection)
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        joining = self._loop.create_task(self._loop.connect_accepted_socket(self._make_protocol, connection))
        self._joining.add(joining)
        joining.add_done_callback(self._joined)

    def _joined(self, joining: asyncio.Task[object]) -> None:
        self._joining.discard(joining)
        if not joining.cancelled() and (error := joining.exception()) is not None:
            log.debug("a connection went before it was served: %s", type(error).__name__)

    def _refuse(self, connection: socket.socket) -> None:
        """Says 503 and closes a second later, for the client to read it; a flood is closed at once."""
        try:
            connection.send(_BUSY)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        if self._lingering >= _LINGERING:
            connection.close()
            return
        self._lingering += 1
        self._loop.call_later(1.0, self._let_go, connection)

    def _let_go(self, connection: socket.socket) -> None:
        self._lingering -= 1
        connection.close()
