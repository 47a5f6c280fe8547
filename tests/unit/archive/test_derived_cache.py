"""The folder of derived pictures: bounded, shared, and never wrong."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from app.archive.derived_cache import DerivedCache
from tests.support.descriptors import opened_below


def segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "index")


def had(folder: Path, limit: int, key: str) -> bytes | None:
    """What a worker of its own finds."""
    with closing(DerivedCache(folder, limit)) as other:
        return other.get(key)


def written(cache: DerivedCache, folder: Path, key: str, value: bytes) -> None:
    """Puts it, and waits until another worker has it."""
    cache.put(key, value)
    assert cache.get(key) == value, "this worker has it at once"
    deadline = time.monotonic() + 10
    while had(folder, cache.limit, key) != value:
        assert time.monotonic() < deadline, "it was not written"
        time.sleep(0.001)


def test_what_was_put_is_had_again_by_every_worker(tmp_path: Path) -> None:
    one, other = DerivedCache(tmp_path, 1 << 20), DerivedCache(tmp_path, 1 << 20)
    written(one, tmp_path, "a", b"first")
    assert other.get("a") == b"first"
    written(other, tmp_path, "a", b"second")
    assert one.get("a") == b"second"
    assert other.get("b") is None
    written(one, tmp_path, "b", b"third")
    assert [other.get(key) for key in "ab"] == [b"second", b"third"]


def test_nothing_is_kept_without_room(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 800)
    cache.put("large", bytes(101))
    assert cache.get("large") is None
    none = DerivedCache(tmp_path / "none", 0)
    none.put("a", b"x")
    assert none.get("a") is None
    assert not (tmp_path / "none").exists()


def test_G19_a_damaged_value_is_no_picture(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 1 << 20)
    written(cache, tmp_path, "a", b"content")
    (file,) = segments(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"!")
    assert cache.get("a") is None
    file.write_bytes(whole[:-1])
    assert cache.get("a") is None


def test_G19_the_value_of_another_key_is_not_given_out(tmp_path: Path) -> None:
    """As after a power loss that kept the index and lost what a segment of the same number had held."""
    cache = DerivedCache(tmp_path / "one", 1 << 20)
    written(cache, tmp_path / "one", "a", b"content of a")
    written(DerivedCache(tmp_path / "two", 1 << 20), tmp_path / "two", "b", b"content of b")
    (ours,), (others,) = segments(tmp_path / "one"), segments(tmp_path / "two")
    ours.write_bytes(others.read_bytes())
    assert cache.get("a") is None


def test_the_oldest_goes_first_but_what_is_asked_for_stays(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 1 << 20)
    for at in range(256):
        written(cache, tmp_path, str(at), bytes([at]) * 30000)
        assert cache.get("0") == bytes(30000)
        assert sum(path.stat().st_size for path in segments(tmp_path)) <= 1 << 20
    assert cache.get("1") is None
    assert cache.get("255") is not None


def test_many_small_segments_go_too(tmp_path: Path) -> None:
    """Each start of a worker begins one."""
    for at in range(140):
        with closing(DerivedCache(tmp_path, 1 << 20)) as cache:
            written(cache, tmp_path, str(at), b"x")
    assert len(segments(tmp_path)) < 140


def test_values_that_share_a_bucket_leave_room_for_each_other(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 64 << 10)
    for at in range(100):
        written(cache, tmp_path, str(at), b"%d" % at)
    kept = [at for at in range(100) if cache.get(str(at)) is not None]
    assert len(kept) > 90
    assert all(cache.get(str(at)) == b"%d" % at for at in kept)


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DerivedCache(tmp_path / "file", 1 << 20)
    cache.put("a", b"x")
    assert cache.get("a") in (b"x", None)
    assert DerivedCache(tmp_path / "file", 1 << 20).get("a") is None


def test_what_waits_is_written_and_every_file_closed_at_the_end(tmp_path: Path) -> None:
    with closing(DerivedCache(tmp_path, 1 << 20)) as cache:
        for at in range(20):
            cache.put(str(at), bytes(20000))
        cache.get("0")
    assert opened_below(tmp_path) == []
    assert [had(tmp_path, 1 << 20, str(at)) for at in range(20)] == [bytes(20000)] * 20


def test_a_folder_that_was_emptied_is_filled_again(tmp_path: Path) -> None:
    """By a person, while the archive runs."""
    cache = DerivedCache(tmp_path, 1 << 20)
    written(cache, tmp_path, "a", b"first")
    for path in tmp_path.iterdir():
        path.unlink()
    other = DerivedCache(tmp_path, 1 << 20)
    assert other.get("a") is None
    written(other, tmp_path, "a", b"second")
