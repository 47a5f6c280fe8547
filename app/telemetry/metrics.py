"""Counters and gauges of all workers, as Prometheus text (exposition format 0.0.4), without a library.

Workers share one piece of memory, made before they are forked. Each writes only to its own slot, so no lock is needed;
whichever worker answers /metrics adds the slots up. A slot is a list of entries: length, key (a line's text before the
value, padded to 8 bytes), value (a double). Counters survive a worker that dies; its gauges go back to zero.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response

SLOT_BYTES = 256 * 1024
FAMILIES = {
    "fileroom_http_requests_total": ("counter", "Requests answered, by method, route and status."),
    "fileroom_http_request_seconds": ("histogram", "Seconds from a request's header to the end of its answer."),
    "fileroom_http_received_bytes_total": ("counter", "Bytes of requests' bodies."),
    "fileroom_http_sent_bytes_total": ("counter", "Bytes of answers' bodies."),
    "fileroom_http_connections": ("gauge", "Open client connections."),
    "fileroom_stores_total": ("counter", "Instances that came to Store, by outcome."),
    "fileroom_dimse_associations": ("gauge", "DIMSE associations under way."),
    "fileroom_dimse_associations_total": ("counter", "DIMSE associations asked for, by peer and outcome."),
    "fileroom_dimse_messages_total": ("counter", "DIMSE requests answered, by service and peer."),
    "fileroom_dimse_seconds_total": ("counter", "Seconds that answering them took."),
    "fileroom_dimse_received_bytes_total": ("counter", "Bytes that came meanwhile."),
    "fileroom_dimse_sent_bytes_total": ("counter", "Bytes of messages that left meanwhile."),
    "fileroom_corrupt_reads_total": ("counter", "Reads whose bytes did not match their checksum."),
    "fileroom_catalog_connections": ("gauge", "Connections to PostgreSQL, by state."),
    "fileroom_storage_free_bytes": ("gauge", "Free space where the blobs are."),
    "fileroom_storage_suspect": ("gauge", "Workers whose last writes failed; with one, the archive is not ready."),
    "fileroom_process_resident_bytes": ("gauge", "Resident memory of the workers; pages that they share count twice."),
    "fileroom_process_cpu_seconds_total": ("counter", "CPU time of the workers."),
    "fileroom_process_restarts_total": ("counter", "Processes of the archive that ended and were started again."),
}
_COUNTED = ("_total", "_bucket", "_sum", "_count")


@lru_cache(maxsize=1024)
def line(name: str, **labels: str) -> str:
    """A line's text before its value."""
    pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}" if pairs else name


class Slot:
    """One process's values, by index; an index stays valid. Index 0 takes what finds no room, and is never shown."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._words = memory.cast("Q")
        self.values = memory.cast("d")
        self._indexes = dict(self._entries())
        self._end = self._words[1] or 16

    def index(self, key: str) -> int:
        """Where the value of a line is; makes the line."""
        found = self._indexes.get(key)
        return self._append(key) if found is None else found

    def add(self, key: str, value: float = 1.0) -> None:
        """Adds to the value of a line."""
        self.values[self.index(key)] += value

    def set(self, key: str, value: float) -> None:
        """Sets the value of a line."""
        self.values[self.index(key)] = value

    def read(self) -> Iterator[tuple[str, float]]:
        """Every line's text and value."""
        for key, index in self._entries():
            yield key, self.values[index]

    def forget_gauges(self) -> None:
        """Before another process takes the slot over."""
        for key, index in self._entries():
            if not key.partition("{")[0].endswith(_COUNTED):
                self.values[index] = 0.0

    def _append(self, key: str) -> int:
        text = key.encode()
        start = self._end
        index = (start + 8 + len(text) + 7) // 8
        if (index + 1) * 8 > len(self._memory):
            return 0
        self._words[start // 8] = len(text)
        self._memory[start + 8 : start + 8 + len(text)] = text
        self.values[index] = 0.0
        self._end = self._words[1] = (index + 1) * 8  # last, since readers of other processes go by it
        self._indexes[key] = index
        return index

    def _entries(self) -> Iterator[tuple[str, int]]:
        position, end = 16, self._words[1]
        while position < end:
            length = self._words[position // 8]
            index = (position + 8 + length + 7) // 8
            yield bytes(self._memory[position + 8 : position + 8 + length]).decode(), index
            position = (index + 1) * 8


class Metrics:
    """The values of every process. `own` is this process's slot: the first one until `use` chooses another."""

    def __init__(self, slots: int = 1) -> None:
        memory = memoryview(mmap.mmap(-1, slots * SLOT_BYTES))
        self._memory = [memory[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] for slot in range(slots)]
        self._gauges: dict[str, Callable[[], float]] = {}
        self._shared: dict[str, Callable[[], float]] = {}
        self.own = Slot(self._memory[0])

    def use(self, slot: int) -> None:
        """In a new process, before it counts anything."""
        self.own = Slot(self._memory[slot])
        self.own.forget_gauges()

    def watch(self, key: str, value: Callable[[], float], *, shared: bool = False) -> None:
        """A gauge that `tick` reads; or, when it is the same for all processes, the one that answers /metrics."""
        (self._shared if shared else self._gauges)[key] = value

    def tick(self) -> None:
        """Takes the gauges of this process; called every two seconds, or more often."""
        for key, value in self._gauges.items():
            self.own.set(key, value())

    def totals(self) -> dict[str, float]:
        """Every line's value over all processes."""
        self.tick()
        totals: dict[str, float] = {}
        for memory in self._memory:
            for key, value in Slot(memory).read():
                totals[key] = totals.get(key, 0.0) + value
        return totals

    def render(self) -> str:
        """The whole exposition."""
        totals = self.totals()
        totals |= {key: value() for key, value in self._shared.items()}
        lines = []
        for name, (kind, summary) in FAMILIES.items():
            lines += [f"# HELP {name} {summary}", f"# TYPE {name} {kind}"]
            family = {key: value for key, value in totals.items() if _family(key) == name}
            lines += [f"{key} {value:g}" if value < 1e6 else f"{key} {value:.17g}" for key, value in _added(family)]
        return "\n".join(lines) + "\n"

    async def endpoint(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(self.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _family(key: str) -> str:
    name = key.partition("{")[0]
    if name in FAMILIES:
        return name
    return name.rpartition("_")[0]


def _added(family: dict[str, float]) -> Iterator[tuple[str, float]]:
    """The lines of a family; buckets, which are kept apart, each with what is in the smaller ones."""
    series, total = "", 0.0
    for key, value in family.items():
        before_le, le, _ = key.partition(',le="')
        if not le:
            yield key, value
            continue
        total = total + value if before_le == series else value
        series = before_le
        yield key, total
