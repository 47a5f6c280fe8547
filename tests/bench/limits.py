#!/usr/bin/env python3
"""limits.py CORPUS : how far the physical limit is, on this machine, right now.

CPU milliseconds of the server for: nginx sending the same CT file, a new file written and synced (10 kB and CT), and one
indexed select from a table of 2,500 rows over a unix socket. Needs nginx, wrk and the embedded PostgreSQL."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import psutil

from app.catalog.embedded import Embedded

SECONDS = 3
PORT = 14390


def cpu_of(pids: list[int]) -> float:
    """CPU seconds of processes and their children so far."""
    total = 0.0
    for pid in pids:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            times = process.cpu_times()
            total += times.user + times.system
    return total


def nginx(file: Path, work: Path) -> float:
    """CPU ms a request of nginx that sends `file` from the page cache."""
    shutil.copy(file, work / "file.dcm")
    (work / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {work}/pid; error_log /dev/null; user root; events {{}}\n"
        f"http {{ access_log off; sendfile on; keepalive_requests 1000000;\n"
        f"server {{ listen 127.0.0.1:{PORT}; root {work}; }} }}\n"
    )
    server = subprocess.Popen(["nginx", "-c", str(work / "nginx.conf"), "-p", str(work)], stderr=subprocess.DEVNULL)
    time.sleep(1)
    before = cpu_of([server.pid])
    out = subprocess.run(
        ["wrk", "-t1", "-c1", f"-d{SECONDS}s", f"http://127.0.0.1:{PORT}/file.dcm"], capture_output=True, text=True
    ).stdout
    spent = cpu_of([server.pid]) - before
    server.terminate()
    server.wait()
    return spent / int(out.split(" requests in")[0].split()[-1]) * 1e3


def synced_file(data: bytes, work: Path, count: int) -> tuple[float, float]:
    """CPU ms and wall ms to write `data` to a new file and sync it."""
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for number in range(count):
        fd = os.open(work / f"synced{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(fd, data)
        os.fsync(fd)
        os.close(fd)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    return spent / count * 1e3, wall / count * 1e3


async def select(url: str) -> tuple[float, float]:
    """CPU ms of PostgreSQL, and of the client, for one indexed select."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE t (id int PRIMARY KEY, k text)")
    await connection.execute("INSERT INTO t SELECT n, 'P' || n FROM generate_series(1, 2500) n")
    await connection.execute("CREATE INDEX ON t (k)")
    statement = await connection.prepare("SELECT * FROM t WHERE k = $1")
    server = psutil.Process(connection.get_server_pid())
    before, client, count = server.cpu_times(), time.process_time(), 5000
    for number in range(count):
        await statement.fetch(f"P{number % 2500 + 1}")
    after, client = server.cpu_times(), time.process_time() - client
    await connection.close()
    return (after.user + after.system - before.user - before.system) / count * 1e3, client / count * 1e3


def main() -> None:
    """Measures and prints a table."""
    file = next(Path(sys.argv[1]).rglob("*.dcm"))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        work.chmod(0o755)
        print("| what | CPU ms | wall ms |\n|---|---|---|")
        print(f"| nginx sends a CT file of {file.stat().st_size // 1000} kB | {nginx(file, work):.3f} | |")
        for name, data in (("10 kB", file.read_bytes()[:10_900]), ("a CT", file.read_bytes())):
            spent, wall = synced_file(data, work / "", 200) if name == "10 kB" else synced_file(data, _fresh(work), 100)
            print(f"| a new file of {name}, written and fsynced once | {spent:.3f} | {wall:.2f} |")
        embedded = Embedded()
        server, client = asyncio.run(select(embedded.start(work / "data")))
        embedded.stop()
        print(f"| an indexed select: PostgreSQL | {server:.3f} | |")
        print(f"| the same: its client (asyncpg) | {client:.3f} | |")


def _fresh(work: Path) -> Path:
    (work / "second").mkdir()
    return work / "second"


if __name__ == "__main__":
    main()
