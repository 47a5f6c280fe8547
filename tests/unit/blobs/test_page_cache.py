"""Reads that need no disk, against the real kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.blobs.page_cache import read_cached
from tests.support.descriptors import opened_below


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 40)
    return path


def bytes_of(piece: memoryview | None) -> bytes:
    assert piece is not None
    return bytes(piece)


def test_what_was_just_written_is_at_hand(file: Path) -> None:
    if read_cached(str(file), 0, 1) is None:
        pytest.skip("this file system does not tell what it holds in memory")
    assert bytes_of(read_cached(str(file), 0, 10240)) == file.read_bytes()
    assert bytes_of(read_cached(str(file), 5, 3)) == bytes((5, 6, 7))


def test_whatever_is_not_at_hand_is_none(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read_cached(str(tmp_path / "nothing"), 0, 1) is None
    assert read_cached(str(link), 0, 1) is None
    assert read_cached(str(tmp_path), 0, 1) is None
    assert read_cached(str(file), 10239, 2) is None


def test_no_descriptor_stays_open(file: Path, tmp_path: Path) -> None:
    read_cached(str(file), 0, 1)
    read_cached(str(file), 0, 1 << 20)
    assert opened_below(tmp_path) == []
