"""What the bridge counts: associations, and messages with their bytes and times, by service and registered peer."""

from __future__ import annotations

import time

from app.telemetry.metrics import Metrics, line
from dimse_bridge.association.commands import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_EVENT_REPORT_RQ,
    N_GET_RQ,
    N_SET_RQ,
)

SERVICES = {
    C_ECHO_RQ: "echo",
    C_STORE_RQ: "store",
    C_FIND_RQ: "find",
    C_GET_RQ: "get",
    C_MOVE_RQ: "move",
    N_CREATE_RQ: "mpps",
    N_SET_RQ: "mpps",
    N_GET_RQ: "mpps",
    N_ACTION_RQ: "commitment",
    N_EVENT_REPORT_RQ: "commitment",
}
UNREGISTERED = "(not registered)"
"""Stands for all calling AE titles that nobody registered: they could be as many as a caller likes."""


class Counts:
    """The counters of one process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._indexes: dict[tuple[str, str], tuple[int, int, int, int]] = {}
        self._open = 0

    def opened(self, peer: str) -> None:
        """An association was accepted."""
        self._change(1)
        self._metrics.own.add(line("fileroom_dimse_associations_total", peer=_label(peer), outcome="accepted"))

    def closed(self) -> None:
        """An association ended."""
        self._change(-1)

    def _change(self, by: int) -> None:
        self._open += by
        self._metrics.own.set("fileroom_dimse_associations", self._open)

    def rejected(self) -> None:
        """An association was rejected."""
        self._metrics.own.add(line("fileroom_dimse_associations_total", peer=UNREGISTERED, outcome="rejected"))

    def message(self, service: str, peer: str, seconds: float, received: int, sent: int) -> None:
        """A request was answered."""
        messages, times, incoming, outgoing = self._indexes.get((service, peer)) or self._new(service, peer)
        values = self._metrics.own.values
        values[messages] += 1
        values[times] += seconds
        values[incoming] += received
        values[outgoing] += sent

    def _new(self, service: str, peer: str) -> tuple[int, int, int, int]:
        messages, seconds, received, sent = (
            self._metrics.own.index(line(f"fileroom_dimse_{name}_total", service=service, peer=_label(peer)))
            for name in ("messages", "seconds", "received_bytes", "sent_bytes")
        )
        found = self._indexes[service, peer] = (messages, seconds, received, sent)
        return found


class Account:
    """What one association did, for the line in the log when it ends."""

    __slots__ = ("_counts", "_peer", "answered", "started")

    def __init__(self, counts: Counts, peer: str) -> None:
        self._counts = counts
        self._peer = peer
        self.started = time.perf_counter()
        self.answered: dict[str, int] = {}

    def note(self, service: str, seconds: float, received: int, sent: int) -> None:
        """A request was answered."""
        self.answered[service] = self.answered.get(service, 0) + 1
        self._counts.message(service, self._peer, seconds, received, sent)

    def fields(self) -> dict[str, object]:
        """For the log."""
        return {
            "service": ",".join(f"{service}:{count}" for service, count in self.answered.items()),
            "seconds": round(time.perf_counter() - self.started, 3),
        }


def _label(peer: str) -> str:
    """`peer` as a value between quotes in Prometheus' text."""
    return peer.replace("\\", "\\\\").replace('"', '\\"')
