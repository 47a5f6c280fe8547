"""R6: the order of a store, as the kernel saw it: each sync returns, then the transaction is sent, then the answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.blobs.keys import folder
from tests.support.archive import RunningArchive
from tests.support.dicomweb import Client
from tests.support.ledger import Violation
from tests.support.samples import Sample, new_sample
from tests.support.syscalls import Call, traced

SYNCS = ("fsync", "fdatasync")
SENDS = ("write", "writev", "sendto", "sendmsg", "sendmmsg")


def may_trace() -> bool:
    """Whether one may trace a process that is not one's child."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    free = not scope.exists() or scope.read_text().strip() == "0"
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return shutil.which("strace") is not None and (free or bool(effective >> 19 & 1))


def trace_store(archive: RunningArchive, log: Path, content: bytes) -> list[Call]:
    """The system calls of one store."""
    client = Client(archive.port)
    with traced([worker.pid for worker in archive.workers()], log) as calls:
        assert client.store(content).status == 200
    return calls


def check_order(calls: list[Call], blobs: Path, sample: Sample, parents: list[Path]) -> None:
    """Raises `Violation` unless file, journal, folder and `parents` were synced before the transaction was sent, and
    that before the answer."""
    study = blobs / folder(sample.study)
    series = study / sample.series
    sent = _first(calls, lambda call: _is_sent_to_postgres(call) and sample.study in call.text, "no transaction sent")
    answered = _first(calls, lambda call: call.name in SENDS and "HTTP/1.1 200" in call.text, "no answer was sent")
    if answered < sent:
        raise Violation("the answer left before the transaction")
    synced = {Path(call.place) for call in calls[:sent] if call.name in SYNCS and not call.failed}
    file = next((path for path in synced if path.parent == series and path.name.startswith(f"{sample.sop}~")), None)
    if file is None:
        raise Violation("the file was not synced before the transaction was sent")
    missing = {study / "journal.jsonl", series, *parents} - synced
    if missing:
        raise Violation(f"not synced before the transaction was sent: {sorted(map(str, missing))}")
    written = [at for at, call in enumerate(calls) if call.name in ("write", "writev") and call.place == str(file)]
    at_sync = _first(calls, lambda call: call.name in SYNCS and call.place == str(file), "the file was not synced")
    if not written or written[-1] > at_sync:
        raise Violation("the file was written after it was synced")


def _is_sent_to_postgres(call: Call) -> bool:
    return call.name in SENDS and (".s.PGSQL" in call.place or "UNIX" in call.place)


def _first(calls: list[Call], fits: Callable[[Call], bool], otherwise: str) -> int:
    for at, call in enumerate(calls):
        if fits(call):
            return at
    raise Violation(otherwise)


needs_ptrace = pytest.mark.skipif(
    not may_trace(), reason="needs strace and root, or kernel.yama.ptrace_scope=0: it traces running workers"
)


@needs_ptrace
@pytest.mark.parametrize("rows", [32, 60_000], ids=["short", "long"])
def test_G01_every_sync_returns_before_the_transaction_is_sent(
    battered: RunningArchive, tmp_path: Path, rows: int
) -> None:
    battered.wait_ready()
    blobs = battered.data.resolve() / "blobs"
    sample = new_sample(rows=rows)
    shelf = (blobs / folder(sample.study)).parent
    calls = trace_store(battered, tmp_path / "first", sample.encode())
    check_order(calls, blobs, sample, [shelf / sample.study, shelf, blobs])
    neighbour = new_sample(sample.study, rows=rows)
    calls = trace_store(battered, tmp_path / "second", neighbour.encode())
    check_order(calls, blobs, neighbour, [])
