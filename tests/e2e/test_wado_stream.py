"""Retrieve over real sockets: what a reader sees when bytes are damaged, when it is slow, and when it leaves."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.archive import RunningArchive
from tests.support.stored import encode, image

MIB = 1 << 20


def stored(archive: RunningArchive, rows: int) -> tuple[str, bytes, Path]:
    """The path, bytes and file of an instance of `rows` MiB."""
    one = image(rows=rows * 512, columns=1024)
    data = encode(one)
    answer = httpx.post(
        f"{archive.root}/studies", content=data, headers={"content-type": "application/dicom"}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    (file,) = (archive.data / "blobs").glob(f"*/{one.StudyInstanceUID}/*/*.dcm")
    path = f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
    return path, data, file


def test_G19_a_damaged_end_cuts_the_answer(archive: RunningArchive) -> None:
    path, data, file = stored(archive, 4)
    with file.open("r+b") as blob:
        blob.seek(-1, 2)
        blob.write(bytes([data[-1] ^ 1]))
    received = bytearray()
    with httpx.stream("GET", archive.root + path, headers={"accept": "application/dicom"}) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(byte for chunk in answer.iter_raw() for byte in chunk)
    assert len(received) < len(data)
    assert received == data[: len(received)], "what came was right"


def test_a_study_of_many_mib_takes_no_more_memory_for_a_slow_reader(archive: RunningArchive) -> None:
    path, data, _ = stored(archive, 48)
    with socket.create_connection(("127.0.0.1", archive.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        request = f"GET /dicom-web{path} HTTP/1.1\r\nHost: a\r\nAccept: application/dicom\r\nConnection: close\r\n\r\n"
        before = sum(worker.memory_info().rss for worker in archive.workers())
        connection.sendall(request.encode())
        time.sleep(1)
        assert sum(worker.memory_info().rss for worker in archive.workers()) - before < 16 * MIB
        received = bytearray()
        while chunk := connection.recv(MIB):
            received += chunk
    assert received.endswith(data)


def test_a_reader_that_leaves_stops_the_reading(archive: RunningArchive) -> None:
    path, _, _ = stored(archive, 48)
    before = read_bytes(archive)
    with socket.create_connection(("127.0.0.1", archive.port)) as connection:
        request = f"GET /dicom-web{path} HTTP/1.1\r\nHost: a\r\nAccept: application/dicom\r\n\r\n"
        connection.sendall(request.encode())
        connection.recv(65536)
    time.sleep(0.5)
    assert read_bytes(archive) - before < 24 * MIB
    assert archive.status("/healthz") == 200


def read_bytes(archive: RunningArchive) -> int:
    """Bytes that the workers have read from files and sockets so far."""
    return sum(psutil.Process(worker.pid).io_counters().read_chars for worker in archive.workers())
