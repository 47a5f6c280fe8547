"""The DIMSE bridge: `run` listens, starts the processes and ends them in order (PS3.8 over TCP and TLS)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from pathlib import Path

from app.telemetry.metrics import Metrics
from dimse_bridge.board import Board
from dimse_bridge.child import Post, run_child
from dimse_bridge.listening import Bound, bind
from dimse_bridge.parent import Parent
from dimse_bridge.peers import read_file
from dimse_bridge.settings import Settings, check_exposure
from dimse_bridge.status_port import bind_status
from dimse_bridge.tls import server_context

log = logging.getLogger("fileroom.bridge")


def run(
    settings: Settings,
    bound: Sequence[Bound] | None = None,
    *,
    metrics: Metrics | None = None,
    slot: int = 0,
    door: socket.socket | None = None,
) -> int:
    """Serves until SIGTERM, SIGINT or SIGHUP; the exit status. `bound` and `door` are sockets that listen already; each
    worker counts into a slot of `metrics`, from `slot` on. Raises `CannotStart`. Called in the main thread of a process
    without other threads, since it forks."""
    check_exposure(settings)
    if settings.dimse_peers:
        read_file(Path(settings.dimse_peers))  # said once, not by each process
    tls = server_context(settings) if settings.dimse_tls_port else None
    sockets = bind(settings) if bound is None else bound
    count = settings.worker_count
    board = Board(count, settings.dimse_max_associations, settings.dimse_max_peer_associations)
    status = bind_status(settings.dimse_status) if settings.dimse_status else None
    if door is None and settings.dimse_remote:
        door = bind_status(settings.dimse_remote, "FILEROOM_DIMSE_REMOTE")
    post = Post(settings, [one.listener for one in sockets], tls, board, metrics or Metrics(count), slot, status, door)
    parent = Parent(
        sockets,
        board,
        lambda number, channel: run_child(post, number, channel),
        children=count,
        most=settings.dimse_max_associations,
        on_ready=lambda: _tell(sockets),
    )
    served = parent.serve()
    parent.end(settings.shutdown_seconds)
    return 0 if served else 1


def _tell(sockets: Sequence[Bound]) -> None:
    for one in sockets:
        titles = ", ".join(ae.aet for ae in one.listener.aes)
        kind = "DIMSE over TLS" if one.listener.tls else "DIMSE"
        log.info("%s on %s port %d as %s", kind, one.socket.getsockname()[0], one.port, titles)
