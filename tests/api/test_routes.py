"""Rules by which instances are sent on: what they match, when, and that each event is routed once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from app.archive import routing
from app.archive.search import Search
from app.catalog import changes
from dimse_bridge.services.file_meta import file_meta
from tests.support.archive import RunningArchive
from tests.support.samples import Sample, new_token, new_uid
from tests.support.sending import Source, source, working
from tests.support.small_files import data_set, encode
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
