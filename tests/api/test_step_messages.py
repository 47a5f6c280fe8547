"""Performed procedure steps told on (D26): each message once, in the order in which they came, with tries, to other web
servers (PS3.18 15) and by the leases of bridges; and what fails is set aside, where people see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from app.archive import transfers as deed
from app.catalog.queue import STOW
from tests.support.archive import RunningArchive
from tests.support.samples import new_uid
from tests.support.scripted_web import scripted
from tests.support.sending import Source, source, working
from tests.support.small_files import data_set
from tests.support.steps import as_json, beginning, ending

__all__ = ["source"]
STEPS = "/dicom-web/modality-performed-procedure-steps"
JSON = {"Content-Type": "application/dicom+json"}
DESCRIPTION = "00400254"
STATION, STATUS = "00400241", "00400252"


class Other:
    """Another server, which takes steps as it is told to."""

    def __init__(self, answer: Callable[[str], int] = lambda path: 200) -> None:
        self._answer = answer
        self.told: list[tuple[str, dict[str, Any]]] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """To one request."""
        assert method == "POST"
        (content,) = orjson.loads(body)
        path = path.removeprefix("/modality-performed-procedure-steps/")
        self.told.append((path, content))
        return self._answer(path), None


async def route(site: Source, url: str, **more: Any) -> None:
    """Tells steps on to a server."""
    await site.register(url, "ris")
    wanted = {"event": "mpps-message", "server": "ris"} | more
    answer = await site.client.put("/routes/steps", json=wanted)
    assert answer.status_code in (201, 204), answer.text


async def tell(source: Source, uid: str, ds: Any, query: str = "") -> None:
    """What a modality says."""
    content = as_json(ds) if not isinstance(ds, dict) else ds
    answer = await source.client.post(f"{STEPS}/{uid}{query}", json=content, headers=JSON)
    assert answer.is_success, answer.text


def described(text: str) -> dict[str, Any]:
    """An N-SET of a description."""
    return {DESCRIPTION: {"vr": "LO", "Value": [text]}}


async def jobs(source: Source) -> list[dict[str, Any]]:
    """The transfers, the oldest first."""
    found: list[dict[str, Any]] = (await source.client.get("/transfers")).json()["transfers"]
    return found[::-1]


async def until(source: Source, states: list[str]) -> list[dict[str, Any]]:
    """The transfers as soon as they are in these states."""
    async with asyncio.timeout(30):
        while True:
            found = await jobs(source)
            if [one["state"] for one in found] == states:
                return found
            await asyncio.sleep(0.05)


async def test_every_message_is_told_on_with_all_its_attributes(source: Source, archive: RunningArchive) -> None:
    uid, begun = new_uid(), beginning(new_uid(), PatientName="Müller^Änne")
    begun.add_new(0x00091001, "LO", "private")
    await route(source, archive.root)
    await tell(source, uid, begun)
    await tell(source, uid, described("Head"), "?update")
    await tell(source, uid, ending([data_set()]), "?update")
    assert [one["performed_step"] for one in await jobs(source)] == [uid] * 3
    async with working(source):
        found = await until(source, ["succeeded"] * 3)
    assert {one["origin"] for one in found} == {"route steps"}
    headers = {"Accept": "application/dicom+json"}
    address = f"{archive.root}/modality-performed-procedure-steps/{uid}"
    async with httpx.AsyncClient() as client:
        (there,) = (await client.get(address, headers=headers)).json()
    (here,) = (await source.client.get(f"{STEPS}/{uid}", headers=headers)).json()
    assert there == here
    assert there["00100010"]["Value"] == [{"Alphabetic": "Müller^Änne"}]
    assert "00091001" in there
    assert there[DESCRIPTION]["Value"] == ["Head"]


async def test_the_order_is_kept_however_often_it_fails(source: Source) -> None:
    uids = [new_uid(), new_uid()]
    failing: dict[str, int] = {}

    def answer(path: str) -> int:
        failing[path] = failing.get(path, 0) + 1
        return 500 if failing[path] < 3 and "?update" not in path else 200

    other = Other(answer)
    async with scripted(other.answer) as url:
        await route(source, url)
        for uid in uids:
            await tell(source, uid, beginning(new_uid()))
        for word in ("one", "two"):
            for uid in uids:
                await tell(source, uid, described(word), "?update")
        for uid in uids:
            await tell(source, uid, ending([data_set()]), "?update")
        async with working(source, 3):
            await until(source, ["succeeded"] * 8)
    for uid in uids:
        mine = [(path, content) for path, content in other.told if path.startswith(uid)]
        assert [path for path, _ in mine] == [uid] * 3 + [f"{uid}?update"] * 3
        assert [content[DESCRIPTION]["Value"] for _, content in mine[3:5]] == [["one"], ["two"]]
        assert mine[5][1][STATUS]["Value"] == ["COMPLETED"]


async def test_nothing_overtakes_a_message_that_was_set_aside(source: Source) -> None:
    uid, is_broken = new_uid(), True
    other = Other(lambda path: 400 if is_broken else 200)
    async with scripted(other.answer) as url:
        await route(source, url, tries=2)
        await tell(source, uid, beginning(new_uid()))
        await tell(source, uid, described("one"), "?update")
        async with working(source):
            first, second = await until(source, ["failed", "waiting"])
            assert (first["tries"], first["reason"]) == (2, "the server answered 400")
            assert second["reason"] == f"waits for transfer {first['id']}, which failed"
            await tell(source, new_uid(), beginning(new_uid()))  # another step is not held up
            is_broken = False
            await until(source, ["failed", "waiting", "succeeded"])
            assert [path for path, _ in other.told if "?update" in path] == []
            assert (await source.client.post(f"/transfers/{first['id']}/retry")).is_success
            await until(source, ["succeeded"] * 3)
    assert other.told[-1][0] == f"{uid}?update"


async def test_who_cancels_a_message_cancels_those_behind_it(source: Source) -> None:
    uid = new_uid()
    await route(source, "http://127.0.0.1:1")
    await tell(source, uid, beginning(new_uid()))
    await tell(source, uid, described("one"), "?update")
    first, _ = await jobs(source)
    assert (await source.client.post(f"/transfers/{first['id']}/cancel")).is_success
    assert [one["state"] for one in await jobs(source)] == ["cancelled", "cancelled"]
    await tell(source, uid, described("two"), "?update")
    assert len(await jobs(source)) == 2


async def test_a_destination_that_is_away_is_waited_for(source: Source) -> None:
    answers = [503, -1]
    other = Other(lambda path: answers.pop() if answers else 200)
    async with scripted(other.answer) as url:
        await route(source, url, tries=1)
        await tell(source, new_uid(), beginning(new_uid()))
        async with working(source):
            (one,) = await until(source, ["succeeded"])
    assert (one["tries"], len(other.told)) == (1, 3)


async def test_what_a_dead_worker_had_told_counts_as_told(source: Source) -> None:
    uid = new_uid()
    other = Other(lambda path: 409)
    async with scripted(other.answer) as url:
        await route(source, url)
        await tell(source, uid, beginning(new_uid()))
        await tell(source, uid, ending([data_set()]), "?update")
        async with working(source):
            first, second = await until(source, ["succeeded", "succeeded"])
    assert first["reason"] == "the server has it already"
    assert second["tries"] == 2  # the end of a step may have come by the first one
    assert [path for path, _ in other.told] == [uid, f"{uid}?update", f"{uid}?update"]


async def test_only_stations_that_are_named(source: Source) -> None:
    other = Other()
    async with scripted(other.answer) as url:
        await route(source, url, source=["CT1", "CT2"])
        await tell(source, new_uid(), beginning(new_uid()))
        await tell(source, new_uid(), beginning(new_uid(), PerformedStationAETitle="MR1"))
        async with working(source):
            await until(source, ["succeeded"])
    assert [content[STATION]["Value"] for _, content in other.told] == [["CT1"]]


async def test_one_message_for_a_destination_of_several_routes_and_none_for_what_is_refused(source: Source) -> None:
    uid = new_uid()
    await route(source, "http://127.0.0.1:1")
    assert (await source.client.put("/routes/more", json={"event": "mpps-message", "server": "ris"})).is_success
    off = {"event": "mpps-message", "server": "ris", "enabled": False}
    await tell(source, uid, beginning(new_uid()))
    assert len(await jobs(source)) == 1
    again = await source.client.post(f"{STEPS}/{uid}", json=as_json(beginning(new_uid())), headers=JSON)
    assert again.status_code == 409
    assert len(await jobs(source)) == 1
    for name in ("steps", "more"):
        assert (await source.client.put(f"/routes/{name}", json=off)).is_success
    await tell(source, new_uid(), beginning(new_uid()))
    assert len(await jobs(source)) == 1
    await tell(source, uid, described("one"), "?update")  # what began to be told is told to its end
    assert len(await jobs(source)) == 2


@pytest.mark.parametrize(
    "more", [{"where": {"Modality": "CT"}}, {"commit": True}, {"commit": 1}, {"source": "CT1"}, {"event": "steps"}]
)
async def test_a_wrong_route_is_refused(source: Source, more: dict[str, Any]) -> None:
    await source.register("http://127.0.0.1:1", "ris")
    wanted = {"event": "mpps-message", "server": "ris"} | more
    assert (await source.client.put("/routes/steps", json=wanted)).status_code == 400


async def test_a_route_is_told_as_it_was_given(source: Source) -> None:
    await route(source, "http://127.0.0.1:1", source=["CT1"], tries=3)
    assert (await source.client.get("/routes/steps")).json() == {
        "event": "mpps-message", "server": "ris", "where": {}, "source": ["CT1"], "echo": False, "tries": 3,
        "enabled": True,
    }  # fmt: skip


async def test_a_bridge_gets_the_message_with_its_lease(source: Source) -> None:
    uid = new_uid()
    await source.client.put("/peers/RIS", json={"host": "127.0.0.1", "port": 4})
    assert (await source.client.put("/routes/steps", json={"event": "mpps-message", "peer": "RIS"})).is_success
    await tell(source, uid, beginning(new_uid()))
    await tell(source, uid, described("one"), "?update")
    lease = (await source.client.post("/transfers/leases")).json()
    assert (lease["peer"], lease["step"]["uid"], lease["step"]["operation"]) == ("RIS", uid, "create")
    assert lease["step"]["attributes"][STATION]["Value"] == ["CT1"]
    assert (await source.client.post("/transfers/leases")).status_code == 204  # the next one waits
    path = f"/transfers/leases/{lease['lease']}"
    assert (await source.client.post(path, json={"outcome": "ended"})).json() == {"state": "succeeded"}
    lease = (await source.client.post("/transfers/leases")).json()
    assert (lease["step"]["operation"], lease["step"]["attributes"]) == ("update", described("one"))


async def test_G23_a_message_survives_its_worker(source: Source) -> None:
    other = Other()
    async with scripted(other.answer) as url:
        await route(source, url)
        await tell(source, new_uid(), beginning(new_uid()))
        assert await deed.claim(source.context, STOW) is not None  # and never heard of again
        async with working(source):
            await until(source, ["succeeded"])
    assert len(other.told) == 1
