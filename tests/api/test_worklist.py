"""The worklist over HTTP: PS3.18 14.4 search, and items created, replaced, retrieved and deleted (ours)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.archive import worklist
from app.archive.context import Context
from app.archive.worklist_rules import WorklistRules
from app.dicom.worklist_keys import KEYS
from app.main import create_app
from app.security.asserted import CACHE_SECONDS
from app.settings import Settings
from tests.requirements.instances import CT, encode, make, store
from tests.support.database import DatabaseServer
from tests.support.samples import new_uid
from tests.support.steps import as_json, beginning, ending
from tests.support.worklist import RESOURCE, STEP, item, step_of, text

JSON = "application/dicom+json"


class Archive:
    """An archive in this process."""

    def __init__(self, client: httpx.AsyncClient, context: Context) -> None:
        self.client = client
        self.context = context

    async def create(self, **values: object) -> str:
        """Adds an item; its address."""
        answer = await self.client.post(RESOURCE, json=item(**values), headers={"Content-Type": JSON})
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    async def search(self, **keys: str) -> list[dict[str, Any]]:
        """What a search finds; keys of the step begin with `step_`."""
        names = {name: f"{STEP}.{name[5:]}" if name.startswith("step_") else name for name in keys}
        answer = await self.client.get(RESOURCE, params={names[name]: value for name, value in keys.items()})
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.content else []

    async def names(self, **keys: str) -> list[str]:
        return [text(found, "00100010") for found in await self.search(**keys)]


@pytest.fixture(scope="module")
def database_url(database_server: DatabaseServer) -> Iterator[str]:
    """A migrated database for all of these tests; each finds it without items and peers."""
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def archive(database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    app = create_app(Settings(data=tmp_path, reserve_mib=0, lenient_matching=False), database_url)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/dicom-web") as client:
            await app.state.context.catalog.execute("TRUNCATE worklist_item, peer CASCADE")
            yield Archive(client, app.state.context)


async def test_an_item_is_created_replaced_retrieved_and_deleted(archive: Archive) -> None:
    where = await archive.create(PatientName="Doe^Jane", PatientID="P1")
    assert where.startswith(f"http://127.0.0.1/dicom-web{RESOURCE}/")
    kept = (await archive.client.get(where)).json()
    assert (text(kept, "00100010"), text(kept, "00100020")) == ("Doe^Jane", "P1")
    changed = item(PatientName="Roe^Jane", PatientID="P1", PatientComments="hard of hearing")
    assert (await archive.client.put(where, json=changed)).status_code == 204
    assert await archive.names() == ["Roe^Jane"]
    assert (await archive.client.delete(where)).status_code == 204
    assert (await archive.client.delete(where)).status_code == 404
    assert (await archive.client.get(where)).status_code == 404
    assert await archive.search() == []


async def test_a_name_of_the_senders_choice_makes_a_request_repeatable(archive: Archive) -> None:
    path = f"{RESOURCE}/ris-4711"
    assert (await archive.client.put(path, json=item(PatientID="P1"))).status_code == 201
    assert (await archive.client.put(path, json=item(PatientID="P1"))).status_code == 204
    assert len(await archive.search()) == 1
    assert (await archive.client.put(f"{RESOURCE}/a%20b", json=item())).status_code == 400


async def test_every_return_key_is_there_and_what_must_be_is_made(archive: Archive) -> None:
    given = item(PatientID="P1", AccessionNumber="A1", step_Modality="CT")
    del given[STEP]["Value"][0]["00400003"]
    assert (await archive.client.post(RESOURCE, json=[given])).status_code == 201
    (found,) = await archive.search()
    step = step_of(found)
    for key in KEYS:
        if key.is_always_there:
            assert (step if key.in_step else found)[key.attribute.hex]["vr"] == key.attribute.vr
    assert text(found, "0020000D").startswith("2.25.")
    assert text(found, "00401001") == text(step, "00400009") == "A1"
    assert text(step, "00400003") == "000000"
    assert list(found) == sorted(found)


async def test_the_study_of_an_order_is_the_same_for_each_of_its_steps(archive: Archive) -> None:
    for modality in ("CT", "PT"):
        await archive.create(PatientID="P1", AccessionNumber="A1", RequestedProcedureID="R1", step_Modality=modality)
    await archive.create(PatientID="P2", AccessionNumber="A1", RequestedProcedureID="R1")
    assert len({text(found, "0020000D") for found in await archive.search()}) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"PatientID": None}, "PatientID is missing"),
        ({"PatientName": ""}, "PatientName is missing"),
        ({"step_Modality": None}, "Modality is missing"),
        ({"step_ScheduledProcedureStepStartDate": None}, "StartDate is missing"),
        ({"step_ScheduledProcedureStepStartDate": "2024-13-01"}, "StartDate is no date"),
        ({"step_ScheduledProcedureStepStartTime": "25"}, "StartTime is no time"),
        ({"StudyInstanceUID": "1.2/3"}, "StudyInstanceUID is no UID"),
    ],
)
async def test_what_an_item_lacks_is_named(archive: Archive, change: dict[str, Any], said: str) -> None:
    answer = await archive.client.post(RESOURCE, json=item(**change))
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 409),
        (b'"x"', 409),
        (b"{}", 400),
        (b'{"00400100": {"vr": "SQ", "Value": [{}, {}]}}', 400),
        (b'{"00400100": {"vr": "SQ", "Value": [5]}}', 409),
        (b'{"00100010": {"vr": "PN", "Value": [7]}}', 409),
        (b'{"00100010": {"vr": "OW", "BulkDataURI": "http://x"}}', 409),
        (b"\xff" * 100, 400),
    ],
)
async def test_bodies_that_are_no_item_are_refused(archive: Archive, body: bytes, status: int) -> None:
    answer = await archive.client.post(RESOURCE, content=body, headers={"Content-Type": JSON})
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    other = await archive.client.post(RESOURCE, content=body, headers={"Content-Type": "text/plain"})
    assert other.status_code == 415


async def test_keys_of_the_step_match_in_its_sequence(archive: Archive) -> None:
    await archive.create(PatientName="A", step_Modality="CT", step_ScheduledStationAETitle=["CT1", "CT2"])
    await archive.create(PatientName="B", step_Modality="MR", step_ScheduledStationAETitle=["MR1"])
    assert await archive.names(step_Modality="CT") == ["A"]
    assert await archive.names(step_Modality="CT,MR") == ["A", "B"]
    assert await archive.names(step_ScheduledStationAETitle="CT2") == ["A"]
    assert await archive.names(step_ScheduledStationAETitle="?R*") == ["B"]
    assert await archive.names(**{"00400100.00080060": "MR"}) == ["B"]
    assert await archive.names(step_Modality="US") == []


async def test_any_attribute_is_matched_with_or_without_a_column(archive: Archive) -> None:
    code = {"00080100": {"vr": "SH", "Value": ["CTABD"]}, "00080102": {"vr": "SH", "Value": ["99X"]}}
    given = item(PatientName="A", PatientComments="deaf", RequestedProcedurePriority="STAT")
    given[STEP]["Value"][0]["00400008"] = {"vr": "SQ", "Value": [code]}
    await archive.client.post(RESOURCE, json=given)
    await archive.create(PatientName="B")
    assert await archive.names(RequestedProcedurePriority="STAT") == ["A"]
    assert await archive.names(PatientComments="de*") == ["A"]
    assert await archive.names(**{"00400100.00400008.00080100": "CTABD"}) == ["A"]
    assert await archive.names(RequestedProcedurePriority="LOW") == []
    answer = await archive.client.get(RESOURCE, params={"PatientComments": "d*", "limit": "1", "count": "true"})
    assert answer.headers["X-Total-Count"] == "1"


async def test_other_attributes_are_returned_when_they_are_asked_for(archive: Archive) -> None:
    given = item(PatientName="A") | {"00181030": {"vr": "LO", "Value": ["P"]}, "00181031": {"vr": "LO"}}
    await archive.client.post(RESOURCE, json=given)
    (found,) = await archive.search()
    assert "00181030" not in found
    (found,) = await archive.search(includefield="ProtocolName")
    assert ("00181030" in found, "00181031" in found) == (True, False)
    (found,) = await archive.search(includefield="all")
    assert "00181031" in found


async def test_answers_come_in_the_order_of_their_start_page_by_page(archive: Archive) -> None:
    starts = [("20240103", "0800"), ("20240101", "1200"), ("20240101", "0930"), ("20240102", "07")]
    for day, time in starts:
        await archive.create(
            PatientName=day + time, step_ScheduledProcedureStepStartDate=day, step_ScheduledProcedureStepStartTime=time
        )
    found, address = [], f"{RESOURCE}?limit=3"
    while address:
        answer = await archive.client.get(address)
        found += [text(one, "00100010") for one in answer.json()]
        address = answer.links.get("next", {}).get("url", "")
    assert found == sorted(day + time for day, time in starts)
    assert await archive.names(limit="2", offset="1") == found[1:3]


async def test_dates_with_times(archive: Archive) -> None:
    for day, time in (("20240101", "0800"), ("20240101", "1200"), ("20240102", "0800"), ("20240103", "1200")):
        await archive.create(
            PatientName=f"{day[-1]} {time}",
            step_ScheduledProcedureStepStartDate=day,
            step_ScheduledProcedureStepStartTime=time,
        )

    async def at(days: str, times: str) -> list[str]:
        keys = {"step_ScheduledProcedureStepStartDate": days, "step_ScheduledProcedureStepStartTime": times}
        return await archive.names(**{name: value for name, value in keys.items() if value})

    assert await at("20240101", "0900-") == ["1 1200"]
    assert await at("20240101-20240101", "-0900") == ["1 0800"]
    assert await at("20240101-20240102", "0900-1000") == ["1 1200", "2 0800"]
    assert await at("20240101-20240103", "0900-") == ["1 1200", "2 0800", "3 1200"]
    assert await at("20240102-", "0900-1000") == ["3 1200"]
    assert await at("-20240102", "-0700") == ["1 0800", "1 1200"]
    assert await at("20240101-20240103", "0800") == ["1 0800", "2 0800"]
    assert await at("", "1100-1300") == ["1 1200", "3 1200"]
    archive.context.worklist = WorklistRules(times_over_days="each-day", time_without_date="any")
    assert await at("20240101-20240102", "0900-1300") == ["1 1200"]
    archive.context.worklist = WorklistRules(times_over_days="ignored", time_without_date="today")
    assert await at("20240101-20240102", "0900-1300") == ["1 0800", "1 1200", "2 0800"]
    assert await at("", "1100-1300") == []
    await archive.create(PatientName="today", step_ScheduledProcedureStepStartDate=f"{date.today():%Y%m%d}")
    assert await at("", "-235959") == ["today"]
    assert await at("", "08") == ["1 0800", "2 0800", "today"]


@pytest.mark.parametrize("accept", [JSON, "application/json", f'multipart/related; type="{JSON}"'])
async def test_answers_in_json(archive: Archive, accept: str) -> None:
    await archive.create(PatientName="Ä^Ö")
    answer = await archive.client.get(RESOURCE, headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith(accept.split(";")[0])
    assert "Ä^Ö" in answer.text
    assert "ISO_IR 192" in answer.text


@pytest.mark.parametrize("accept", ["application/dicom+xml", 'multipart/related; type="application/dicom+xml"'])
async def test_answers_in_xml(archive: Archive, accept: str) -> None:
    await archive.create(PatientName="A")
    answer = await archive.client.get(RESOURCE, headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith(accept.split(";")[0])
    assert answer.text.count("<NativeDicomModel") == 1
    await archive.create(PatientName="B")
    answer = await archive.client.get(RESOURCE, headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("multipart/related")
    assert answer.text.count("<NativeDicomModel") == 2
    assert (await archive.client.get(RESOURCE, headers={"Accept": "image/png"})).status_code == 406


async def test_mpps_moves_an_item_on(archive: Archive) -> None:
    await archive.create(PatientName="A", StudyInstanceUID="1.2.3", step_ScheduledProcedureStepID="S1")
    await archive.create(PatientName="B", StudyInstanceUID="1.2.3", step_ScheduledProcedureStepID="S2")
    assert await worklist.performed(archive.context, "1.9", "IN PROGRESS", [("1.2.3", "S1")]) == 1
    first, second = await archive.search()
    assert (text(step_of(first), "00400020"), "00400020" in step_of(second)) == ("STARTED", False)
    assert await worklist.performed(archive.context, "1.9", "COMPLETED", [("1.2.3", "S1")]) == 1
    assert await archive.names() == ["B"]
    assert await worklist.performed(archive.context, "1.8", "IN PROGRESS", [("1.2.3", "")]) == 2
    assert await worklist.performed(archive.context, "1.7", "COMPLETED", [("1.2.4", "S1"), ("1.2.3", "S3")]) == 0


_CANNOT_CHANGE = """
CREATE FUNCTION cannot_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'query_canceled'; END $$;
CREATE TRIGGER cannot_change BEFORE UPDATE ON worklist_item EXECUTE FUNCTION cannot_change();
"""


async def test_a_step_is_kept_together_with_what_it_says_of_its_item(archive: Archive) -> None:
    """Else a kill between the two would leave the item on the worklist for ever: the step cannot be told again."""
    await archive.create(PatientName="A", StudyInstanceUID="1.2.3", step_ScheduledProcedureStepID="S1")
    path = f"/modality-performed-procedure-steps/{new_uid()}"
    image = make("77001", 1)
    told = [(path, beginning("1.2.3", step_id="S1"), 201), (f"{path}?update", ending([image]), 200)]
    for where, content, status in told:
        body = [as_json(content)]
        await archive.context.catalog.execute(_CANNOT_CHANGE)
        try:
            answer = await archive.client.post(where, json=body, headers={"Content-Type": JSON})
        finally:
            await archive.context.catalog.execute("DROP FUNCTION cannot_change CASCADE")
        assert answer.status_code == 503, answer.text
        answer = await archive.client.post(where, json=body, headers={"Content-Type": JSON})
        assert answer.status_code == status, answer.text
    assert await archive.search() == []


async def test_a_wrong_entry_is_to_be_done_still(archive: Archive) -> None:
    await archive.create(PatientName="A", StudyInstanceUID="1.2.3", step_ScheduledProcedureStepID="S1")
    steps = [("1.2.3", "S1")]
    await worklist.performed(archive.context, "1.9", "IN PROGRESS", steps)
    await worklist.performed(archive.context, "1.9", "DISCONTINUED", steps, wrong_entry=True)
    (found,) = await archive.search()
    assert "00400020" not in step_of(found)
    await worklist.performed(archive.context, "1.10", "DISCONTINUED", steps)
    assert await archive.search() == []


async def test_started_items_can_be_hidden_and_done_ones_stay_a_while(archive: Archive) -> None:
    where = await archive.create(StudyInstanceUID="1.2.3")
    archive.context.worklist = WorklistRules(started_minutes=0, done_minutes=10)
    await worklist.performed(archive.context, "1.9", "COMPLETED", [("1.2.3", "")])
    (found,) = await archive.search()
    assert text(step_of(found), "00400020") == "COMPLETED"
    await worklist.performed(archive.context, "1.9", "IN PROGRESS", [("1.2.3", "")])
    assert await archive.search() == []
    assert text(step_of((await archive.client.get(where)).json()), "00400020") == "STARTED"


async def test_images_settle_their_item(archive: Archive) -> None:
    names = {"A": ("6101", "S1"), "B": ("6101", "S2"), "C": ("6102", "S3"), "D": ("6103", "S4")}
    made = {study: make(study, 1, CT, Modality="CT") for study, _ in names.values()}
    for name, (study, step) in names.items():
        uid = str(made[study].StudyInstanceUID)
        await archive.create(PatientName=name, StudyInstanceUID=uid, step_ScheduledProcedureStepID=step)
    request = made["6101"].__class__()
    request.ScheduledProcedureStepID = "S2"
    made["6101"].RequestAttributesSequence = [request]
    files = [encode(made["6101"]), encode(made["6102"])]
    assert (await async_store(archive.client, files)).status_code == 200
    assert await archive.names() == ["A", "B", "C", "D"]
    archive.context.worklist = WorklistRules(images_minutes=-1)
    assert await worklist.settle(archive.context) == 0
    archive.context.worklist = WorklistRules(images_minutes=0)
    assert await worklist.settle(archive.context) == 2
    assert await archive.names() == ["A", "D"]


async def test_what_was_hidden_long_ago_is_forgotten(archive: Archive) -> None:
    where = await archive.create(StudyInstanceUID="1.2.3")
    await worklist.performed(archive.context, "1.9", "COMPLETED", [("1.2.3", "")])
    await worklist.settle(archive.context)
    assert (await archive.client.get(where)).status_code == 200
    archive.context.worklist = WorklistRules(keep_days=0)
    await worklist.settle(archive.context)
    assert (await archive.client.get(where)).status_code == 404


async def async_store(client: httpx.AsyncClient, files: list[bytes]) -> httpx.Response:
    answer: Any = store(client, files)  # type: ignore[arg-type]
    response: httpx.Response = await answer
    return response


def asserting(aet: str) -> dict[str, str]:
    return {"Fileroom-Calling-AE": aet, "Fileroom-Called-AE": "FILEROOM", "Fileroom-Association": "a1"}


async def test_a_peer_sees_what_its_behaviour_lets_it_see(archive: Archive) -> None:
    for name, stations in (("A", ["CT1"]), ("B", ["CT2", "CT1"]), ("C", ["MR1"]), ("D", [])):
        await archive.create(PatientName=name, step_ScheduledStationAETitle=stations)

    async def seen(stations: str, **keys: str) -> list[str]:
        await archive.client.put("http://127.0.0.1/peers/CT1", json={"behaviour": {"worklist_stations": stations}})
        await asyncio.sleep(CACHE_SECONDS + 0.05)
        answer = await archive.client.get(RESOURCE, params=keys, headers=asserting("CT1"))
        return [text(one, "00100010") for one in answer.json()] if answer.content else []

    assert await seen("all") == ["A", "B", "C", "D"]
    assert await seen("own") == ["A", "B"]
    other = await archive.client.get(
        RESOURCE, params={f"{STEP}.ScheduledStationAETitle": "MR1"}, headers=asserting("CT1")
    )
    assert other.status_code == 204
    assert await seen("own-or-none", PatientName="*") == ["A", "B", "D"]


async def test_a_peer_without_the_right_gets_nothing(archive: Archive) -> None:
    await archive.create()
    await archive.client.put("http://127.0.0.1/peers/CT9", json={"may": ["find", "store"]})
    assert (await archive.client.get(RESOURCE, headers=asserting("CT9"))).status_code == 403
    for method, path in (("POST", RESOURCE), ("PUT", f"{RESOURCE}/x"), ("GET", f"{RESOURCE}/x")):
        answer = await archive.client.request(method, path, json=item(), headers=asserting("CT1"))
        assert answer.status_code == 403, method


async def test_days_from_today(archive: Archive) -> None:
    """What a modality asks each morning."""
    today = date.today()
    for days in (-1, 0, 1):
        day = f"{today + timedelta(days):%Y%m%d}"
        await archive.create(PatientName=str(days), step_ScheduledProcedureStepStartDate=day)
    assert await archive.names(step_ScheduledProcedureStepStartDate=f"{today:%Y%m%d}") == ["0"]
    assert await archive.names(step_ScheduledProcedureStepStartDate=f"{today:%Y%m%d}-") == ["0", "1"]
