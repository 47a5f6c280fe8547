"""Storage commitment after a transfer: asked for when everything was sent, awaited whatever is killed, sent again when
it is not given, failed at last (D19); by PS3.18 13, and by the leases of bridges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from app.archive import transfers as deed
from app.catalog.queue import STOW
from tests.support.archive import RunningArchive
from tests.support.commitment import Pair, failed, result
from tests.support.samples import Sample
from tests.support.scripted_web import scripted
from tests.support.sending import Source, source, working

__all__ = ["source"]
SC = "1.2.840.10008.5.1.4.1.1.7"
NO_SUCH = 0x0112


class Other:
    """Another archive, which takes everything and commits as it is told."""

    def __init__(self, samples: list[Sample], commit: Callable[[str, list[str]], tuple[int, object]]) -> None:
        self._sops = [one.sop for one in samples]
        self._commit = commit
        self.stored: list[str] = []
        self.asked: list[str] = []
        self.wanted: list[list[str]] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """To one request."""
        if path == "/studies":
            (sop,) = (one for one in self._sops if one.encode() in body)
            self.stored.append(sop)
            return 200, {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [sop]}}]}}
        uid = path.removeprefix("/commitment-requests/")
        assert uid.startswith("2.25."), path
        if method == "POST":
            self.asked.append(uid)
            (asked,) = orjson.loads(body)
            self.wanted.append([item["00081155"]["Value"][0] for item in asked["00081199"]["Value"]])
        assert uid == self.asked[-1]
        return self._commit(method, self.wanted[-1])


def told(sops: list[str], bad: Mapping[str, int]) -> list[dict[str, Any]]:
    """A result as PS3.18 F.2.1 has it."""
    return [result([(SC, one) for one in sops if one not in bad], {(SC, one): bad[one] for one in sops if one in bad})]


async def states(source: Source, number: int) -> dict[str, tuple[str, str]]:
    """State and reason of each instance of a transfer."""
    rows = (await source.client.get(f"/transfers/{number}/instances")).json()["instances"]
    return {row["instance"]: (row["state"], row["status"]) for row in rows}


async def test_a_second_archive_commits(source: Source, archive: RunningArchive) -> None:
    samples = await source.study(3)
    await source.register(archive.root)
    number = await source.transfer(study=samples[0].study, commit=True)
    async with working(source):
        ended = await source.ended(number)
    assert (ended["state"], ended["commit"]["committed"], ended["tries"]) == ("succeeded", 3, 1)
    assert await states(source, number) == {one.sop: ("committed", "0000") for one in samples}
    asked = f"{archive.root}/commitment-requests/{ended['commit']['transaction']}"
    async with httpx.AsyncClient() as client:
        (found,) = (await client.get(asked, headers={"Accept": "application/dicom+json"})).json()
    assert len(found["00081199"]["Value"]) == 3
    assert not failed(found)


async def test_a_route_has_it_done(source: Source, archive: RunningArchive) -> None:
    """D19, after routing."""
    await source.register(archive.root)
    route = {"event": "instance", "server": "second", "commit": True}
    assert (await source.client.put("/routes/all", json=route)).status_code == 201
    assert (await source.client.get("/routes/all")).json()["commit"] is True
    (one,) = await source.study(1)
    async with working(source), asyncio.timeout(30):
        while True:
            listed = (await source.client.get("/transfers?state=succeeded")).json()["transfers"]
            if listed:
                break
            await asyncio.sleep(0.05)
    assert (listed[0]["origin"], listed[0]["commit"]["committed"]) == ("route all", 1)
    assert await states(source, listed[0]["id"]) == {one.sop: ("committed", "0000")}


async def test_what_was_not_asked_for_is_not_told_of(source: Source, archive: RunningArchive) -> None:
    (one,) = await source.study(1)
    await source.register(archive.root)
    number = await source.transfer(study=one.study)
    async with working(source):
        assert "commit" not in await source.ended(number)


async def test_the_result_is_waited_for(source: Source) -> None:
    samples = await source.study(2)
    may_commit = False

    def commit(method: str, sops: list[str]) -> tuple[int, object]:
        return (200, told(sops, {})) if may_commit and method == "GET" else (202, None)

    other = Other(samples, commit)
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True)
        async with working(source):
            seen = await source.until(
                number, lambda body: bool(body["state"] == "committing" and body["commit"]["asked"])
            )
            assert seen["instances"]["arrived"] == 2
            listed = (await source.client.get("/transfers?state=committing")).json()["transfers"]
            assert [one["id"] for one in listed] == [number]
        may_commit = True
        async with working(source):  # nothing was in the memory of the workers
            assert (await source.ended(number))["state"] == "succeeded"
    assert len(other.asked) == 1
    assert sorted(other.stored) == sorted(one.sop for one in samples)


async def test_what_is_not_committed_is_sent_again(source: Source) -> None:
    """D19: C-STORE and commitment again, of what failed and of nothing else."""
    samples = await source.study(3)
    bad = samples[1].sop
    other = Other(samples, lambda method, sops: (200, told(sops, {} if len(sops) == 1 else {bad: NO_SUCH})))
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True)
        async with working(source):
            ended = await source.ended(number)
    assert (ended["state"], ended["tries"], ended["commit"]["committed"]) == ("succeeded", 2, 3)
    assert sorted(other.stored) == sorted([bad, *(one.sop for one in samples)])
    assert other.wanted[1:] == [[bad]]
    assert len(set(other.asked)) == 2


async def test_what_is_gone_is_told_though_the_rest_is_committed(source: Source) -> None:
    samples = await source.study(3)
    other = Other(samples, lambda method, sops: (200, told(sops, {})))
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True)
        assert (await source.client.delete(f"/dicom-web{samples[1].path}")).status_code == 200
        async with working(source):
            ended = await source.ended(number)
    assert (ended["state"], ended["commit"]["committed"]) == ("failed", 2)
    assert ended["reason"] == f"1 of 3 instances did not arrive: {deed.GONE}"


async def test_failures_are_named_when_there_are_no_more_tries(source: Source) -> None:
    samples = await source.study(2)
    bad = samples[0].sop
    other = Other(samples, lambda method, sops: (200, told(sops, {bad: NO_SUCH})))
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True, tries=3)
        async with working(source):
            ended = await source.ended(number)
            assert (ended["state"], ended["tries"]) == ("failed", 3)
            assert ended["reason"] == "1 instances are not committed"
            assert (await states(source, number))[bad] == ("waiting", "0112")
            assert other.stored.count(bad) == 3
            bad = ""
            assert (await source.client.post(f"/transfers/{number}/retry")).status_code == 200
            assert (await source.ended(number))["state"] == "succeeded"


async def test_no_result_in_time_is_a_failure(source: Source) -> None:
    """D19: it is treated as not successful."""
    source.context.transfers = replace(source.context.transfers, commitment_seconds=0.3)
    samples = await source.study(2)
    other = Other(samples, lambda method, sops: (202, None))
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True, tries=2)
        async with working(source):
            ended = await source.ended(number)
    assert (ended["state"], ended["tries"], len(other.stored), len(other.asked)) == ("failed", 2, 4, 2)
    rows = (await source.client.get(f"/transfers/{number}/instances")).json()["instances"]
    assert {row["reason"] for row in rows} == {deed.NO_REPORT}


@pytest.mark.parametrize("answer", [(404, None), (400, {}), (200, "junk"), (200, [1])])
async def test_a_server_that_does_not_commit_fails_the_transfer(source: Source, answer: tuple[int, object]) -> None:
    samples = await source.study(1)
    other = Other(samples, lambda method, sops: answer)
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True, tries=3)
        async with working(source):
            ended = await source.ended(number)
    assert (ended["state"], len(other.stored)) == ("failed", 1)
    assert "storage commitment" in ended["reason"]


async def test_a_server_that_is_away_is_waited_for(source: Source) -> None:
    samples = await source.study(1)
    answers = [(503, None), (-1, None)]
    other = Other(samples, lambda method, sops: answers.pop() if answers else (200, told(sops, {})))
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True, tries=1)
        async with working(source):
            ended = await source.ended(number)
    assert (ended["state"], len(other.stored), len(set(other.asked))) == ("succeeded", 1, 3)


async def test_a_worker_that_dies_while_it_asks_is_followed_by_another(source: Source) -> None:
    """By a new transaction: nobody knows how far the old one came."""
    samples = await source.study(1)
    other = Other(samples, lambda method, sops: (200, told(sops, {})))
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True)
        lease = await deed.claim(source.context, STOW)
        assert lease is not None
        await deed.report(source.context, lease.token, [(1, 1, 0, "")])
        assert await deed.end(source.context, lease.token, "ended") == "waiting"
        dead = await deed.claim(source.context, STOW)
        assert dead is not None
        assert dead.asking is not None
        assert (await source.get(number))["state"] == "committing"
        async with working(source):  # its lease runs out
            ended = await source.ended(number)
    assert (ended["state"], ended["tries"]) == ("succeeded", 1)
    assert other.asked != [dead.asking.uid]


async def test_a_cancelled_transfer_takes_no_result(source: Source) -> None:
    samples = await source.study(1)
    other = Other(samples, lambda method, sops: (202, None))
    async with scripted(other.answer) as url:
        await source.register(url)
        number = await source.transfer(study=samples[0].study, commit=True)
        async with working(source):
            body = await source.until(
                number, lambda body: bool(body["state"] == "committing" and body["commit"]["asked"])
            )
    assert (await source.client.post(f"/transfers/{number}/cancel")).json()["state"] == "cancelled"
    report = result([(SC, samples[0].sop)], uid=body["commit"]["transaction"])
    assert (await source.client.post("/commitment-reports", json=report)).status_code == 204
    assert (await source.get(number))["state"] == "cancelled"


# ---------------------------------------------------------------- leases of bridges


class Bridge:
    """What a bridge asks and tells, about one transfer to a peer."""

    def __init__(self, source: Source, samples: list[Sample], number: int) -> None:
        self.source = source
        self.samples = samples
        self.number = number

    @property
    def pairs(self) -> list[Pair]:
        """All instances."""
        return [(SC, one.sop) for one in self.samples]

    async def lease(self) -> dict[str, Any]:
        """The next one."""
        async with asyncio.timeout(20):
            while True:
                answer = await self.source.client.post("/transfers/leases?wait=1")
                if answer.status_code == 200:
                    found: dict[str, Any] = answer.json()
                    return found

    async def end(self, lease: dict[str, Any], outcome: str, told: list[list[Any]] | None = None) -> httpx.Response:
        """Says how it went."""
        body = {"instances": told or [], "outcome": outcome, "reason": ""}
        return await self.source.client.post(f"/transfers/leases/{lease['lease']}", json=body)

    async def send(self) -> None:
        """Sends all that is due."""
        lease = await self.lease()
        assert "commitment" not in lease
        assert (await self.end(lease, "ended", [[one[0], 1, 0, ""] for one in lease["instances"]])).is_success

    async def ask(self) -> str:
        """Asks for commitment; the Transaction UID."""
        lease = await self.lease()
        uid: str = lease["commitment"]["transaction"]
        assert (await self.end(lease, "asked")).json() == {"state": "waiting"}
        return uid

    async def report(self, uid: str, good: list[Pair], bad: Mapping[Pair, int] = {}) -> int:
        """Hands a report over."""
        content = result(good, bad, uid)
        return (await self.source.client.post("/commitment-reports", json=content)).status_code

    async def state(self) -> str:
        """Of the transfer."""
        found: str = (await self.source.get(self.number))["state"]
        return found


@pytest_asyncio.fixture
async def bridge(source: Source) -> AsyncIterator[Bridge]:
    samples = await source.study(3)
    await source.client.put("/peers/FAR", json={"host": "127.0.0.1", "port": 4})
    wanted = {"peer": "FAR", "study": samples[0].study, "commit": True, "tries": 2}
    answer = await source.client.post("/transfers", json=wanted)
    yield Bridge(source, samples, answer.json()["id"])


async def test_a_report_ends_the_transfer(bridge: Bridge) -> None:
    await bridge.send()
    lease = await bridge.lease()
    assert lease["commitment"]["references"] == [list(one) for one in bridge.pairs]
    uid = lease["commitment"]["transaction"]
    assert await bridge.state() == "committing"
    assert await bridge.report(uid, bridge.pairs) == 204  # before the bridge has said that it asked
    assert await bridge.state() == "succeeded"
    assert (await bridge.end(lease, "asked")).status_code == 404
    assert await bridge.report(uid, bridge.pairs) == 204  # a peer may report twice


async def test_what_a_report_does_not_name_is_not_committed(bridge: Bridge) -> None:
    await bridge.send()
    first, second, third = bridge.pairs
    uid = await bridge.ask()
    assert await bridge.report(uid, [first], {second: NO_SUCH}) == 204
    lease = await bridge.lease()
    assert [one[3] for one in lease["instances"]] == [second[1], third[1]]
    assert (await bridge.end(lease, "ended", [[one[0], 1, 0, ""] for one in lease["instances"]])).is_success
    lease = await bridge.lease()
    assert lease["commitment"]["references"] == [list(second), list(third)]
    assert await bridge.report(lease["commitment"]["transaction"], [second], {third: NO_SUCH}) == 204
    body = await bridge.source.get(bridge.number)
    assert (body["state"], body["tries"], body["commit"]["committed"]) == ("failed", 2, 2)


async def test_a_late_report_counts_as_far_as_it_is_good(bridge: Bridge) -> None:
    context = bridge.source.context
    await bridge.send()
    context.transfers = replace(context.transfers, commitment_seconds=0.0)
    first = await bridge.ask()
    context.transfers = replace(context.transfers, commitment_seconds=60.0)
    await bridge.send()  # no report came in time: everything again
    second = await bridge.ask()
    assert first != second
    assert await bridge.report(first, bridge.pairs[:2], {bridge.pairs[2]: NO_SUCH}) == 204
    assert await bridge.state() == "committing"
    assert await bridge.report(second, bridge.pairs[2:]) == 204
    assert await bridge.state() == "succeeded"


async def test_reports_of_nobody_and_wrong_ones_are_refused(bridge: Bridge) -> None:
    assert await bridge.report("2.25.1", bridge.pairs) == 404
    assert await bridge.report("", bridge.pairs) == 400
    client = bridge.source.client
    for content in (b"", b"[]", b"5", b"{", b'{"00081195": 7}', b'{"00081199": {"vr": "SQ", "Value": [7]}}'):
        answer = await client.post("/commitment-reports", content=content)
        assert 400 <= answer.status_code < 500, content


async def test_an_instance_that_was_deleted_meanwhile_fails_the_transfer(bridge: Bridge) -> None:
    await bridge.send()
    gone = bridge.samples[0]
    assert (await bridge.source.client.delete(f"/dicom-web{gone.path}")).is_success
    uid = await bridge.ask()  # it can still be asked about
    assert await bridge.report(uid, bridge.pairs[1:], {bridge.pairs[0]: NO_SUCH}) == 204
    async with asyncio.timeout(20):
        while await bridge.state() != "failed":  # somebody who asks for work finds that there is none
            assert (await bridge.source.client.post("/transfers/leases?wait=1")).status_code == 204
