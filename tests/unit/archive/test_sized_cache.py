"""The bounded cache."""

from __future__ import annotations

from app.archive.sized_cache import SizedCache


def test_what_was_not_asked_for_longest_goes() -> None:
    cache: SizedCache[int, bytes] = SizedCache(1000)
    for number in range(3):
        cache.put(number, b"x" * 300)
    assert cache.get(0) is not None
    cache.put(3, b"x" * 300)
    assert [number for number in range(4) if cache.get(number)] == [0, 2, 3]


def test_what_is_too_large_is_not_kept() -> None:
    cache: SizedCache[int, bytes] = SizedCache(1000)
    cache.put(1, b"x" * 501)
    assert cache.get(1) is None
    cache.put(1, b"x" * 500)
    assert cache.get(1) is not None
    cache.put(1, b"x" * 501)
    assert cache.get(1) is None, "what stood there before is no more right"


def test_a_new_value_takes_the_place_of_the_old() -> None:
    cache: SizedCache[int, bytes] = SizedCache(1000)
    for _ in range(10):
        cache.put(1, b"x" * 400)
    cache.put(2, b"y" * 400)
    assert cache.get(1) == b"x" * 400


def test_without_room_nothing_is_kept() -> None:
    cache: SizedCache[int, bytes] = SizedCache(0)
    cache.put(1, b"x")
    assert cache.get(1) is None
