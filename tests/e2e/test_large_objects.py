"""One instance of half a GiB: it passes through, memory does not grow with it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.archive import RunningArchive
from tests.support.small_files import data_set, encode, path_of

MIB = 1 << 20
ROWS, COLUMNS, FRAMES = 1024, 1024, 512
MOST_GROWTH = 64 * MIB


@contextmanager
def watched(archive: RunningArchive) -> Iterator[list[int]]:
    """Growth of the workers' memory in bytes, in samples of 50 ms, while the block runs."""
    growth: list[int] = []
    done = threading.Event()

    def used() -> int:
        return sum(int(worker.memory_full_info().uss) for worker in archive.workers())

    def sample() -> None:
        before = used()
        while not done.is_set():
            growth.append(used() - before)
            time.sleep(0.05)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield growth
    finally:
        done.set()
        thread.join()


def pieces(head: bytes) -> Iterator[bytes]:
    """The file: the head, then frames that differ."""
    yield head
    for number in range(FRAMES):
        yield number.to_bytes(4, "little") * (ROWS * COLUMNS // 4)


def test_G16_memory_does_not_grow_with_the_object(archive: RunningArchive) -> None:
    ds = data_set(Rows=ROWS, Columns=COLUMNS, NumberOfFrames=FRAMES, PixelData=b"")
    length = ROWS * COLUMNS * FRAMES
    head = encode(ds)[:-4] + length.to_bytes(4, "little")
    sent, received = hashlib.sha256(), hashlib.sha256()
    for piece in pieces(head):
        sent.update(piece)
    with httpx.Client(base_url=archive.root, timeout=60) as client, watched(archive) as growth:
        answer = client.post("/studies", content=pieces(head), headers={"Content-Type": "application/dicom"})
        assert answer.status_code == 200, answer.text
        accept = {"Accept": "application/dicom; transfer-syntax=*"}
        with client.stream("GET", path_of(ds), headers=accept) as stream:
            for chunk in stream.iter_raw():
                received.update(chunk)
    assert received.digest() == sent.digest()
    assert len(growth) > 10
    assert max(growth) < MOST_GROWTH
