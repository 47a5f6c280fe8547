"""A bell is heard in the process that watches it, whoever of its family rings."""

from __future__ import annotations

import asyncio
import os

import pytest

from app.catalog.bell import Bell, await_ring

LONG = 30.0


@pytest.mark.parametrize("shared", [False, True])
async def test_each_watcher_hears_each_ring(shared: bool) -> None:
    bell = Bell(shared=shared)
    bell.ring()  # nobody listens
    with bell.watch() as one, bell.watch() as other:
        for _ in range(3):
            one.clear()
            other.clear()
            bell.ring()
            await await_ring(one, LONG)
            await await_ring(other, LONG)
            assert one.is_set()
            assert other.is_set()
    bell.close()


async def test_who_is_not_called_wakes_in_time() -> None:
    with Bell().watch() as event:
        await await_ring(event, 0.01)
        assert not event.is_set()


async def test_a_shared_bell_is_heard_from_a_forked_process_even_a_killed_one() -> None:
    bell = Bell(shared=True)
    with bell.watch() as event:
        child = os.fork()
        if not child:
            try:
                bell.ring()
            finally:
                os._exit(0)
        await await_ring(event, LONG)
        assert event.is_set()
        os.waitpid(child, 0)  # noqa: ASYNC222 - it has ended, or is about to
    bell.close()


async def test_many_rings_wake_seldom_and_the_last_one_is_heard() -> None:
    bell = Bell(shared=True)
    heard = 0
    with bell.watch() as event:
        for _ in range(1000):
            bell.ring()
            await asyncio.sleep(0)
            heard += event.is_set()
            event.clear()
        assert 1 <= heard < 100
        bell.ring()
        await await_ring(event, LONG)
        assert event.is_set()
    bell.close()


async def test_a_bell_can_be_watched_again() -> None:
    bell = Bell(shared=True)
    for _ in range(2):
        with bell.watch() as event:
            bell.ring()
            await await_ring(event, LONG)
            assert event.is_set()
    bell.close()
