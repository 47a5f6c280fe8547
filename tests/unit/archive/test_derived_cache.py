"""The folder of derived pictures: bounded, shared, and never wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path

from app.archive.derived_cache import DerivedCache


def files(folder: Path) -> list[Path]:
    return list(folder.glob("??/*"))


async def test_what_was_put_is_had_again_by_every_worker(tmp_path: Path) -> None:
    await DerivedCache(tmp_path, 1 << 20).put("a", b"first")
    other = DerivedCache(tmp_path, 1 << 20)
    assert other.get("a") == b"first"
    await other.put("a", b"second")
    assert other.get("a") == b"second"
    assert other.get("b") is None


async def test_nothing_is_kept_without_room(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 800)
    await cache.put("large", bytes(101))
    assert cache.get("large") is None
    none = DerivedCache(tmp_path / "none", 0)
    await none.put("a", b"x")
    assert none.get("a") is None
    assert not (tmp_path / "none").exists()


async def test_G19_a_damaged_file_is_no_picture(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 1 << 20)
    await cache.put("a", b"content")
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert cache.get("a") is None
    assert not file.exists()


async def test_what_was_not_asked_for_longest_goes_first(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 1 << 20)
    past = time.time() - 3600
    for at in range(64):
        await cache.put(str(at), bytes([at]) * 32000)
    for file in files(tmp_path):
        os.utime(file, (past, past))
    assert cache.get("60") is not None
    for at in range(64, 72):
        await cache.put(str(at), bytes([at]) * 32000)
    cache.shrink()
    assert sum(file.stat().st_blocks * 512 for file in files(tmp_path)) <= 1 << 20
    assert all(cache.get(str(at)) is not None for at in (60, 70, 71))


async def test_a_folder_that_cannot_be_written_costs_nothing_but_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DerivedCache(tmp_path / "file", 1 << 20)
    await cache.put("a", b"x")
    assert cache.get("a") is None


async def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "ab" / "cd.1.2"
    left.parent.mkdir()
    left.write_bytes(b"half")
    cache = DerivedCache(tmp_path, 1 << 20)
    cache.shrink()
    assert left.exists()
    os.utime(left, (0, 0))
    cache.shrink()
    assert not left.exists()
