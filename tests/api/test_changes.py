"""The change feed: in order, without gaps, from any cursor, as pages and as events."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from app.catalog import changes
from tests.support.archive import RunningArchive
from tests.support.samples import Sample, new_token, new_uid
from tests.support.sending import Source, source, working
from tests.support.stored import put

__all__ = ["source"]


async def settle(source: Source) -> None:
    """Everything that is committed is in the feed."""
    barrier = await changes.sequence(source.context.catalog, None)
    assert barrier is None


async def feed(source: Source, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
    """The feed behind a cursor."""
    answer = await source.client.get(f"/changes?after={after}&limit={limit}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["changes"]
    return found


async def test_G22_what_happens_is_told_in_its_order(source: Source) -> None:
    one, two = await source.study(2)
    await put(source.context, one.other_content().encode())
    deleted = await source.client.delete(f"/dicom-web{two.path}")
    await source.client.post(deleted.json()["undo"])
    await source.client.delete(f"/dicom-web/studies/{one.study}")
    await settle(source)
    told = [(row["kind"], row["study"], row.get("instance", "")) for row in await feed(source)]
    assert told == [
        ("stored", one.study, one.sop),
        ("stored", one.study, two.sop),
        ("replaced", one.study, one.sop),
        ("deleted", one.study, two.sop),
        ("undone", one.study, two.sop),
        ("deleted", one.study, ""),
    ]


async def test_G22_pages_give_each_event_once(source: Source) -> None:
    for _ in range(4):
        await source.study(3)
    await settle(source)
    whole = await feed(source)
    seen: list[dict[str, Any]] = []
    cursor = 0
    while page := (await source.client.get(f"/changes?after={cursor}&limit=5")).json()["changes"]:
        seen += page
        cursor = page[-1]["id"]
    assert seen == whole
    assert len(seen) == 12
    assert (await source.client.get("/changes?after=newest")).json() == {"changes": [], "next": cursor}
    for wrong in (f"after={cursor + 1}", "after=x", "after=-1", "limit=1001"):
        assert (await source.client.get(f"/changes?{wrong}")).status_code == 400


async def test_G22_no_event_is_told_before_one_that_can_still_come(source: Source) -> None:
    """A store that took its id first and commits last: nothing behind it is shown until it has ended."""
    (first,) = await source.study(1)
    await settle(source)
    catalog = source.context.catalog
    slow = await asyncpg.connect(catalog.url)
    transaction = slow.transaction()
    await transaction.start()
    early = await slow.fetchval("SELECT add_change('deleted', '1.2', '', '', '{}')")
    (second,) = await source.study(1)
    barrier = await changes.sequence(catalog, None)
    assert barrier is not None
    assert [row["instance"] for row in await feed(source)] == [first.sop]
    (third,) = await source.study(1)
    assert await changes.sequence(catalog, barrier) == barrier
    await transaction.commit()
    assert await changes.sequence(catalog, barrier) is None
    await settle(source)
    told = await feed(source)
    assert [row.get("instance") for row in told] == [first.sop, None, second.sop, third.sop]
    assert told[1]["id"] == early
    await slow.close()


async def test_G22_the_newest_transaction_is_waited_for_too(source: Source) -> None:
    """Nothing that began after it has ended yet: a snapshot does not show that it is there."""
    catalog = source.context.catalog
    slow = await asyncpg.connect(catalog.url)
    transaction = slow.transaction()
    await transaction.start()
    early = await slow.fetchval("SELECT add_change('deleted', '1.2', '', '', '{}')")
    barrier = await changes.sequence(catalog, None)
    assert barrier is not None
    assert await changes.horizon(catalog) < early
    await transaction.commit()
    assert await changes.sequence(catalog, barrier) is None
    assert [row["id"] for row in await feed(source)] == [early]
    await slow.close()


async def test_G22_many_at_once_are_all_told(source: Source) -> None:
    """A reader that follows while stores and deletes run side by side sees each event once."""
    expected: set[str] = set()

    async def store() -> None:
        for _ in range(15):
            one = Sample(new_uid(), new_uid(), new_uid(), new_token())
            await put(source.context, one.encode())
            expected.add(one.sop)
            await asyncio.sleep(0)

    async with working(source, 0):
        writers = asyncio.gather(*(store() for _ in range(4)))
        seen: list[str] = []
        cursor = 0
        async with asyncio.timeout(30):
            while not writers.done() or len(seen) < len(expected):
                for row in await feed(source, cursor, 7):
                    assert row["id"] > cursor
                    cursor = row["id"]
                    seen += [row["instance"]] if row["kind"] == "stored" else []
                await asyncio.sleep(0.02)
        await writers
    assert sorted(seen) == sorted(expected)


async def test_a_series_and_its_study_become_quiet(source: Source) -> None:
    (one,) = await source.study(1)
    async with working(source, 0), asyncio.timeout(20):
        while True:
            told = await feed(source)
            if len(told) >= 3:
                break
            await asyncio.sleep(0.1)
    quiet = [(row["kind"], row["study"], row.get("series"), row["seconds"]) for row in told[1:]]
    assert sorted(quiet, key=str) == [
        ("series-quiet", one.study, one.series, 1),
        ("study-quiet", one.study, None, 1),
    ]


async def test_what_an_undo_shows_again_becomes_quiet(source: Source) -> None:
    """Hidden before it was quiet, it was told to nobody."""
    one, _ = await source.study(2)
    deleted = await source.client.delete(f"/dicom-web{one.path}")
    await source.client.delete(f"/dicom-web/studies/{one.study}")
    undone = False
    async with working(source, 0), asyncio.timeout(60):
        while True:
            if not undone and await is_passed_over(source, 4):
                undone = (await source.client.post(deleted.json()["undo"])).status_code == 200
            if len(told := await feed(source)) >= 7:
                break
            await asyncio.sleep(0.1)
    assert sorted(row["kind"] for row in told[4:]) == ["series-quiet", "study-quiet", "undone"]
    assert {row.get("series", one.series) for row in told[4:]} == {one.series}


async def is_passed_over(source: Source, count: int) -> bool:
    """Whether all of `count` events were looked at, and none of them waits to be quiet."""
    catalog, told = source.context.catalog, await feed(source)
    looked_at = await catalog.fetchval("SELECT id FROM change_cursor WHERE name = 'quiet'")
    waiting = await catalog.fetchval("SELECT count(*) FROM quiet_watch")
    return len(told) == count and looked_at >= told[-1]["id"] and not waiting


async def until_told(source: Source, kinds: list[str]) -> None:
    """Returns when the feed tells these kinds of events, in any order."""
    async with asyncio.timeout(30):
        while True:
            if sorted(row["kind"] for row in await feed(source)) == sorted(kinds):
                return
            await asyncio.sleep(0.05)


async def test_nobody_needs_to_ask_for_what_this_machine_does(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.feed._LOOK_SECONDS", 3600)
    async with working(source, 0):
        told: list[str] = []
        for _ in range(2):  # the second time everybody sleeps
            (one,) = await source.study(1)
            told += ["stored", "series-quiet", "study-quiet"]
            await until_told(source, told)
        deleted = await source.client.delete(f"/dicom-web{one.path}")
        await until_told(source, [*told, "deleted"])
        await source.client.post(deleted.json()["undo"])
        await until_told(source, [*told, "deleted", "undone"])


async def test_what_others_do_is_seen_a_little_later(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another node, or a process that was killed behind its commit, rings no bell of ours."""
    monkeypatch.setattr("app.jobs.feed._LOOK_SECONDS", 0.3)
    async with working(source, 0):
        for told in (["deleted"], ["deleted", "deleted"]):
            await source.context.catalog.fetchval("SELECT add_change('deleted', '1.2', '', '', '{}')")
            await until_told(source, told)


async def test_events_are_streamed_from_where_a_reader_stopped(archive: RunningArchive) -> None:
    async with httpx.AsyncClient(timeout=30) as client:

        async def store() -> None:
            one = Sample(new_uid(), new_uid(), new_uid(), new_token())
            wanted.append(one.sop)
            headers = {"Content-Type": "application/dicom"}
            await client.post(f"{archive.root}/studies", content=one.encode(), headers=headers)

        async def follow(count: int, **headers: str) -> list[dict[str, Any]]:
            found = []
            headers |= {"Accept": "text/event-stream"}
            async with client.stream("GET", f"{archive.url}/changes?after={start}", headers=headers) as answer:
                assert answer.headers["content-type"] == "text/event-stream"
                follows.set()
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        row = orjson.loads(line[6:])
                        found += [row] if row.get("instance") in wanted else []
                    if len(found) == count:
                        break
            return found

        start = (await client.get(f"{archive.url}/changes?after=newest")).json()["next"]
        wanted: list[str] = []
        follows = asyncio.Event()
        await store()
        reading = asyncio.create_task(follow(2))
        await follows.wait()
        await store()
        first = await reading
        assert [row["instance"] for row in first] == wanted
        again = await follow(1, **{"Last-Event-ID": str(first[0]["id"])})
        assert again == first[1:]
        assert (await client.get(f"{archive.url}/changes", headers={"Last-Event-ID": "x"})).status_code == 200
        wrong = {"Last-Event-ID": "x", "Accept": "text/event-stream"}
        assert (await client.get(f"{archive.url}/changes", headers=wrong)).status_code == 400


async def test_a_store_pays_nothing_for_the_feed(source: Source) -> None:
    """No table of a store has more to do than before: the only trigger hides what a step discontinued."""
    rows = await source.context.catalog.fetch(
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY "
        "(ARRAY['study', 'series', 'instance', 'instance_data']::regclass[])"
    )
    assert {row["tgname"] for row in rows} <= {"instance_refused"}
