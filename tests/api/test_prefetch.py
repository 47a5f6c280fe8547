"""Prefetch of priors from another DICOMweb server: which item makes what, that nothing is fetched twice or of another
patient, and the bad days of the source and of the job process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from app.archive import prefetch, worklist
from app.catalog.notices import Notices
from app.dicom.destination import Destination
from app.jobs import prefetch as worker
from app.jobs.wado import WebSource
from tests.support.archive import RunningArchive, free_port
from tests.support.sending import Source, source
from tests.support.small_files import data_set, encode, multipart, new_uid
from tests.support.worklist import RESOURCE, item

__all__ = ["source"]

TODAY = f"{datetime.now():%Y%m%d}"
_NUMBERS = iter(range(1, 1000))


@pytest.fixture
def patient() -> str:
    """A Patient ID of nobody else."""
    return f"PRIOR-{new_uid()}"


def store(archive: RunningArchive, patient: str, day: str, modality: str = "CT", count: int = 2, **more: object) -> str:
    """A study of `count` instances at the second archive; its UID."""
    study, series = more.pop("StudyInstanceUID", new_uid()), new_uid()
    values = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "PatientID": patient, "Modality": modality}
    files = [encode(data_set(**(values | {"StudyDate": day} | more))) for _ in range(count)]
    body, headers = multipart(files)
    assert httpx.post(f"{archive.root}/studies", content=body, headers=headers).status_code == 200
    return str(study)


async def rule(source: Source, **members: object) -> None:
    """Adds a rule about `second`."""
    answer = await source.client.put("/prefetch-rules/one", json={"server": "second"} | members)
    assert answer.status_code in (201, 204), answer.text


async def order(source: Source, patient: str, key: str = "", /, **values: object) -> str:
    """A worklist item for today; the study that it is about."""
    study = str(values.setdefault("StudyInstanceUID", new_uid()))
    one = item(PatientID=patient, **({"step_ScheduledProcedureStepStartDate": TODAY} | values))
    answer = await source.client.put(f"/dicom-web{RESOURCE}/{key or f'item{next(_NUMBERS)}'}", json=one)
    assert answer.status_code in (201, 204), answer.text
    return study


async def jobs(source: Source) -> list[dict[str, Any]]:
    """What the rules have queued by now, the oldest first."""
    while await prefetch.look(source.context):
        pass
    found: list[dict[str, Any]] = (await source.client.get("/transfers")).json()["transfers"]
    return found[::-1]


@asynccontextmanager
async def fetching(source: Source) -> AsyncIterator[asyncio.Task[None]]:
    """The worker of the job process."""
    notices = Notices(source.context.catalog.url)
    task = asyncio.create_task(worker.work(source.context, notices))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await notices.close()


async def here(source: Source, patient: str) -> dict[str, int]:
    """Studies of a patient in the archive, and how many instances each has."""
    answer = await source.client.get("/dicom-web/studies", params={"PatientID": patient})
    found = answer.json() if answer.status_code == 200 else []
    return {one["0020000D"]["Value"][0]: one["00201208"]["Value"][0] for one in found}


@pytest.fixture
def second(archive: RunningArchive) -> RunningArchive:
    """The archive of priors."""
    return archive


async def test_a_rule_is_added_changed_and_removed(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    wrong = [{}, {"server": "third"}, {"peer": "NOBODY"}, {"server": "second", "most": 0}]
    for value in wrong:
        assert (await source.client.put("/prefetch-rules/one", json=value)).status_code == 400
    await rule(source, hours=24, modalities=["same"])
    told = (await source.client.get("/prefetch-rules/one")).json()
    assert (await source.client.get("/prefetch-rules")).json() == {"one": told}
    assert (told["server"], told["hours"], told["modalities"], told["echo"]) == ("second", 24, ["same"], True)
    assert (await source.client.put("/prefetch-rules/one", json=told)).status_code == 204
    assert (await source.client.delete("/prefetch-rules/one")).status_code == 204
    assert (await source.client.delete("/prefetch-rules/one")).status_code == 404
    assert (await source.client.get("/prefetch-rules/one")).status_code == 404


async def test_the_newest_priors_of_the_modality_come(source: Source, second: RunningArchive, patient: str) -> None:
    await source.register(second.root)
    store(second, patient, "20200101")
    wanted = [store(second, patient, "20210101", count=3), store(second, patient, "20220101")]
    store(second, patient, "20230101", "MR")
    store(second, f"{patient}x", "20230101")
    await rule(source, modalities=["same"], most=2)
    study = await order(source, patient, "one")
    store(second, patient, TODAY, StudyInstanceUID=study)
    (job,) = await jobs(source)
    assert (job["kind"], job["server"], job["item"], job["origin"]) == ("prefetch", "second", "one", "prefetch one")
    async with fetching(source):
        ended = await source.ended(job["id"])
    assert (ended["state"], ended["instances"]) == ("succeeded", {"total": 5, "arrived": 5, "refused": 0})
    assert await here(source, patient) == {wanted[0]: 3, wanted[1]: 2}
    rows = (await source.client.get(f"/transfers/{job['id']}/instances")).json()["instances"]
    assert [row["study"] for row in rows] == [wanted[1]] * 2 + [wanted[0]] * 3  # the newest first
    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    for row in rows:
        path = f"/studies/{row['study']}/series/{row['series']}/instances/{row['instance']}"
        async with httpx.AsyncClient() as client:
            there = (await client.get(second.root + path, headers=accept)).content
        assert (await source.client.get(f"/dicom-web{path}", headers=accept)).content == there


async def test_body_part_age_and_where(source: Source, second: RunningArchive, patient: str) -> None:
    await source.register(second.root)
    knee = store(second, patient, "20230101", BodyPartExamined="KNEE")
    store(second, patient, "20230201", BodyPartExamined="HEAD")
    store(second, patient, "20000101", BodyPartExamined="KNEE")
    where = {"ScheduledProcedureStepSequence.ScheduledStationAETitle": "CT1"}
    await rule(source, body_parts=["KNEE"], days=3650, where=where)
    await order(source, patient)
    assert await jobs(source) == []
    await order(source, patient, step_ScheduledStationAETitle="CT1")
    (job,) = await jobs(source)
    async with fetching(source):
        await source.ended(job["id"])
    assert await here(source, patient) == {knee: 2}


async def test_an_item_that_is_done_before_the_rules_are_asked_has_its_priors_too(source: Source, patient: str) -> None:
    await source.register("http://127.0.0.1:1")
    await rule(source, where={"ScheduledProcedureStepSequence.ScheduledStationAETitle": "CT1"})
    for status in ("IN PROGRESS", "COMPLETED", "DISCONTINUED"):
        study = await order(source, f"{patient} {status}", step_ScheduledStationAETitle="CT1")
        await worklist.performed(source.context, new_uid(), status, [(study, "")])
    assert len(await jobs(source)) == 2


async def test_what_is_here_is_not_fetched_again(source: Source, second: RunningArchive, patient: str) -> None:
    await source.register(second.root)
    prior = store(second, patient, "20230101", count=3)
    await rule(source)
    await order(source, patient)
    async with fetching(source):
        (first,) = await jobs(source)
        await source.ended(first["id"])
        await order(source, patient)
        again = (await jobs(source))[1]
        assert (await source.ended(again["id"]))["instances"]["total"] == 0
        path = (await source.client.get(f"/transfers/{first['id']}/instances")).json()["instances"][0]
        gone = f"/dicom-web/studies/{prior}/series/{path['series']}/instances/{path['instance']}"
        assert (await source.client.delete(gone)).status_code == 200
        await order(source, patient)
        part = (await jobs(source))[2]
        assert (await source.ended(part["id"]))["instances"] == {"total": 1, "arrived": 1, "refused": 0}
    assert await here(source, patient) == {prior: 3}


async def test_each_item_is_asked_about_once_and_again_when_its_patient_changes(source: Source, patient: str) -> None:
    await source.register("http://127.0.0.1:1")
    study = await order(source, patient, "item")  # is there before the rule
    await rule(source)
    assert len(await jobs(source)) == 1
    await rule(source, most=4)
    await order(source, patient, "item", StudyInstanceUID=study, RequestedProcedureDescription="another")
    assert len(await jobs(source)) == 1
    await order(source, f"{patient}-merged", "item", StudyInstanceUID=study)
    found = await jobs(source)
    assert len(found) == 2
    assert found[0]["order"] != found[1]["order"]
    await source.client.delete("/prefetch-rules/one")
    await order(source, f"{patient}-third")
    assert len(await jobs(source)) == 2


async def test_some_hours_before_and_not_when_it_is_over(source: Source, patient: str) -> None:
    await source.register("http://127.0.0.1:1")
    await rule(source, hours=6)
    start = datetime.now().astimezone() + timedelta(hours=30)
    when = {"step_ScheduledProcedureStepStartDate": f"{start:%Y%m%d}"}
    when["step_ScheduledProcedureStepStartTime"] = f"{start:%H%M%S}"
    await order(source, patient, "later", **when)
    await order(source, patient, "over", step_ScheduledProcedureStepStartDate="20240229")
    assert await jobs(source) == []
    catalog = source.context.catalog
    seconds = await catalog.fetchval("SELECT extract(epoch FROM look_at - now())::float8 FROM prefetch_look")
    assert 23.5 * 3600 < seconds < 24.1 * 3600
    await catalog.execute("UPDATE prefetch_look SET look_at = now()")
    assert not await prefetch.look(source.context, datetime.now(UTC) + timedelta(hours=25))
    (job,) = await jobs(source)
    assert job["item"] == "later"


async def test_an_item_that_was_taken_back_fetches_nothing(
    source: Source, second: RunningArchive, patient: str
) -> None:
    await source.register(second.root)
    store(second, patient, "20230101")
    await rule(source)
    await order(source, patient, "item")
    (job,) = await jobs(source)
    assert (await source.client.delete(f"/dicom-web{RESOURCE}/item")).status_code == 204
    async with fetching(source):
        ended = await source.ended(job["id"])
    assert (ended["state"], ended["instances"]["total"]) == ("succeeded", 0)
    assert await here(source, patient) == {}


# ---------------------------------------------------------------- bad days


async def test_a_source_that_is_down_for_a_while_costs_no_try(
    source: Source, second: RunningArchive, patient: str
) -> None:
    prior = store(second, patient, "20230101")
    await source.register(f"http://127.0.0.1:{free_port()}/dicom-web")
    await rule(source)
    await order(source, patient)
    (job,) = await jobs(source)
    async with fetching(source):
        body = await source.until(job["id"], lambda body: bool(body["reason"]))
        assert body["reason"] == "no echo: no connection: ConnectError"
        await source.register(second.root)
        ended = await source.ended(job["id"])
    assert (ended["state"], ended["tries"]) == ("succeeded", 1)
    assert await here(source, patient) == {prior: 2}


@asynccontextmanager
async def before(second: RunningArchive, spoilt: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A server before `second` that breaks off the answer to whatever has `spoilt` in its path; its address, and the
    paths that were asked for."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ")[1].decode()
                seen.append(path)
                accept = next(x[8:] for x in head.decode().split("\r\n") if x.lower().startswith("accept:"))
                async with httpx.AsyncClient() as client:
                    found = await client.get(second.url + path, headers={"accept": accept})
                kind = found.headers.get("content-type", "")
                content, length = found.content, len(found.content)
                if spoilt and spoilt in path:
                    content = content[: length // 2]
                writer.write(b"HTTP/1.1 %d X\r\nContent-Type: %b\r\n" % (found.status_code, kind.encode()))
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (length, content))
                if len(content) < length:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/dicom-web", seen
    finally:
        server.close()


async def test_G24_a_poison_study_is_set_aside_and_stops_no_other(
    source: Source, second: RunningArchive, patient: str
) -> None:
    poison, good = store(second, patient, "20230202"), store(second, patient, "20230101")
    async with before(second, f"{poison}/series/") as (url, _):
        await source.register(url)
        await rule(source, tries=2)
        await order(source, patient)
        (job,) = await jobs(source)
        async with fetching(source):
            ended = await source.ended(job["id"])
        assert (ended["state"], ended["tries"]) == ("failed", 2)
        assert "connection broke" in ended["reason"]
    async with before(second, f"{poison}/series") as (url, _), before(second, "") as (well, _):
        await source.register(well)
        assert (await source.client.post(f"/transfers/{job['id']}/retry")).status_code == 200
        async with fetching(source):
            ended = await source.ended(job["id"])
    assert (ended["state"], ended["instances"]["arrived"]) == ("succeeded", 4)
    assert await here(source, patient) == {poison: 2, good: 2}


async def test_G23_a_killed_worker_is_followed_by_another_that_fetches_the_rest(
    source: Source, second: RunningArchive, patient: str
) -> None:
    first, second_study = store(second, patient, "20230202"), store(second, patient, "20230101")
    async with before(second, "") as (url, seen):
        await source.register(url)
        await rule(source)
        await order(source, patient)
        (job,) = await jobs(source)
        claimed = await prefetch.claim(source.context)  # by a worker that is killed when it has one study
        assert claimed is not None
        lease, claimed_job = claimed
        origin = await worker._source(source.context, claimed_job)
        await prefetch.list_priors(source.context, lease, claimed_job, origin)
        missing = (await source.client.get(f"/transfers/{job['id']}/instances")).json()["instances"]
        names = [(one["study"], one["series"], one["instance"]) for one in missing if one["study"] == first]
        assert await origin.fetch(first, names, whole=True) == ""
        await origin.close()
        seen.clear()
        async with fetching(source):
            ended = await source.ended(job["id"])
    assert (ended["state"], ended["instances"]) == ("succeeded", {"total": 4, "arrived": 4, "refused": 0})
    fetched = [path for path in seen if "/instances/" in path]
    assert len(fetched) == 2
    assert all(second_study in path for path in fetched)
    assert await here(source, patient) == {first: 2, second_study: 2}


async def test_a_cancelled_prefetch_ends(source: Source, patient: str) -> None:
    began, may_go_on = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        await may_go_on.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    await source.register(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await rule(source)
    await order(source, patient)
    (job,) = await jobs(source)
    async with fetching(source):
        await began.wait()
        assert (await source.client.post(f"/transfers/{job['id']}/cancel")).json()["state"] == "cancelled"
        await asyncio.sleep(0.6)  # by then the worker has learnt it
        may_go_on.set()
        assert (await source.get(job["id"]))["state"] == "cancelled"
    server.close()


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"no json", "the server's answer is no JSON"), (b"{}", "the server's answer is no list")],
)
async def test_a_server_that_answers_nonsense_is_given_up(
    source: Source, patient: str, body: bytes, reason: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    await source.register(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await rule(source, echo=False, tries=2)
    await order(source, patient)
    (job,) = await jobs(source)
    async with fetching(source):
        ended = await source.ended(job["id"])
    assert (ended["state"], ended["reason"], ended["tries"]) == ("failed", reason, 2)
    server.close()


@pytest.mark.parametrize("told", [True, False], ids=["length", "no_length"])
async def test_an_answer_that_may_be_cut_off_is_not_stored(source: Source, patient: str, told: bool) -> None:
    """The end of the connection may be that of the server: a data set that breaks off would be stored."""
    one = data_set(PatientID=patient, PixelData=bytes(4096))
    content = encode(one)[: None if told else -100]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        length = b"Content-Length: %d\r\n" % len(content) if told else b""
        writer.write(b"HTTP/1.1 200 X\r\nContent-Type: application/dicom\r\n%b\r\n%b" % (length, content))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    there = Destination("there", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    web = WebSource(source.context, there)
    named = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    problem = await web.fetch(named[0], [named], whole=False)
    assert ("may be cut off" in problem, len(await here(source, patient))) == ((False, 1) if told else (True, 0))
    await web.close()
    server.close()


async def test_D1_without_an_echo_nothing_is_asked(source: Source, patient: str) -> None:
    """D1: the echo is on unless it is switched off; when it fails, the prefetch is not performed."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        found = orjson.dumps([])
        status = 200 if b"limit=1" not in seen[-1] or b"limit=1000" in seen[-1] else 500
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(found), found))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    await source.register(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await rule(source)
    await order(source, patient)
    (job,) = await jobs(source)
    async with fetching(source):
        body = await source.until(job["id"], lambda body: "no echo" in body["reason"])
        assert (body["state"], body["tries"]) == ("waiting", 0)
        assert all(path == b"/studies?limit=1" for path in seen)
        await source.client.post(f"/transfers/{job['id']}/cancel")
        seen.clear()
        await rule(source, echo=False)
        await order(source, f"{patient}-2")
        assert (await source.ended((await jobs(source))[1]["id"]))["state"] == "succeeded"
    assert seen
    assert b"/studies?limit=1" not in seen
    server.close()
