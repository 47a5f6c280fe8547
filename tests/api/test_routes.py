"""Rules by which instances are sent on: what they match, when, and that each event is routed once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from pydicom.dataset import Dataset

from app.archive import performed_steps, routing
from app.archive.search import Search
from app.catalog import changes
from dimse_bridge.services.file_meta import file_meta
from tests.support.archive import RunningArchive
from tests.support.samples import Sample, new_token, new_uid
from tests.support.sending import Source, source, working
from tests.support.small_files import data_set, encode
from tests.support.steps import as_json, beginning, ending
from tests.support.stored import put

__all__ = ["source"]

WRONG: list[object] = [
    [],
    {},
    {"event": "instance"},
    {"event": "patient", "server": "second"},
    {"event": "study", "server": "second", "peer": "A"},
    {"event": "study", "server": "third"},
    {"event": "study", "peer": "NOBODY"},
    {"event": "study", "server": "second", "where": []},
    {"event": "study", "server": "second", "where": {"Modality": 5}},
    {"event": "study", "server": "second", "where": {"StudyDate": "yesterday"}},
    {"event": "study", "server": "second", "source": ["A"]},
    {"event": "instance", "server": "second", "source": ["x" * 17]},
    {"event": "study", "server": "second", "seconds": -1},
    {"event": "study", "server": "second", "seconds": True},
    {"event": "study", "server": "second", "tries": 1001},
    {"event": "study", "server": "second", "echo": 1},
    {"event": "study", "server": "second", "enabled": None},
    {"event": "study", "server": "second", "colour": "red"},
]


async def route(source: Source, name: str, /, **members: Any) -> None:
    """Adds a route to `second`."""
    answer = await source.client.put(f"/routes/{name}", json={"server": "second"} | members)
    assert answer.status_code == 201, answer.text


async def queued(source: Source) -> list[dict[str, Any]]:
    """The transfers that there are, the oldest first."""
    found: list[dict[str, Any]] = (await source.client.get("/transfers")).json()["transfers"]
    return found[::-1]


async def follow(source: Source) -> None:
    """Asks the routes about everything that was committed."""
    assert await changes.sequence(source.context.catalog, None) is None
    while await routing.follow(source.context, Search(source.context)):
        pass


async def test_a_route_is_added_changed_and_removed(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    await route(source, "ct", event="study", where={"ModalitiesInStudy": "CT"}, seconds=5, echo=True)
    told = {
        "event": "study",
        "server": "second",
        "where": {"ModalitiesInStudy": "CT"},
        "seconds": 5,
        "echo": True,
        "tries": 0,
        "enabled": True,
    }
    assert (await source.client.get("/routes")).json() == {"ct": told}
    assert (await source.client.get("/routes/ct")).json() == told
    assert (await source.client.put("/routes/ct", json=told | {"enabled": False})).status_code == 204
    assert not (await source.client.get("/routes/ct")).json()["enabled"]
    assert (await source.client.delete("/routes/ct")).status_code == 204
    assert (await source.client.delete("/routes/ct")).status_code == 404
    assert (await source.client.get("/routes/ct")).status_code == 404


async def test_a_wrong_route_is_refused(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    for value in WRONG:
        assert ((await source.client.put("/routes/one", json=value)).status_code, value) == (400, value)
    assert (await source.client.put("/routes/a%20b", json={"event": "study", "server": "second"})).status_code == 400
    assert (await source.client.get("/routes")).json() == {}


async def test_instances_are_routed_by_attributes_and_by_who_sent_them(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    await route(source, "wild", event="instance", where={"PatientName": "Doe^J*", "Rows": "4"})
    await route(source, "other", event="instance", where={"Modality": "MR"})
    await route(source, "source", event="instance", source=["CT1", "CT2"])
    await route(source, "off", event="instance", enabled=False)
    doe, roe = data_set(), data_set(PatientName="Roe^Jane")
    await put(source.context, encode(doe))
    plain = encode(roe)
    body = plain[plain.index(b"\x08\x00\x05\x00CS") :]
    meta = file_meta(roe.SOPClassUID, roe.SOPInstanceUID, "1.2.840.10008.1.2.1", "CT2")
    await put(source.context, meta + body)
    await follow(source)
    jobs = await queued(source)
    assert [(job["origin"], job["instances"]["total"]) for job in jobs] == [("route source", 1), ("route wild", 1)]
    sent = [(await source.client.get(f"/transfers/{job['id']}/instances")).json()["instances"][0] for job in jobs]
    assert [one["instance"] for one in sent] == [roe.SOPInstanceUID, doe.SOPInstanceUID]


async def test_each_event_is_routed_once(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    await source.study(2)
    await follow(source)
    await route(source, "all", event="instance")  # what was there before is not its business
    samples = await source.study(3)
    await follow(source)
    await follow(source)
    (job,) = await queued(source)
    assert job["instances"]["total"] == 3
    again = samples[0].other_content()
    await put(source.context, again.encode())
    await put(source.context, again.encode())  # the same once more is no event
    await follow(source)
    assert [one["instances"]["total"] for one in await queued(source)] == [3, 1]


async def test_studies_and_series_that_became_quiet_arrive(source: Source, archive: RunningArchive) -> None:
    await source.register(archive.root)
    await route(source, "study", event="study", seconds=1, where={"ModalitiesInStudy": "OT"}, echo=True)
    await route(source, "series", event="series", seconds=2, where={"Modality": "OT"})
    await route(source, "none", event="series", seconds=1, where={"Modality": "CT"})
    samples = await source.study(4)
    async with working(source), asyncio.timeout(30):
        while True:
            jobs = await queued(source)
            if [job["state"] for job in jobs] == ["succeeded", "succeeded"]:
                break
            await asyncio.sleep(0.1)
    assert [job["origin"] for job in jobs] == ["route study", "route series"]
    async with httpx.AsyncClient() as client:
        for one in samples:
            assert (await client.get(f"{archive.root}{one.path}/metadata")).status_code == 200


async def test_two_archives_that_route_to_each_other_come_to_rest(source: Source, archive: RunningArchive) -> None:
    """The same content again is no event, so nothing goes in circles."""
    await source.register(archive.root)
    await route(source, "there", event="instance")
    one = Sample(new_uid(), new_uid(), new_uid(), new_token())
    async with working(source), asyncio.timeout(30):
        await put(source.context, one.encode())
        while True:
            if [job["state"] for job in await queued(source)] == ["succeeded"]:
                break
            await asyncio.sleep(0.1)
        await put(source.context, one.encode())  # as if it came back
        await asyncio.sleep(1.2)
    assert len(await queued(source)) == 1


async def test_what_an_undo_shows_again_is_routed(source: Source) -> None:
    """Hidden before the routes were asked about it, it was sent by none."""
    await source.register("http://127.0.0.1:1")
    for name, members in (("all", {}), ("doe", {"where": {"PatientName": "Doe*"}}), ("source", {"source": ["CT2"]})):
        await route(source, name, event="instance", **members)
    one, _, newer = await source.study(3)
    deleted = await source.client.delete(f"/dicom-web/studies/{one.study}")
    await follow(source)
    assert await queued(source) == []
    await put(source.context, newer.other_content().encode())
    await follow(source)
    assert [(job["origin"], job["instances"]["total"]) for job in await queued(source)] == [("route all", 1)]
    assert (await source.client.post(deleted.json()["undo"])).status_code == 200
    await follow(source)
    await follow(source)
    _, undone = await queued(source)
    assert (undone["origin"], undone["instances"]["total"]) == ("route all", 2), "what is newer stays, and was sent"
    sent = (await source.client.get(f"/transfers/{undone['id']}/instances")).json()["instances"]
    assert newer.sop not in {row["instance"] for row in sent}


# ---------------------------------------------------------------- performed procedure steps


def series_of(count: int) -> list[Dataset]:
    images = [data_set() for _ in range(count)]
    for image in images:
        image.StudyInstanceUID, image.SeriesInstanceUID = images[0].StudyInstanceUID, images[0].SeriesInstanceUID
    return images


async def step(source: Source, uid: str, ds: Dataset, query: str = "") -> None:
    """N-CREATE, or N-SET."""
    headers = {"Content-Type": "application/dicom+json"}
    address = f"/dicom-web/modality-performed-procedure-steps/{uid}{query}"
    answer = await source.client.post(address, json=as_json(ds), headers=headers)
    assert answer.status_code in (200, 201), answer.text


async def told(source: Source, study: str) -> list[str]:
    """What the change feed has of the steps of a study."""
    await follow(source)
    found = (await source.client.get("/changes", params={"limit": "1000"})).json()["changes"]
    return [one["kind"] for one in found if one["study"] == study and one["kind"].endswith("-completed")]


async def settled(source: Source, uid: str) -> None:
    """All instances of a completed step were seen to be there."""
    async with asyncio.timeout(30):
        while not await source.context.catalog.fetchval("SELECT complete_at FROM performed_step WHERE uid = $1", uid):
            await performed_steps.settle(source.context)
            await asyncio.sleep(0.1)


async def test_a_study_goes_when_its_step_is_completed_and_all_of_it_is_there(source: Source) -> None:
    await source.register("http://127.0.0.1:1")
    await route(source, "mpps", event="mpps", where={"ModalitiesInStudy": "OT"})
    await route(source, "other", event="mpps", where={"ModalitiesInStudy": "MR"})
    images, uid = series_of(3), str(new_uid())
    study = str(images[0].StudyInstanceUID)
    await step(source, uid, beginning(study))
    for image in images[:2]:
        await put(source.context, encode(image))
    await step(source, uid, ending(images), "?update")
    assert await told(source, study) == []
    assert await queued(source) == []
    await put(source.context, encode(images[2]))
    await settled(source, uid)
    assert await told(source, study) == ["step-completed", "study-completed"]
    await performed_steps.settle(source.context)
    assert len(await told(source, study)) == 2
    (job,) = await queued(source)
    assert (job["origin"], job["instances"]["total"], job["echo"]) == ("route mpps", 3, True)


async def test_D24_a_study_is_completed_by_the_last_of_its_steps(source: Source) -> None:
    first, second = series_of(1), series_of(1)
    study = str(first[0].StudyInstanceUID)
    second[0].StudyInstanceUID = study
    uids = [str(new_uid()) for _ in range(3)]
    for uid in uids:
        await step(source, uid, beginning(study))
    for uid, images in zip(uids[:2], (first, second), strict=True):
        await put(source.context, encode(images[0]))
        await step(source, uid, ending(images), "?update")
        await settled(source, uid)
    assert await told(source, study) == ["step-completed", "step-completed"]
    await step(source, uids[2], ending([], "DISCONTINUED"), "?update")
    assert await told(source, study) == ["step-completed", "step-completed", "study-completed"]


async def test_D24_studies_are_not_completed_by_steps_when_the_archive_says_so(source: Source) -> None:
    source.context.steps_complete_studies = False
    images, uid = series_of(1), str(new_uid())
    study = str(images[0].StudyInstanceUID)
    await put(source.context, encode(images[0]))
    await step(source, uid, beginning(study))
    await step(source, uid, ending(images), "?update")
    assert await told(source, study) == ["step-completed"]


async def test_D24_of_two_steps_that_end_at_a_time_one_completes_the_study(source: Source) -> None:
    images = [series_of(1) for _ in range(4)]
    study = str(images[0][0].StudyInstanceUID)
    uids = [str(new_uid()) for _ in images]
    for uid, (image,) in zip(uids, images, strict=True):
        image.StudyInstanceUID = study
        await put(source.context, encode(image))
        await step(source, uid, beginning(study))
    endings = zip(uids, images, strict=True)
    await asyncio.gather(*(step(source, uid, ending(one), "?update") for uid, one in endings))
    assert sorted(await told(source, study)) == ["step-completed"] * 4 + ["study-completed"]


# ---------------------------------------------------------------- the echo before


async def test_D1_without_an_echo_nothing_is_routed(source: Source) -> None:
    """D1: the echo is on unless it is switched off; when it fails, nothing is sent."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head.split(" ")[0])
        length = next((int(x[15:]) for x in head.lower().split("\r\n") if x.startswith("content-length:")), 0)
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    await source.register(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await route(source, "usual", event="instance", where={"PatientID": "D1"})
    await route(source, "without", event="instance", where={"PatientID": "D1-OFF"}, echo=False)
    await put(source.context, encode(data_set(PatientID="D1")))
    async with working(source):
        await source.until(1, lambda body: "answers a search with 400" in body.get("reason", ""))
        job = await source.get(1)
        assert (job["state"], job["tries"]) == ("waiting", 0)
        assert set(seen) == {"GET"}
        await source.client.post("/transfers/1/cancel")
        await put(source.context, encode(data_set(PatientID="D1-OFF")))
        await source.until(2, lambda body: body.get("state") == "failed")
    assert "POST" in seen
    server.close()
