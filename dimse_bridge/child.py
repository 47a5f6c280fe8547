"""A child of the bridge: takes connections from the parent, and serves their associations on one event loop.

Laws: it lives no longer than its parent; at SIGTERM the operations under way are finished, and what does nothing is
aborted; a slot of the board is held from the answer to the request until the connection is over.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from app.telemetry.metrics import Metrics
from dimse_bridge.association.acceptor import Acceptor
from dimse_bridge.association.associate_pdus import AssociateRequest
from dimse_bridge.association.association import Association
from dimse_bridge.association.negotiation import (
    CONGESTION,
    LIMIT_EXCEEDED,
    Acceptance,
    Policy,
    Rejection,
)
from dimse_bridge.board import Board
from dimse_bridge.reception import Reception
from dimse_bridge.remote.door import Door
from dimse_bridge.settings import Listener, Settings
from dimse_bridge.status_port import serve_status
from dimse_bridge.transfers import Transfers

log = logging.getLogger("fileroom.bridge")

READY = b"r"
_GC_THRESHOLDS = 20_000, 20, 20
"""The answers of searches are many small objects without cycles: looking for cycles among them cost a tenth of a
retrieve."""


@dataclass(frozen=True, slots=True)
class Post:
    """What the parent prepared for its children. A connection comes with the number of its listener."""

    settings: Settings
    listeners: Sequence[Listener]
    tls: ssl.SSLContext | None
    board: Board
    metrics: Metrics
    slot: int
    status: socket.socket | None = None
    door: socket.socket | None = None


def run_child(post: Post, number: int, channel: socket.socket) -> None:
    """Serves what comes by `channel` until SIGTERM or the parent's end."""
    post.metrics.use(post.slot + number)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Child(post, number, channel).serve())


class _BoundedAcceptor(Acceptor):
    """An acceptor that counts on the board."""

    def __init__(self, child: _Child, policy: Policy) -> None:
        super().__init__(policy, child.serve_association, child.reception.timeouts)
        self._child = child

    async def judge(self, request: AssociateRequest) -> Acceptance | Rejection:
        """The policy's answer, unless the bridge ends or there are too many associations."""
        if self._child.is_ending:
            return CONGESTION
        answer = await super().judge(request)
        if isinstance(answer, Rejection) or self.closed.done():
            return answer
        board, number = self._child.board, self._child.number
        slot = board.take(number, request.calling)
        if slot is None:
            return LIMIT_EXCEEDED
        self.closed.add_done_callback(lambda _: board.give(number, slot))
        return answer


class _Child:
    def __init__(self, post: Post, number: int, channel: socket.socket) -> None:
        self.board = post.board
        self.number = number
        self.is_ending = False
        self.reception = Reception(post.settings, metrics=post.metrics)
        self._shutdown_seconds = post.settings.shutdown_seconds
        self._channel = channel
        self._tls = post.tls
        self._policies = [self.reception.policy(listener) for listener in post.listeners]
        self._by_tls = [listener.tls for listener in post.listeners]
        self._acceptors: set[Acceptor] = set()
        self._joining: set[asyncio.Task[None]] = set()
        self._metrics = post.metrics
        self._transfers = Transfers(post.settings, self.reception)
        self._status = post.status if number == 0 else None
        self._listens = post.door
        self._door = Door(self.reception, post.settings.remote_token)

    async def serve(self) -> None:
        """Until SIGTERM, then until the last operation is done or the time for it is over."""
        loop = asyncio.get_running_loop()
        ending = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ending.set)
        self._channel.setblocking(False)
        loop.add_reader(self._channel.fileno(), self._take_connection, ending)
        self._channel.send(READY)
        if self._status is not None:
            await serve_status(self._status, self._metrics, self.reception.is_ready)
        if self._listens is not None:
            await self._door.start(self._listens)
        self._transfers.start()
        if self.number == 0:
            self.reception.reports.start()
        await ending.wait()
        loop.remove_reader(self._channel.fileno())
        await self._drain()
        self.reception.close()

    def _take_connection(self, ending: asyncio.Event) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError:
            message, descriptors = b"", []
        if not message:
            ending.set()  # the parent is gone
            return
        if not descriptors:
            self.board.close(self.number)  # no descriptor was left for it: the connection is lost
            return
        joining = asyncio.get_running_loop().create_task(self._join(socket.socket(fileno=descriptors[0]), message[0]))
        self._joining.add(joining)
        joining.add_done_callback(self._joining.discard)

    async def _join(self, connection: socket.socket, listener: int) -> None:
        acceptor = _BoundedAcceptor(self, self._policies[listener])
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop = asyncio.get_running_loop()
            if self._by_tls[listener]:
                seconds = acceptor.timeouts.artim
                await loop.connect_accepted_socket(
                    lambda: acceptor,
                    connection,
                    ssl=self._tls,
                    ssl_handshake_timeout=seconds,
                    ssl_shutdown_timeout=seconds,
                )
            else:
                await loop.connect_accepted_socket(lambda: acceptor, connection)
        except OSError as error:  # ssl.SSLError is one
            connection.close()
            self.board.close(self.number)
            log.info("a connection went before it was an association: %s", type(error).__name__)
            return
        self._acceptors.add(acceptor)
        acceptor.closed.add_done_callback(lambda _: self._left(acceptor))

    def _left(self, acceptor: Acceptor) -> None:
        self._acceptors.discard(acceptor)
        self.board.close(self.number)

    async def serve_association(self, association: Association) -> None:
        """Serves one association to its end."""
        if self.is_ending:
            association.finish()
        await self.reception.serve(association)

    async def _drain(self) -> None:
        self.is_ending = True
        self._door.close()
        for acceptor in tuple(self._acceptors):
            if acceptor.association is not None:
                acceptor.association.finish()
        tasks = [acceptor.task for acceptor in self._acceptors if acceptor.task is not None]
        tasks += [*self._door.tasks, *self._transfers.end(), *self.reception.reports.end()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._shutdown_seconds)
            if late:
                log.warning("%d operations are ended before they are finished", len(late))
            for task in self._door.tasks & late:
                task.cancel()
        for acceptor in tuple(self._acceptors):
            acceptor.abort(0, 0, "the bridge shuts down")
        await asyncio.sleep(0)
