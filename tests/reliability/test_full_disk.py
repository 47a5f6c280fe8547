"""R9: a real disk, a small one, fills up; the archive refuses, goes on reading, and recovers when there is room."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.reliability.conftest import tier
from tests.support.archive import RunningArchive, start_archive
from tests.support.database import DatabaseServer, execute
from tests.support.dicomweb import Client
from tests.support.ledger import Ledger, Oracle
from tests.support.samples import Sample, new_sample, new_uid

ROUNDS = tier(1, 25, 100)
SIZE_MIB = 48
RESERVE_MIB = 4
FILLER_MIB = 24
OUT_OF_RESOURCES = 0xA700
INSUFFICIENT_STORAGE = 507
RECOVERY_SECONDS = 10.0
MANY_ROWS = 4_000
"""Rows of an instance of 256 kB."""
TOO_MANY_ROWS = 60_000
CACHED_SECONDS = 1.0
"""A worker looks at the free space at most twice a second."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of `SIZE_MIB`."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "fileroom-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs root or a user namespace that may mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(archive: RunningArchive, ledger: Ledger, study: str) -> list[Sample]:
    """Stores until the archive refuses; what it took."""
    client = Client(archive.port)
    taken: list[Sample] = []
    while True:
        sample = new_sample(study, rows=MANY_ROWS)
        answer = ledger.store(client, sample)
        if answer.status == INSUFFICIENT_STORAGE:
            assert int(answer.headers["retry-after"]) > 0
            return taken
        assert answer.status == 200
        taken.append(sample)
        assert len(taken) < SIZE_MIB * 4


def answer_to_a_mere_header(port: int) -> bytes:
    """The status line of a Store whose body was never sent."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(
            b"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"
            b"Content-Length: 1000000\r\n\r\n"
        )
        return connection.recv(100).split(b"\r\n")[0]


def read_all(archive: RunningArchive, samples: list[Sample]) -> None:
    """Reads, searches and one delete go on."""

    def read(sample: Sample) -> int:
        client = Client(archive.port)
        status, body = client.retrieve(sample.path)
        assert status != 200 or body == sample.encode()
        found = client.search(f"/instances?SOPInstanceUID={sample.sop}")
        assert len(found) == 1
        client.close()
        return status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, samples)) == {200}


def store_too_much(archive: RunningArchive, ledger: Ledger) -> list[Sample]:
    """Long instances at the same time, for which there is room together only in the eyes of admission; those taken."""
    samples = [new_sample(rows=TOO_MANY_ROWS) for _ in range(8)]
    with ThreadPoolExecutor(len(samples)) as pool:
        answers = list(pool.map(lambda sample: ledger.store(Client(archive.port), sample), samples))
    assert {answer.status for answer in answers} <= {200, INSUFFICIENT_STORAGE}
    refused = [answer.failed for answer in answers if answer.failed]
    assert refused, "no write met the end of the disk"
    assert {reason for failed in refused for reason in failed.values()} == {OUT_OF_RESOURCES}
    return [sample for sample, answer in zip(samples, answers, strict=True) if answer.status == 200]


def play(archive: RunningArchive, small_disk: Path, ledger: Ledger) -> list[Sample]:
    """Fill, refuse, read, free, recover; what is stored then."""
    client = Client(archive.port)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(FILLER_MIB << 20))
    taken = store_too_much(archive, ledger) + fill(archive, ledger, new_uid())
    time.sleep(CACHED_SECONDS)
    assert b" 507 " in answer_to_a_mere_header(archive.port)
    read_all(archive, taken)
    assert ledger.delete(client, taken.pop()) == 200
    assert archive.status("/healthz") == 200
    filler.unlink()
    freed = time.monotonic()
    recovered = new_sample(rows=MANY_ROWS)
    while ledger.store(client, recovered).status != 200:
        assert time.monotonic() < freed + RECOVERY_SECONDS, "no recovery after there was room again"
        time.sleep(0.05)
    archive.wait_ready(freed + RECOVERY_SECONDS - time.monotonic())
    return [*taken, recovered]


def test_G11_a_full_disk_refuses_stores_and_nothing_else(
    small_disk: Path, tmp_path: Path, database_server: DatabaseServer, ledger: Ledger
) -> None:
    url = database_server.create()
    archive = start_archive(
        tmp_path / "data",
        FILEROOM_DATABASE_URL=url,
        FILEROOM_BLOBS_URL=str(small_disk / "blobs"),
        FILEROOM_RESERVE_MIB=str(RESERVE_MIB),
    )
    try:
        for _ in range(ROUNDS):
            stored = play(archive, small_disk, ledger)
            Oracle(archive, ledger, url, small_disk / "blobs").check()
            make_room(archive, ledger, url, stored)
            Oracle(archive, ledger, url, small_disk / "blobs").check()
        assert archive.process.poll() is None
    finally:
        archive.stop()
        database_server.drop(url)


def make_room(archive: RunningArchive, ledger: Ledger, url: str, samples: list[Sample]) -> None:
    """Deletes everything, and ends its grace period: the oracle's next sweeps take the bytes."""
    client = Client(archive.port)
    assert all(ledger.delete(client, sample) == 200 for sample in samples)
    execute(url, "UPDATE deletion SET purge_after = now()")
