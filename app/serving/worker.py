"""One worker process: the application behind uvicorn, on the sockets and the shared memory that the parent made."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from app.serving.listener import Acceptor, Board
from app.serving.protocol import DeadlineProtocol, Pace, check_all
from app.settings import Settings
from app.telemetry.metrics import Metrics

SWEEP_SECONDS = 0.5
"""Between two looks at the connections while a client is to send or to take something."""
_IDLE_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


@dataclass(frozen=True, slots=True)
class Lifeline:
    """What ties a child to its parent: it is killed with it, and `ready_write` takes a byte when a worker serves."""

    parent: int
    ready_read: int
    ready_write: int

    @classmethod
    def make(cls) -> Lifeline:
        """In the parent."""
        return cls(os.getpid(), *os.pipe2(os.O_CLOEXEC))

    def hold(self, name: str) -> None:
        """In a child: the kernel kills it as soon as the parent is dead, so it never keeps the port from a new one."""
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
        if os.getppid() != self.parent:
            os._exit(1)


@dataclass(frozen=True, slots=True)
class Post:
    """What the parent prepared for its workers."""

    app: Any
    settings: Settings
    metrics: Metrics
    sockets: Sequence[socket.socket]
    board: Board
    lifeline: Lifeline


class DatedState(ServerState):
    """uvicorn's state of a server, whose Date header (RFC 9110 6.6.1) is made by the first answer of a second."""

    _second = 0
    _headers: list[tuple[bytes, bytes]]

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer bears."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._headers = [(b"date", formatdate(second, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: object) -> None:
        """uvicorn gives it a first value."""


class _Server(uvicorn.Server):
    """uvicorn's server, with our listener and protocol, and without its clock, which ticks ten times a second."""

    def __init__(self, config: uvicorn.Config, post: Post, slot: int) -> None:
        super().__init__(config)
        self._post = post
        self._slot = slot
        self._ending = asyncio.Event()
        self.server_state = DatedState()
        settings = post.settings
        self._pace = Pace(settings.header_seconds, settings.body_seconds, settings.body_min_kib * 1024)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Only the parent's SIGTERM counts: Ctrl-C in a terminal reaches every process, and the parent decides."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Serves until SIGTERM."""
        await self._ending.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(uvicorn.config.STARTUP_FAILURE)
        acceptor = Acceptor(
            sockets or [],
            self._make_protocol,
            heavier=lambda: self._post.board.heavier(self._slot),
            is_full=lambda: len(self.server_state.connections) >= self._post.settings.max_connections,
        )
        self.servers = [acceptor]  # type: ignore[list-item]
        self._count()
        acceptor.start()
        loop.call_later(SWEEP_SECONDS, self._sweep)
        self.started = True
        os.write(self._post.lifeline.ready_write, b".")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._post.board[self._slot] = -1
        self._post.app.state.notices.leave()
        await super().shutdown(sockets)

    def _make_protocol(self) -> DeadlineProtocol:
        return DeadlineProtocol(
            pace=self._pace,
            on_count=self._count,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def _count(self) -> None:
        if not self.should_exit:
            self._post.board[self._slot] = len(self.server_state.connections)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        awaited = check_all(self.server_state.connections, loop.time())
        self._post.metrics.tick()
        loop.call_later(SWEEP_SECONDS if awaited else _IDLE_SECONDS, self._sweep)


def run_worker(post: Post, slot: int) -> None:
    """Serves until SIGTERM, then finishes the requests under way within `shutdown_seconds`."""
    post.lifeline.hold(f"fileroom-{slot + 1}")
    post.metrics.use(slot)
    config = uvicorn.Config(
        post.app,
        loop="uvloop",
        http=DeadlineProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=post.settings.idle_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=post.settings.shutdown_seconds,  # type: ignore[arg-type]
    )
    server = _Server(config, post, slot)
    post.metrics.watch("fileroom_http_connections", lambda: len(server.server_state.connections))
    post.metrics.watch("fileroom_process_resident_bytes", _resident_bytes)
    post.metrics.watch("fileroom_process_cpu_seconds_total", time.process_time)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(list(post.sockets)))


def _resident_bytes() -> float:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
