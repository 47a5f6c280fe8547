"""Transfers by the durable queue, to other DICOMweb servers: made, listed, cancelled, tried again, set aside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.archive import transfers as deed
from app.blobs.local import LocalBlobStore
from app.catalog import queue
from app.catalog.notices import Notices
from app.catalog.queue import DIMSE, STOW
from app.errors import BlobStoreFailed
from tests.support.archive import RunningArchive, free_port
from tests.support.samples import Sample, new_token, new_uid
from tests.support.scripted_web import scripted
from tests.support.sending import Source, source, working
from tests.support.small_files import data_set, encode
from tests.support.stored import put

__all__ = ["source"]


async def fetch(url: str, accept: str = "*/*") -> httpx.Response:
    """GET at the other archive."""
    async with httpx.AsyncClient() as client:
        return await client.get(url, headers={"Accept": accept})


def receipt(tag: str, sop: str, reason: int = 0) -> dict[str, Any]:
    """A Store Instances Response about one instance."""
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [sop]}}
    if reason:
        item["00081197" if tag == "00081198" else "00081196"] = {"vr": "US", "Value": [reason]}
    return {tag: {"vr": "SQ", "Value": [item]}}


# ---------------------------------------------------------------- destinations


async def test_a_destination_is_registered_changed_and_forgotten(source: Source) -> None:
    client = source.client
    given = {"url": "https://pacs.example/dicom-web/", "token": "secret-of-the-other"}
    assert (await client.put("/destinations/second", json=given)).status_code == 201
    kept = {"url": "https://pacs.example/dicom-web", "token": True, "keeps_syntaxes": False}
    assert (await client.get("/destinations/second")).json() == kept
    assert (await client.get("/destinations")).json() == {"second": kept}
    assert (await client.put("/destinations/second", json={"url": "http://pacs.example"})).status_code == 204
    assert not (await client.get("/destinations/second")).json()["token"]
    assert (await client.delete("/destinations/second")).status_code == 204
    assert (await client.delete("/destinations/second")).status_code == 404
    assert (await client.get("/destinations/second")).status_code == 404


WRONG_DESTINATIONS: list[object] = [
    {},
    [],
    {"url": 5},
    {"url": "ftp://host/"},
    {"url": "http://user:password@host/dicom-web"},
    {"url": "http://user@host/"},
    {"url": "http://host/?token=1"},
    {"url": "http://host/#x"},
    {"url": "http://[::1/"},
    {"url": "http://host:0x/"},
    {"url": "http://ho st/"},
    {"url": "http://h", "token": "two words"},
    {"url": "http://h", "token": "a\r\nX: y"},
    {"url": "http://h", "keeps_syntaxes": 1},
    {"url": "http://h", "colour": "red"},
]


async def test_a_wrong_destination_is_refused(source: Source) -> None:
    for value in WRONG_DESTINATIONS:
        answer = await source.client.put("/destinations/second", json=value)
        assert (answer.status_code, value) == (400, value)
        assert "password" not in answer.text
    assert (await source.client.get("/destinations")).json() == {}


# ---------------------------------------------------------------- requests


WRONG_TRANSFERS: list[object] = [
    [],
    {},
    {"study": "1.2"},
    {"server": "second"},
    {"server": "second", "peer": "A", "study": "1.2"},
    {"server": "second", "study": "1.x"},
    {"server": "second", "study": "1.2", "series": 5},
    {"server": "second", "study": "1.2", "instances": "1.2"},
    {"server": "second", "study": "1.2", "instances": ["x"]},
    {"server": "second", "study": "1.2", "tries": True},
    {"server": "second", "study": "1.2", "tries": 1001},
    {"server": "second", "study": "1.2", "echo": "yes"},
    {"server": "second", "study": "1.2", "order": "a\0"},
    {"server": "second", "study": "1.2", "colour": "red"},
    {"server": "third", "study": "1.2"},
    {"server": "no/name", "study": "1.2"},
    {"peer": "NOBODY", "study": "1.2"},
    {"peer": "x" * 17, "study": "1.2"},
]


async def test_a_wrong_request_is_refused(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    for value in WRONG_TRANSFERS:
        answer = await source.client.post("/transfers", json=value)
        assert (answer.status_code, value) == (400, value)
    assert (await source.client.get("/transfers")).json() == {"transfers": []}


async def test_what_is_not_there_cannot_be_sent(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    (one,) = await source.study(1)
    for wanted in ({"study": new_uid()}, {"study": one.study, "instances": [new_uid()]}):
        assert (await source.client.post("/transfers", json={"server": "second"} | wanted)).status_code == 404
    for path in ("/transfers/1", "/transfers/0", "/transfers/x", "/transfers/" + "9" * 19, "/transfers/1/instances"):
        assert (await source.client.get(path)).status_code == 404, path
    assert (await source.client.post("/transfers/7/retry")).status_code == 404
    assert (await source.client.get("/transfers?state=lost")).status_code == 400
    assert (await source.client.get("/transfers?limit=-1")).status_code == 400


async def test_parts_of_a_study_and_pages_of_the_list(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    samples = await source.study(3)
    study = samples[0].study
    whole = await source.transfer(study=study)
    series = await source.transfer(study=study, series=samples[0].series, order="first", tries=3, echo=True)
    some = await source.transfer(study=study, instances=[samples[2].sop])
    totals = [(await source.get(number))["instances"]["total"] for number in (whole, series, some)]
    assert totals == [3, 3, 1]
    told = await source.get(series)
    assert (told["order"], told["most_tries"], told["echo"], told["state"]) == ("first", 3, True, "waiting")
    page = (await source.client.get("/transfers?limit=2&state=waiting&destination=second")).json()
    assert [one["id"] for one in page["transfers"]] == [some, series]
    rest = (await source.client.get(f"/transfers?limit=2&before={page['next']}")).json()
    assert [one["id"] for one in rest["transfers"]] == [whole]
    first = (await source.client.get(f"/transfers/{whole}/instances?limit=2")).json()
    more = (await source.client.get(f"/transfers/{whole}/instances?limit=2&after={first['next']}")).json()
    assert {one["instance"] for one in first["instances"] + more["instances"]} == {one.sop for one in samples}


# ---------------------------------------------------------------- sending


async def test_a_study_arrives_as_it_was_stored(source: Source, archive: RunningArchive) -> None:
    await source.register(archive.root)
    samples = await source.study(5)
    number = await source.transfer(study=samples[0].study, echo=True)
    async with working(source):
        ended = await source.ended(number)
    assert (ended["state"], ended["instances"]) == ("succeeded", {"total": 5, "arrived": 5, "refused": 0})
    for one in samples:
        found = await fetch(archive.root + one.path, "application/dicom; transfer-syntax=*")
        assert found.content == one.encode()


async def test_implicit_vr_leaves_in_explicit_vr_unless_the_server_keeps_it(
    source: Source, archive: RunningArchive
) -> None:
    implicit = "1.2.840.10008.1.2"
    for keeps, expected in ((False, "1.2.840.10008.1.2.1"), (True, implicit)):
        ds = data_set()
        await put(source.context, encode(ds, implicit))
        await source.client.put("/destinations/second", json={"url": archive.root, "keeps_syntaxes": keeps})
        number = await source.transfer(study=str(ds.StudyInstanceUID))
        async with working(source):
            assert (await source.ended(number))["state"] == "succeeded"
        query = f"SOPInstanceUID={ds.SOPInstanceUID}&includefield=00083002"
        (row,) = (await fetch(f"{archive.root}/instances?{query}")).json()
        assert row["00083002"]["Value"][0] == expected


async def test_G23_an_instance_is_done_only_when_the_receipt_names_it(source: Source) -> None:
    (one,) = await source.study(1)
    answers: list[tuple[int, object]] = [
        (200, {}),
        (200, None),
        (200, receipt("00081199", new_uid())),
        (500, {}),
        (202, receipt("00081198", one.sop, 0xA700)),
        (-1, None),
        (200, receipt("00081199", one.sop, 0xB000)),
    ]
    seen: list[bytes] = []

    def answer(method: str, path: str, body: bytes) -> tuple[int, object]:
        seen.append(body)
        return answers[len(seen) - 1]

    async with scripted(answer) as url:
        await source.register(url)
        number = await source.transfer(study=one.study)
        async with working(source):
            ended = await source.ended(number)
    assert (ended["state"], ended["tries"], len(seen)) == ("succeeded", 7, 7)
    assert all(one.encode() in body for body in seen)
    (told,) = (await source.client.get(f"/transfers/{number}/instances")).json()["instances"]
    assert (told["state"], told["status"]) == ("arrived", "B000")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((409, lambda sop: receipt("00081198", sop, 0xC122)), ("C122", "the server gave failure reason C122H")),
        ((400, lambda sop: None), ("0000", "the server answered 400")),
        ((413, lambda sop: {}), ("0000", "the server answered 413")),
    ],
)
async def test_what_is_refused_for_good_is_not_sent_again(
    source: Source, answer: tuple[int, Callable[[str], object]], told: tuple[str, str]
) -> None:
    good, bad = await source.study(2)
    count = 0

    def judge(method: str, path: str, body: bytes) -> tuple[int, object]:
        nonlocal count
        count += 1
        if bad.sop.encode() in body:
            return answer[0], answer[1](bad.sop)
        return 200, receipt("00081199", good.sop)

    async with scripted(judge) as url:
        await source.register(url)
        number = await source.transfer(study=good.study)
        async with working(source):
            ended = await source.ended(number)
            assert (ended["state"], ended["instances"]) == ("failed", {"total": 2, "arrived": 1, "refused": 1})
            assert (count, ended["tries"]) == (2, 1)
            rows = (await source.client.get(f"/transfers/{number}/instances")).json()["instances"]
            (refused,) = (row for row in rows if row["state"] == "refused")
            assert (refused["instance"], refused["status"], refused["reason"]) == (bad.sop, *told)
            # tried again by hand: only what was refused goes once more
            assert (await source.client.post(f"/transfers/{number}/retry")).status_code == 200
            await source.until(number, lambda body: body["state"] == "failed" and body["tries"] == 1)
    assert count == 3


async def test_an_instance_deleted_meanwhile_is_told(source: Source, archive: RunningArchive) -> None:
    await source.register(archive.root)
    gone, there = await source.study(2)
    number = await source.transfer(study=gone.study)
    assert (await source.client.delete(f"/dicom-web{gone.path}")).status_code == 200
    async with working(source):
        ended = await source.ended(number)
    assert (ended["state"], ended["instances"]["arrived"], ended["instances"]["refused"]) == ("failed", 1, 1)
    assert ended["reason"] == f"1 of 2 instances did not arrive: {deed.GONE}"
    rows = (await source.client.get(f"/transfers/{number}/instances")).json()["instances"]
    told = {row["instance"]: (row["state"], row["reason"]) for row in rows}
    assert told == {gone.sop: ("refused", deed.GONE), there.sop: ("arrived", "")}
    assert (await fetch(f"{archive.root}{there.path}/metadata")).status_code == 200


async def test_a_transfer_of_nothing_that_is_left_asks_nobody(source: Source) -> None:
    """Its destination may be down for days."""
    await source.register(f"http://127.0.0.1:{free_port()}/dicom-web")
    samples = await source.study(3)
    number = await source.transfer(study=samples[0].study, echo=True, commit=True)
    assert (await source.client.delete(f"/dicom-web/studies/{samples[0].study}")).status_code == 200
    async with working(source):
        ended = await source.ended(number)
    assert (ended["state"], ended["reason"]) == ("failed", f"3 of 3 instances did not arrive: {deed.GONE}")


async def test_a_long_transfer_of_which_a_portion_is_gone_goes_on(
    source: Source, archive: RunningArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deed, "PORTION", 2)
    await source.register(archive.root)
    samples = await source.study(5)
    number = await source.transfer(study=samples[0].study)
    due = [one.sop for one in await queue.due(source.context.catalog, number, 5)]
    for one in samples:
        if one.sop in due[:2]:
            assert (await source.client.delete(f"/dicom-web{one.path}")).status_code == 200
    async with working(source):
        ended = await source.ended(number)
    assert (ended["state"], ended["instances"]) == ("failed", {"total": 5, "arrived": 3, "refused": 2})
    assert ended["reason"] == f"2 of 5 instances did not arrive: {deed.GONE}"


# ---------------------------------------------------------------- bad days


async def test_a_destination_that_is_down_for_a_while_loses_nothing_and_costs_no_try(
    source: Source, archive: RunningArchive
) -> None:
    port = free_port()
    await source.register(f"http://127.0.0.1:{port}/dicom-web")
    numbers = [await source.transfer(study=(await source.study(1))[0].study) for _ in range(20)]
    async with working(source):
        await source.until(numbers[0], lambda body: "no connection" in body["reason"])
        others = [await source.get(number) for number in numbers[1:]]
        assert sum(body["tries"] for body in others) <= 1  # the one that is under way
        assert {body["state"] for body in others} <= {"waiting", "active"}
        await source.register(archive.root)
        ended = [await source.ended(number) for number in numbers]
    assert {body["state"] for body in ended} == {"succeeded"}
    assert max(body["tries"] for body in ended) == 1


async def test_an_archive_that_cannot_read_now_pauses_and_costs_no_try(
    source: Source, archive: RunningArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.context.transfers = replace(source.context.transfers, pause_seconds=0.2)
    reads: list[float] = []
    real = LocalBlobStore.read_verified

    def read(store: LocalBlobStore, key: str, *rest: Any) -> AsyncIterator[bytes]:
        reads.append(time.monotonic())
        if len(reads) < 4:
            raise BlobStoreFailed("the disk does not answer")
        return real(store, key, *rest)

    monkeypatch.setattr(LocalBlobStore, "read_verified", read)
    await source.register(archive.root)
    (one,) = await source.study(1)
    number = await source.transfer(study=one.study)
    async with working(source, 2):
        ended = await source.ended(number)
    assert (ended["state"], ended["tries"], len(reads)) == ("succeeded", 1, 4)
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(reads))


async def test_a_destination_that_is_down_holds_no_other_up(source: Source, archive: RunningArchive) -> None:
    await source.register(f"http://127.0.0.1:{free_port()}/dicom-web")
    await source.register(archive.root, "other")
    (one,) = await source.study(1)
    for _ in range(30):
        await source.transfer(study=one.study)
    number = await source.transfer(study=one.study, server="other")
    async with working(source, 1):
        assert (await source.ended(number))["state"] == "succeeded"


async def test_G24_a_poison_transfer_stops_after_its_tries_and_blocks_nobody(source: Source) -> None:
    (poison,), (good,) = await source.study(1), await source.study(1)
    count = 0

    def answer(method: str, path: str, body: bytes) -> tuple[int, object]:
        nonlocal count
        if poison.sop.encode() in body:
            count += 1
            return -1, None
        return 200, receipt("00081199", good.sop)

    async with scripted(answer) as url:
        await source.register(url)
        bad = await source.transfer(study=poison.study, tries=3, order="one after the other")
        fine = await source.transfer(study=good.study, order="one after the other")
        async with working(source, 1):
            assert (await source.ended(fine))["state"] == "succeeded"
            ended = await source.ended(bad)
    assert (ended["state"], ended["tries"], count) == ("failed", 3, 3)
    assert "the connection broke" in ended["reason"]
    listed = (await source.client.get("/transfers?state=failed")).json()["transfers"]
    assert [one["id"] for one in listed] == [bad]


async def test_G24_a_transfer_that_kills_its_worker_is_set_aside(source: Source) -> None:
    context, catalog = source.context, source.context.catalog
    (one,) = await source.study(1)
    await source.register("http://127.0.0.1:1")
    number = await source.transfer(study=one.study, tries=3)
    for _ in range(3):
        assert await queue.claim(catalog, STOW, new_token(), -1.0, 9) is not None  # a lease that has run out already
    assert await deed.claim(context, STOW) is None
    told = await source.get(number)
    assert (told["state"], told["reason"]) == ("failed", "its worker ended in the middle")


async def test_G23_the_claim_of_a_killed_worker_runs_out_and_is_taken_again(source: Source) -> None:
    context = source.context
    (one,) = await source.study(1)
    await source.register("http://127.0.0.1:1")
    await source.transfer(study=one.study)
    first = await deed.claim(context, STOW)
    assert first is not None
    assert await deed.claim(context, STOW) is None
    notices = Notices(context.catalog.url)
    second = await deed.await_claim(context, notices, STOW, 10)
    await notices.close()
    assert second is not None
    assert second.job.id == first.job.id
    with pytest.raises(Exception, match="no such lease"):
        await deed.report(context, first.token, [(1, 1, 0, "")])
    assert [due.sop for due in second.due] == [one.sop]


async def test_a_cancelled_transfer_is_taken_from_its_worker(source: Source) -> None:
    samples = await source.study(3)
    began, may_go_on = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        await may_go_on.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    await source.register(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    number = await source.transfer(study=samples[0].study)
    async with working(source, 1):
        await began.wait()
        assert (await source.client.post(f"/transfers/{number}/cancel")).json()["state"] == "cancelled"
        assert (await source.client.post(f"/transfers/{number}/cancel")).status_code == 400
        await asyncio.sleep(0.6)  # by then the worker has learnt it
        may_go_on.set()
        await asyncio.sleep(0.1)
        assert (await source.get(number))["state"] == "cancelled"
    server.close()


async def test_jobs_of_one_order_are_done_in_their_order(source: Source) -> None:
    samples = [(await source.study(1))[0] for _ in range(6)]
    seen: list[str] = []

    def answer(method: str, path: str, body: bytes) -> tuple[int, object]:
        (one,) = (one for one in samples if one.sop.encode() in body)
        seen.append(one.sop)
        if seen.count(one.sop) < 2:  # each fails once: none may overtake it
            return 500, {}
        return 200, receipt("00081199", one.sop)

    async with scripted(answer) as url:
        await source.register(url)
        numbers = [await source.transfer(study=one.study, order="1.2.3") for one in samples]
        async with working(source, 3):
            for number in numbers:
                assert (await source.ended(number))["state"] == "succeeded"
    assert list(dict.fromkeys(seen)) == [one.sop for one in samples]
    assert seen == sorted(seen, key=[one.sop for one in samples].index)


async def test_a_destination_that_was_forgotten_fails_its_transfers(source: Source) -> None:
    (one,) = await source.study(1)
    await source.register("http://127.0.0.1:1")
    number = await source.transfer(study=one.study)
    await source.client.delete("/destinations/second")
    async with working(source):
        ended = await source.ended(number)
    assert (ended["state"], ended["reason"]) == ("failed", "the destination is not registered any more")


# ---------------------------------------------------------------- leases of bridges


@pytest_asyncio.fixture
async def leased(source: Source) -> AsyncIterator[tuple[Source, Sample, dict[str, Any]]]:
    """A lease of a transfer to a peer."""
    (one,) = await source.study(1)
    await source.client.put("/peers/FAR", json={"host": "127.0.0.1", "port": 4})
    assert (await source.client.post("/transfers", json={"peer": "FAR", "study": one.study})).status_code == 201
    yield source, one, (await source.client.post("/transfers/leases")).json()


Leased = tuple[Source, Sample, dict[str, Any]]


async def test_a_lease_names_its_instances_and_lets_them_be_read(leased: Leased) -> None:
    source, one, lease = leased
    assert (lease["peer"], lease["more"]) == ("FAR", False)
    ((at, *uids, sop_class, syntax),) = lease["instances"]
    assert (at, uids, sop_class) == (1, [one.study, one.series, one.sop], "1.2.840.10008.5.1.4.1.1.7")
    assert syntax == "1.2.840.10008.1.2.1"
    root = f"/transfers/leases/{lease['lease']}"
    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    assert (await source.client.get(root + one.path, headers=accept)).content == one.encode()
    other = (await source.study(1))[0]
    assert (await source.client.get(root + other.path, headers=accept)).status_code == 404
    assert (await source.client.get("/transfers/leases/none" + one.path, headers=accept)).status_code == 404
    assert (await source.client.post("/transfers/leases")).status_code == 204
    told = await source.client.post(root, json={"instances": [[1, 1, 0, ""]], "outcome": "ended"})
    assert told.json() == {"state": "succeeded"}
    assert (await source.client.get(root + one.path, headers=accept)).status_code == 404
    assert (await source.client.post(root, json={})).status_code == 404


WRONG_REPORTS: list[object] = [
    [],
    {"instances": 5},
    {"instances": [[1, 1, 0]]},
    {"instances": [[1, 3, 0, ""]]},
    {"instances": [[1, -1, 0, ""]]},
    {"instances": [["1", 1, 0, ""]]},
    {"instances": [[1, 1, 1 << 40, ""]]},
    {"instances": [[1, 1, 0, None]]},
    {"outcome": "well"},
    {"outcome": "ended", "reason": 5},
]


async def test_a_wrong_report_is_refused(leased: Leased) -> None:
    source, _, lease = leased
    for report in WRONG_REPORTS:
        answer = await source.client.post(f"/transfers/leases/{lease['lease']}", json=report)
        assert (answer.status_code, report) == (400, report)
    assert (await source.get(lease["transfer"]))["state"] == "active"


async def test_a_bridge_that_waits_is_told_at_once(source: Source) -> None:
    (one,) = await source.study(1)
    await source.client.put("/peers/FAR", json={"host": "127.0.0.1", "port": 4})
    waiting: Awaitable[httpx.Response] = asyncio.ensure_future(source.client.post("/transfers/leases?wait=20"))
    await asyncio.sleep(0.2)
    number = (await source.client.post("/transfers", json={"peer": "FAR", "study": one.study})).json()["id"]
    async with asyncio.timeout(10):
        assert (await waiting).json()["transfer"] == number


async def test_only_so_many_transfers_of_a_peer_are_active(source: Source) -> None:
    (one,) = await source.study(1)
    await source.client.put("/peers/FAR", json={"host": "127.0.0.1", "port": 4})
    for _ in range(5):
        await source.client.post("/transfers", json={"peer": "FAR", "study": one.study})
    leases = [await deed.claim(source.context, DIMSE) for _ in range(5)]
    assert [lease is not None for lease in leases] == [True, True, False, False, False]
    first, second = leases[:2]
    assert first is not None
    assert second is not None
    assert await deed.end(source.context, first.token, "unreachable", "down") == "waiting"
    assert await deed.claim(source.context, DIMSE) is None
    await asyncio.sleep(0.1)
    assert await deed.claim(source.context, DIMSE) is None  # one is tried at a time, and `second` still is
    assert await deed.end(source.context, second.token, "more") == "waiting"
    assert await deed.claim(source.context, DIMSE) is not None
