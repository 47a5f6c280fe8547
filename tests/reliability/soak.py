"""`make soak` (R13): hours of stores, reads and deletes in minutes, with the sweeper's clock sped up.

Memory, descriptors and connections must stay level after the warm-up, latency steady, and no orphan outlive its grace
period. The load rests between requests so that the archive is busy, not overrun. `--minutes` says how long."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.archive import RunningArchive, start_archive
from tests.support.ledger import Ledger, Oracle
from tests.support.load import Load

SAMPLE_SECONDS = 5.0
WARM_UP = 0.25
"""Share of the time that does not count."""
MEMORY_SLOPE_MIB = 1.0
DESCRIPTOR_SLOPE = 0.5
LATENCY_DRIFT = 1.2
FAST_CLOCK = {"FILEROOM_SWEEP_SECONDS": "20", "FILEROOM_ORPHAN_HOURS": "0.01", "FILEROOM_UNDO_HOURS": "0.02"}


@dataclass(frozen=True, slots=True)
class Moment:
    """What was measured at one time, in seconds since the start. Memory counts shared pages once."""

    at: float
    memory_mib: float
    descriptors: int
    stores: int
    p99_ms: float


def measure(archive: RunningArchive, load: Load, begun: float, counted: int) -> Moment:
    """The archive now; latency is of the stores since the last measurement, of which there were `counted` before."""
    memory, descriptors = 0, 0
    for process in archive.processes():
        try:
            memory += process.memory_full_info().pss
            descriptors += process.num_fds() if "postgres" not in process.name() else 0
        except psutil.NoSuchProcess:
            continue
    recent = sorted(load.latencies[counted:]) or [0.0]
    p99 = recent[int(len(recent) * 0.99)] * 1000
    return Moment(time.monotonic() - begun, memory / (1 << 20), descriptors, len(load.latencies), p99)


def slope(moments: list[Moment], what: str) -> float:
    """Change a minute, by a straight line through the moments."""
    times = [moment.at / 60 for moment in moments]
    return statistics.linear_regression(times, [float(getattr(moment, what)) for moment in moments]).slope


def judge(moments: list[Moment]) -> list[str]:
    """What is wrong."""
    settled = [moment for moment in moments if moment.at > moments[-1].at * WARM_UP]
    half = len(settled) // 2
    early = statistics.median(moment.p99_ms for moment in settled[:half])
    late = statistics.median(moment.p99_ms for moment in settled[half:])
    verdicts = {
        f"memory grows by {slope(settled, 'memory_mib'):.2f} MiB a minute": slope(settled, "memory_mib")
        > MEMORY_SLOPE_MIB,
        f"descriptors grow by {slope(settled, 'descriptors'):.2f} a minute": slope(settled, "descriptors")
        > DESCRIPTOR_SLOPE,
        f"p99 of stores went from {early:.1f} to {late:.1f} ms": late > early * LATENCY_DRIFT,
    }
    for text, wrong in verdicts.items():
        print(("WRONG " if wrong else "fine  ") + text)
    return [text for text, wrong in verdicts.items() if wrong]


def soak(minutes: float, folder: Path) -> list[str]:
    """Runs the load and watches; what is wrong. Raises `Violation` when a promise was broken."""
    archive = start_archive(folder / "data", **FAST_CLOCK)  # type: ignore[arg-type]
    try:
        ledger = Ledger(folder / "ledger.jsonl")
        load = Load(archive.port, ledger, seed=1, writers=4, readers=2, pause=0.02)
        moments: list[Moment] = []
        with load.running():
            begun = time.monotonic()
            while time.monotonic() < begun + minutes * 60:
                time.sleep(SAMPLE_SECONDS)
                moments.append(measure(archive, load, begun, moments[-1].stores if moments else 0))
                print(moments[-1], flush=True)
        findings = Oracle(archive, ledger).check()
        print(f"{ledger.acknowledged} acknowledged, {load.reads} reads, {findings}")
        return judge(moments)
    finally:
        archive.stop()


def main() -> int:
    """The exit status: 0 when all is level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fileroom-soak-") as folder:
        return 1 if soak(options.minutes, Path(folder)) else 0


if __name__ == "__main__":
    sys.exit(main())
