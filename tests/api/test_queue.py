"""The queue keeps jobs as long as it should: their age, their tries, and what the sweeper takes away."""

from __future__ import annotations

from app.archive import sweep
from app.archive import transfers as deed
from app.catalog import queue
from app.catalog.queue import STOW
from tests.support.sending import Source, source, working

__all__ = ["source"]

AGE = "UPDATE job SET created_at = created_at - $2 * interval '1 day', updated_at = updated_at - $2 * interval '1 day'"


async def waiting(source: Source) -> int:
    """A transfer to a server that is not there."""
    await source.register("http://127.0.0.1:1")
    (one,) = await source.study(1)
    return await source.transfer(study=one.study)


async def grow_old(source: Source, number: int, days: float) -> None:
    await source.context.catalog.execute(f"{AGE} WHERE id = $1", number, days)


async def end(source: Source, number: int, outcome: str) -> str:
    """Claims a transfer, and ends it."""
    lease = await deed.claim(source.context, STOW)
    assert lease is not None
    assert lease.job.id == number
    if outcome == "ended":
        await deed.report(source.context, lease.token, [(due.at, 1, 0, "") for due in lease.due])
    return await deed.end(source.context, lease.token, outcome, "")


async def test_a_transfer_that_is_tried_again_keeps_its_age_and_has_its_days_again(source: Source) -> None:
    number = await waiting(source)
    made = (await source.get(number))["created"]
    assert await end(source, number, "failed") == "failed"
    await grow_old(source, number, 30)
    old = (await source.get(number))["created"]
    assert old < made
    told = (await source.client.post(f"/transfers/{number}/retry")).json()
    assert (told["created"], told["state"]) == (old, "waiting")
    assert await end(source, number, "unreachable") == "waiting"  # for days, from now on
    await source.context.catalog.execute("UPDATE job SET retried_at = retried_at - interval '8 days'")
    await source.context.catalog.execute("DELETE FROM job_rest")
    assert await end(source, number, "unreachable") == "failed"


async def test_ended_jobs_go_and_failed_ones_later(source: Source) -> None:
    context = source.context
    numbers = {}
    for outcome, days in (("ended", 29), ("ended", 31), ("failed", 31), ("failed", 121)):
        numbers[outcome, days] = await waiting(source)
        await end(source, numbers[outcome, days], outcome)
        await grow_old(source, numbers[outcome, days], days)
    cancelled, open_one = await waiting(source), await waiting(source)
    await source.client.post(f"/transfers/{cancelled}/cancel")
    for number in (cancelled, open_one):
        await grow_old(source, number, 400)
    assert (await sweep.sweep(context)).jobs_removed == 3
    left = {one["id"] for one in (await source.client.get("/transfers")).json()["transfers"]}
    assert left == {numbers["ended", 29], numbers["failed", 31], open_one}
    rows = await context.catalog.fetch("SELECT DISTINCT job_id FROM job_instance")
    assert {row["job_id"] for row in rows} == left


async def test_jobs_go_in_small_batches(source: Source) -> None:
    for _ in range(5):
        await source.client.post(f"/transfers/{await waiting(source)}/cancel")
    assert [await queue.forget(source.context.catalog, 0, 0, 2) for _ in range(4)] == [2, 2, 1, 0]


async def test_what_a_sweep_leaves_is_still_done(source: Source) -> None:
    number = await waiting(source)
    await sweep.sweep(source.context)
    async with working(source):
        await source.until(number, lambda body: "no connection" in body["reason"])
    assert (await source.get(number))["state"] == "waiting"
