"""kill -9 of each process of the archive: what is left goes on or starts again without help."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.archive import RunningArchive, start_archive


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """One archive with its own database that goes through all of it."""
    running = start_archive(tmp_path_factory.mktemp("killed") / "data", from_nothing=True)
    yield running
    running.stop()


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} after {seconds} s"
        time.sleep(0.02)


def test_killed_worker_is_replaced_and_the_other_goes_on(killed: RunningArchive) -> None:
    before = {worker.pid for worker in killed.workers()}
    victim = before.copy().pop()
    os.kill(victim, signal.SIGKILL)
    statuses = [killed.status("/healthz") for _ in range(20)]
    assert statuses.count(200) >= 19, "at most the request that the dead worker had taken"
    wait_until(lambda: len(killed.workers()) == 2, 5, "no new worker")
    assert len({worker.pid for worker in killed.workers()} - before) == 1
    killed.wait_ready(5)


def test_killed_jobs_process_is_replaced(killed: RunningArchive) -> None:
    def jobs() -> list[int]:
        try:
            return [child.pid for child in psutil.Process(killed.pid).children() if child.name() == "fileroom-jobs"]
        except psutil.NoSuchProcess:  # it went while we looked
            return []

    (before,) = jobs()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: jobs() not in ([], [before]), 5, "no new jobs process")


def test_G13_killed_postmaster_is_started_again(killed: RunningArchive) -> None:
    before, workers = killed.postmaster(), {worker.pid for worker in killed.workers()}
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: killed.status("/readyz") in (200, 503), 2, "no answer")
    wait_until(lambda: killed.status("/readyz") == 200 and killed.postmaster() != before, 10, "not ready again")
    assert {worker.pid for worker in killed.workers()} == workers, "no other process needed a restart"


def test_G13_a_reader_of_the_feed_is_let_go_when_the_database_is_killed(killed: RunningArchive) -> None:
    """Its stream ends in order, and nobody calls that a fault."""
    reader = http.client.HTTPConnection("127.0.0.1", killed.port, timeout=60)
    reader.request("GET", "/changes", headers={"Accept": "text/event-stream"})
    answer = reader.getresponse()
    assert answer.readline() == b"retry: 1000\n"
    os.kill(killed.postmaster(), signal.SIGKILL)
    assert answer.read() in (b"\n", b"\n:\n\n")
    reader.close()
    killed.wait_ready()
    beyond = httpx.get(f"{killed.url}/changes?after=99999", headers={"Accept": "text/event-stream"})
    assert beyond.status_code == 400
    assert "a request failed" not in killed.log


def test_G13_killed_backend_costs_a_moment(killed: RunningArchive) -> None:
    backends = [
        child for child in psutil.Process(killed.postmaster()).children() if "fileroom" in " ".join(child.cmdline())
    ]
    assert backends
    os.kill(backends[0].pid, signal.SIGKILL)
    killed.wait_ready(10)


@pytest.mark.parametrize("postmaster_too", [False, True])
def test_G03_killed_parent_takes_its_workers_and_frees_the_port(
    killed: RunningArchive, postmaster_too: bool, request: pytest.FixtureRequest
) -> None:
    ours = [psutil.Process(killed.pid), *killed.workers()]
    postmaster = killed.postmaster()
    killed.kill(signal.SIGKILL)
    if postmaster_too:
        os.kill(postmaster, signal.SIGKILL)
    assert not psutil.wait_procs(ours[1:], timeout=2)[1]
    assert psutil.pid_exists(postmaster) is not postmaster_too
    again = start_archive(Path(killed.data), port=killed.port)
    killed.process = again.process
    assert killed.status("/readyz") == 200
    assert (killed.postmaster() == postmaster) is not postmaster_too, "a living database is joined, a dead one started"


def test_clean_stop_stops_the_database_too(killed: RunningArchive) -> None:
    processes = killed.processes()
    assert killed.stop() == 0, killed.log[-3000:]
    assert not psutil.wait_procs(processes, timeout=5)[1]
    assert not (killed.data / "postgres" / "postmaster.pid").exists()
