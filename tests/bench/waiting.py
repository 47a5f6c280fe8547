"""Does a queue of 100,000 waiting transfers slow a store? Two archives, one with and one without them, store in turn.

    python -m tests.bench.waiting [TRANSFERS [RESULTS.jsonl]]

Half of the transfers wait for a DICOMweb server that is not there, half for a DIMSE peer. The figure is the CPU time of all
processes, PostgreSQL's included, for one instance; it includes what they do meanwhile for the queue."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import httpx
import psutil

from app.catalog.embedded import database
from tests.support.archive import RunningArchive, free_port
from tests.support.bridge import start_both
from tests.support.samples import Sample, new_token, new_uid

INSTANCES = 400
ROUNDS = 8
TARGET = 1.1
_FILL = """
WITH made AS (
    INSERT INTO job (queue, destination, origin, most_tries, payload, total)
    SELECT CASE n % 2 WHEN 0 THEN 'stow' ELSE 'dimse' END, CASE n % 2 WHEN 0 THEN 'away' ELSE 'AWAY' END, 'bench', 10,
           '{"echo": true}', 1
      FROM generate_series(1, $4) AS n
    RETURNING id
)
INSERT INTO job_instance (job_id, at, study_uid, series_uid, sop_uid) SELECT id, 1, $1, $2, $3 FROM made
"""


def cpu_of(archive: RunningArchive) -> float:
    """CPU seconds of all processes of an archive so far."""
    total = 0.0
    roots = (psutil.Process(archive.pid), psutil.Process(archive.postmaster()))
    for process in {one for root in roots for one in (root, *root.children(recursive=True))}:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def store(archive: RunningArchive, count: int) -> Sample:
    """Stores small instances one after the other, in studies of ten; the last one."""
    connection = http.client.HTTPConnection("127.0.0.1", archive.port, timeout=60)
    samples = []
    for _ in range(count // 10):
        study, series = new_uid(), new_uid()
        samples += [Sample(study, series, new_uid(), new_token()) for _ in range(10)]
    for one in samples:
        connection.request("POST", "/dicom-web/studies", one.encode(), {"Content-Type": "application/dicom"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    connection.close()
    return samples[-1]


async def fill(url: str, one: Sample, count: int) -> None:
    """Has so many transfers wait."""
    connection = await asyncpg.connect(url)
    await connection.execute(_FILL, one.study, one.series, one.sop, count)
    await connection.execute("ANALYZE job")
    await connection.close()


async def waiting(url: str) -> int:
    """How many transfers have not ended."""
    connection = await asyncpg.connect(url)
    found: int = await connection.fetchval("SELECT count(*) FROM job WHERE state < 2")
    await connection.close()
    return found


def start(stack: ExitStack, folder: Path) -> RunningArchive:
    """An archive with its bridge, that knows where the transfers go."""
    archive, _ = start_both(folder, FILEROOM_WORKERS="1", FILEROOM_DIMSE_WORKERS="1")
    stack.callback(archive.stop)
    away = {"url": f"http://127.0.0.1:{free_port()}/dicom-web"}
    httpx.put(f"{archive.url}/destinations/away", json=away).raise_for_status()
    httpx.put(f"{archive.url}/peers/AWAY", json={"host": "127.0.0.1", "port": free_port()}).raise_for_status()
    store(archive, INSTANCES)  # what only the first ones cost
    return archive


def measure(archive: RunningArchive) -> float:
    """CPU milliseconds of the archive for one instance."""
    before = cpu_of(archive)
    store(archive, INSTANCES)
    return (cpu_of(archive) - before) / INSTANCES * 1e3


def main() -> int:
    """Measures and says whether the target is met."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="waiting-") as name, ExitStack() as stack:
        folder = Path(name)
        empty, full = (start(stack, folder / one) for one in ("empty", "full"))
        url = stack.enter_context(database("", folder / "full"))
        asyncio.run(fill(url, store(full, 10), count))
        rounds = [(measure(empty), measure(full)) for _ in range(ROUNDS)]
        left = asyncio.run(waiting(url))
    assert left == count, left
    without, with_them = (statistics.median(one) for one in zip(*rounds, strict=True))
    ratio = statistics.median(after / before for before, after in rounds)
    print(f"CPU ms an instance: {without:.3f} with an empty queue, {with_them:.3f} with {count} waiting transfers")
    print(f"median of the ratios {ratio:.3f}, wanted at most {TARGET}")
    if len(sys.argv) > 2:
        row = {"peer": "fileroom", "workload": "stow_waiting_transfers", "unit": "x", "status": "ok", "median": ratio}
        with Path(sys.argv[2]).open("a", encoding="utf8") as out:
            out.write(json.dumps(row | {"without_ms": without, "with_ms": with_them, "transfers": count}) + "\n")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
