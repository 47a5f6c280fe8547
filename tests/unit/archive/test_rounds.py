"""Rounds: together who came together, one round at a time, and nobody is left behind, whoever gives up."""

from __future__ import annotations

import asyncio
import random

from app.archive.rounds import ALONE, Rounds


async def visit(rounds: Rounds, name: str, told: list[str], ended: asyncio.Event | None = None) -> None:
    await rounds.enter()
    told.append(f"{name} in")
    try:
        if ended is not None:
            await ended.wait()
    finally:
        told.append(f"{name} out")
        rounds.leave()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_who_come_at_once_go_in_together() -> None:
    rounds, told, ended = Rounds(), list[str](), asyncio.Event()
    visits = [asyncio.create_task(visit(rounds, name, told, ended)) for name in "abc"]
    await settle()
    assert told == ["a in", "b in", "c in"]
    assert rounds.inside == 3
    ended.set()
    await asyncio.gather(*visits)
    assert rounds.inside == 0


async def test_later_comers_wait_for_the_last_to_leave() -> None:
    rounds, told, first, last = Rounds(), list[str](), asyncio.Event(), asyncio.Event()
    visits = [asyncio.create_task(visit(rounds, name, told, end)) for name, end in (("a", first), ("b", last))]
    await settle()
    visits += [asyncio.create_task(visit(rounds, name, told)) for name in "cd"]
    first.set()
    await settle()
    assert told == ["a in", "b in", "a out"]
    last.set()
    await asyncio.gather(*visits)
    assert told[3:] == ["b out", "c in", "c out", "d in", "d out"]


async def test_who_gives_up_before_or_after_the_door_opened_holds_nobody_up() -> None:
    rounds, told, ended = Rounds(), list[str](), asyncio.Event()
    inside = asyncio.create_task(visit(rounds, "a", told, ended))
    await settle()
    waiting, other = (asyncio.create_task(visit(rounds, name, told)) for name in "bc")
    await settle()
    waiting.cancel()
    await settle()
    ended.set()
    await asyncio.gather(inside, other)
    assert told == ["a in", "a out", "c in", "c out"]
    alone = asyncio.create_task(visit(rounds, "d", told))
    await asyncio.sleep(0)  # it waits for the door, which is about to open
    alone.cancel()
    await settle()
    await visit(rounds, "e", told)
    assert told[4:] == ["e in", "e out"]
    assert rounds.inside == 0


async def test_who_always_comes_alone_does_not_wait_for_company() -> None:
    rounds, told, ended = Rounds(), list[str](), asyncio.Event()
    for _ in range(ALONE):
        await visit(rounds, "before", told)
    del told[:]
    alone = asyncio.create_task(visit(rounds, "a", told, ended))
    others = [asyncio.create_task(visit(rounds, name, told, ended)) for name in "bc"]
    await asyncio.sleep(0)
    assert told == ["a in"]
    await settle()
    assert told == ["a in"]
    ended.set()
    await asyncio.gather(alone, *others)
    assert told[2:] == ["b in", "b out", "c in", "c out"]
    del told[:]
    ended.clear()
    visits = [asyncio.create_task(visit(rounds, name, told, ended)) for name in "de"]
    await settle()
    assert told == ["d in", "e in"]
    ended.set()
    await asyncio.gather(*visits)


async def test_who_gives_up_while_the_door_opens_lets_a_lonely_comer_in_whole() -> None:
    rounds, told, ended = Rounds(), list[str](), asyncio.Event()
    for _ in range(ALONE):
        await visit(rounds, "before", told)
    await rounds.enter()
    waiting = asyncio.create_task(visit(rounds, "a", told))
    await asyncio.sleep(0)
    waiting.cancel()
    lonely = asyncio.create_task(visit(rounds, "b", told, ended))
    rounds.leave()
    await settle()
    assert rounds.inside == 1
    ended.set()
    await lonely
    async with asyncio.timeout(10):
        await visit(rounds, "c", told)
    assert rounds.inside == 0


async def test_many_who_come_leave_and_give_up_at_random() -> None:
    rounds, told, chance = Rounds(), list[str](), random.Random(7)
    visits: list[asyncio.Task[None]] = []
    for number in range(500):
        visits.append(asyncio.create_task(visit(rounds, str(number), told)))
        if chance.random() < 0.3:
            chance.choice(visits).cancel()
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
    await asyncio.wait(visits)
    assert rounds.inside == 0
    assert len(told) == 2 * sum(not visit.cancelled() for visit in visits)
    await visit(rounds, "last", told)
