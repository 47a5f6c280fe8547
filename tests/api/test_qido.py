"""Search (PS3.18 10.6) through the ASGI application with a real database: resources, matching, answers, paging."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.archive import search
from app.catalog.engine import Catalog
from app.dicom.attributes import TABLE
from app.main import create_app
from app.settings import Settings
from tests.support.catalog_rows import DataSet, data_set, element, store
from tests.support.database import DatabaseServer

ROOT = "/dicom-web"
HOST = "http://archive.test"
JSON = "application/dicom+json"
REQUIRED = {
    level: {row.hex for row in TABLE if row.level in levels and row.default and row.keyword not in absent}
    for level, levels, absent in (
        ("STUDY", ("PATIENT", "STUDY"), ("IssuerOfPatientID",)),
        ("SERIES", ("SERIES",), ()),
        ("IMAGE", ("IMAGE",), ()),
    )
}


def study(number: int, **more: Any) -> DataSet:
    return {
        "00080005": element("CS", "ISO_IR 192"),
        "00080020": element("DA", f"2024010{number}"),
        "00080030": element("TM", f"1{number}1500"),
        "00080050": element("SH", f"A{number}"),
        "00080090": element("PN", "Ref^Doc"),
        "00080201": element("SH", "+0100"),
        "00081030": element("LO", f"Study {number}"),
        "00100010": element("PN", "Müller^Jürgen" if number == 1 else "Smith^John=山田^太郎"),
        "00100020": element("LO", "P1" if number < 3 else "P3"),
        "00100030": element("DA", "19600101"),
        "00100040": element("CS", "O"),
        "00200010": element("SH", f"S{number}"),
        **more,
    }


def series(number: int, modality: str = "CT", **more: Any) -> DataSet:
    item = {"00400009": element("SH", f"SPS{number}"), "00401001": element("SH", "RP1")}
    return {
        "00080060": element("CS", modality),
        "0008103E": element("LO", f"Series {number}"),
        "00181030": element("LO", f"Protocol {number}"),
        "00200011": element("IS", number),
        "00400244": element("DA", "20240101"),
        "00400245": element("TM", "1015"),
        "00400275": {"vr": "SQ", "Value": [item]},
        **more,
    }


def instance(number: int, **more: Any) -> DataSet:
    return {
        "00200013": element("IS", number),
        "00280008": element("IS", 1),
        "00280010": element("US", 512),
        "00280011": element("US", 256),
        "00280100": element("US", 16),
        "00281050": element("DS", 40 * number),
        "7FE00010": {"vr": "OW", "BulkDataURI": "\x017FE00010"},
        **more,
    }


def world() -> Iterator[DataSet]:
    for s in (1, 2, 3):
        for e, modality in ((1, "CT"), (2, "MR" if s == 2 else "CT")):
            for i in (1, 2, 3):
                uids = (f"1.{s}", f"1.{s}.{e}", f"1.{s}.{e}.{i}")
                yield data_set(*uids, study(s) | series(e, modality) | instance(i))
    for s in (8, 9):
        without_id = {"00100020": element("LO"), "00100010": element("PN", "Doe^Jane")}
        yield data_set(f"1.{s}", f"1.{s}.1", f"1.{s}.1.1", study(s, **without_id) | series(1) | instance(1))


@pytest.fixture(scope="module")
def filled_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create()

    async def fill() -> None:
        catalog = Catalog(url)
        await store(catalog, list(world()))
        await catalog.close()

    asyncio.run(fill())
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def archive(filled_url: str, tmp_path: Path) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(data=tmp_path), filled_url)
    yield app
    await app.state.context.catalog.close()


class Client:
    """Asks the search resources."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST)

    async def get(self, path: str, accept: str = JSON, **headers: str) -> httpx.Response:
        return await self._http.get(ROOT + path, headers={"accept": accept, **headers})

    async def rows(self, path: str) -> list[DataSet]:
        response = await self.get(path)
        assert response.status_code in (200, 204), response.text
        return json.loads(response.content, object_pairs_hook=unique) if response.content else []

    async def found(self, path: str) -> list[str]:
        """The UIDs, in order, at the level of the resource."""
        tag = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}[path.split("?")[0].split("/")[-1]]
        return [row[tag]["Value"][0] for row in await self.rows(path)]


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names), "a member occurs twice"
    if names and re.fullmatch("[0-9A-F]{8}", names[0]):
        assert names == sorted(names), "members are not in the order of tags (PS3.18 F.2.2)"
    return dict(pairs)


@pytest.fixture
def client(archive: FastAPI) -> Client:
    return Client(archive)


async def test_studies_newest_first_with_every_required_attribute(client: Client) -> None:
    rows = await client.rows("/studies")
    assert [row["0020000D"]["Value"][0] for row in rows] == ["1.9", "1.8", "1.3", "1.2", "1.1"]
    two = rows[3]
    assert two.keys() >= REQUIRED["STUDY"]
    assert two["00080061"] == {"vr": "CS", "Value": ["CT", "MR"]}
    assert two["00080062"] == {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]}
    assert two["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert two["00081190"] == {"vr": "UR", "Value": [HOST + ROOT + "/studies/1.2"]}
    assert two["00201206"] == {"vr": "IS", "Value": [2]}
    assert two["00201208"] == {"vr": "IS", "Value": [6]}
    assert two["00100010"]["Value"] == [{"Alphabetic": "Smith^John", "Ideographic": "山田^太郎"}]


async def test_series_of_a_study(client: Client) -> None:
    rows = await client.rows("/studies/1.2/series")
    assert [row["0020000E"]["Value"][0] for row in rows] == ["1.2.1", "1.2.2"]
    assert rows[1].keys() >= REQUIRED["SERIES"]
    assert rows[1]["00201209"]["Value"] == [3]
    assert rows[1]["00081190"]["Value"] == [HOST + ROOT + "/studies/1.2/series/1.2.2"]
    assert rows[1]["0020000D"]["Value"] == ["1.2"]
    assert "00100010" not in rows[1]
    assert rows[1]["00400275"]["Value"][0]["00400009"]["Value"] == ["SPS2"]


async def test_all_series_come_with_the_attributes_of_their_study(client: Client) -> None:
    rows = await client.rows("/series?StudyInstanceUID=1.2,1.3")
    assert [row["0020000E"]["Value"][0] for row in rows] == ["1.3.1", "1.3.2", "1.2.1", "1.2.2"]
    assert rows[0].keys() >= REQUIRED["SERIES"] | REQUIRED["STUDY"]
    assert rows[0]["00081190"]["Value"] == [HOST + ROOT + "/studies/1.3/series/1.3.1"]


async def test_instances_with_what_the_resource_does_not_name(client: Client) -> None:
    of_series = (await client.rows("/studies/1.2/series/1.2.1/instances"))[2]
    assert of_series.keys() >= REQUIRED["IMAGE"]
    assert of_series["00080018"]["Value"] == ["1.2.1.3"]
    assert of_series["00083002"] == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    assert of_series["00081190"]["Value"] == [HOST + ROOT + "/studies/1.2/series/1.2.1/instances/1.2.1.3"]
    assert "00080060" not in of_series
    of_study = await client.rows("/studies/1.2/instances")
    assert [row["00080018"]["Value"][0] for row in of_study] == [f"1.2.{e}.{i}" for e in (1, 2) for i in (1, 2, 3)]
    assert of_study[0].keys() >= REQUIRED["IMAGE"] | REQUIRED["SERIES"]
    assert "00100010" not in of_study[0]
    of_all = await client.rows("/instances?limit=5")
    assert of_all[2].keys() >= REQUIRED["IMAGE"] | REQUIRED["SERIES"] | REQUIRED["STUDY"]
    assert [row["00080018"]["Value"][0] for row in of_all] == ["1.9.1.1", "1.8.1.1", "1.3.1.1", "1.3.1.2", "1.3.1.3"]


MATCHING = [
    ("PatientName=m%C3%BCller*", "1"),
    ("PatientName=MULLER%5EJurgen", "1"),
    ("PatientName=*%E5%B1%B1*", "32"),
    ("00100010=smith*", "32"),
    ("PatientName=john+smith&fuzzymatching=true", "32"),
    ("PatientName=john+smith", ""),
    ("PatientID=P1", "21"),
    ("PatientID=p1", ""),
    ("PatientID=P?", "321"),
    ("PatientID=%22%22&emptyvaluematching=true", "98"),
    ("PatientID=%22%22", ""),
    ("StudyDate=20240102", "2"),
    ("StudyDate=20240102-20240103", "32"),
    ("StudyDate=-20240102", "21"),
    ("StudyDate=20240108-", "98"),
    ("StudyTime=12", "2"),
    ("StudyTime=1200-1320", "32"),
    ("StudyDate=20240102-20240103&StudyTime=1200-1300", "2"),
    ("StudyDate=20240102-20240103&StudyTime=1200-1320", "32"),
    ("AccessionNumber=A2", "2"),
    ("AccessionNumber=A*", "98321"),
    ("StudyDescription=*3", "3"),
    ("StudyID=S1", "1"),
    ("ReferringPhysicianName=ref*", "98321"),
    ("StudyInstanceUID=1.2,1.3,7.7", "32"),
    ("ModalitiesInStudy=MR", "2"),
    ("ModalitiesInStudy=MR%2CCT", "98321"),
    ("ModalitiesInStudy=MR%5CCT&multiplevaluematching=true", "2"),
    ("ModalitiesInStudy=M*", "2"),
    ("Modality=MR", "2"),
    ("Modality=MR&SeriesNumber=1", ""),
    ("SeriesDescription=Series+2", "321"),
    ("SeriesInstanceUID=1.3.2", "3"),
    ("SOPInstanceUID=1.3.2.1", "3"),
    ("SOPClassUID=1.2.840.10008.5.1.4.1.1.2&StudyDate=20240103", "3"),
    ("SOPClassesInStudy=1.2.840.10008.5.1.4.1.1.2&StudyDate=20240103", "3"),
    ("ProtocolName=Protocol+2", "321"),
    ("ProtocolName=Protocol*&PatientID=P3", "3"),
    ("TimezoneOffsetFromUTC=%2B0100&PatientID=P3", "3"),
    ("RequestAttributesSequence.ScheduledProcedureStepID=SPS2", "321"),
    ("00400275.00401001=RP1&00400275.00400009=SPS2", "321"),
    ("RequestedProcedureID=RP1", "98321"),
    ("RequestedProcedureID=?P*&PatientID=P3", "3"),
    ("RequestedProcedureID=RP2", ""),
    ("00400275.00401001=RP2&00400275.00400009=SPS2", ""),
    ("PerformedProcedureStepStartDate=20240101-&PatientID=P3", "3"),
    ("NumberOfStudyRelatedInstances=1", "98"),
    ("NumberOfStudyRelatedSeries=2", "321"),
    ("InstanceAvailability=ONLINE&PatientID=P3", "3"),
    ("InstanceAvailability=OFFLINE", ""),
    ("SpecificCharacterSet=ISO_IR+100&PatientID=P3", "3"),
    ("PatientID=&PatientName=*&StudyDate=20240101", "1"),
]


@pytest.mark.parametrize(("query", "studies"), MATCHING)
async def test_matching(client: Client, query: str, studies: str) -> None:
    assert await client.found(f"/studies?{query}") == [f"1.{number}" for number in studies]


async def test_matching_of_series_and_instances(client: Client) -> None:
    assert await client.found("/series?Modality=MR") == ["1.2.2"]
    assert await client.found("/series?PatientID=P1&SeriesNumber=1") == ["1.2.1", "1.1.1"]
    assert await client.found("/studies/1.3/series?PatientID=P1") == []
    assert await client.found("/studies/1.3/series?ProtocolName=*2") == ["1.3.2"]
    assert await client.found("/instances?SOPInstanceUID=1.1.1.1,1.3.2.2") == ["1.3.2.2", "1.1.1.1"]
    assert await client.found("/studies/1.1/instances?Modality=CT&InstanceNumber=2") == ["1.1.1.2", "1.1.2.2"]
    assert await client.found("/studies/1.1/series/1.1.2/instances?InstanceNumber=3") == ["1.1.2.3"]
    assert await client.found("/series?SOPInstanceUID=1.3.2.2") == ["1.3.2"]


async def test_attributes_of_instances_are_matched_within_a_study(client: Client) -> None:
    assert await client.found("/studies/1.1/instances?Rows=512&WindowCenter=80") == ["1.1.1.2", "1.1.2.2"]
    assert await client.found("/studies/1.1/series/1.1.1/instances?WindowCenter=80.0") == ["1.1.1.2"]
    assert await client.found("/instances?StudyInstanceUID=1.1&WindowCenter=120") == ["1.1.1.3", "1.1.2.3"]
    assert await client.found("/studies/1.1/instances?Rows=512&limit=2&offset=3") == ["1.1.2.1", "1.1.2.2"]
    response = await client.get("/studies/1.1/instances?Rows=512&limit=2&count=true")
    assert response.headers["x-total-count"] == "6"
    following = response.headers["link"].split(">")[0].removeprefix("<" + HOST + ROOT)
    assert await client.found(following) == ["1.1.1.3", "1.1.2.1"]
    assert (await client.get(following)).headers["x-total-count"] == "6"


async def test_fields_of_instances(client: Client) -> None:
    path = "/studies/1.1/series/1.1.1/instances"
    plain = (await client.rows(path))[0]
    one = (await client.rows(path + "?includefield=WindowCenter,PatientName&includefield=0008103E"))[0]
    assert one.keys() - plain.keys() == {"00281050", "00100010", "0008103E"}
    assert {tag: one[tag] for tag in plain} == plain
    everything = (await client.rows(path + "?includefield=all"))[0]
    whole = study(1) | series(1) | instance(1)
    assert everything.keys() >= whole.keys() | plain.keys()
    address = HOST + ROOT + "/studies/1.1/series/1.1.1/instances/1.1.1.1"
    assert everything["7FE00010"] == {"vr": "OW", "BulkDataURI": address + "/bulkdata/7FE00010"}
    assert {tag: everything[tag] for tag in whole if tag != "7FE00010"} == {
        tag: whole[tag] for tag in whole if tag != "7FE00010"
    }


async def test_fields_of_other_levels(client: Client) -> None:
    of_study = (await client.rows("/studies?StudyInstanceUID=1.2&includefield=Modality,SeriesDescription,SOPClassUID"))[
        0
    ]
    assert of_study["00080060"]["Value"] == ["CT", "MR"]
    assert of_study["0008103E"]["Value"] == ["Series 1", "Series 2"]
    assert of_study["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]
    of_series = (await client.rows("/studies/1.2/series?includefield=PatientName,SOPClassUID"))[0]
    assert of_series["00100010"]["Value"][0]["Alphabetic"] == "Smith^John"
    assert "00100020" not in of_series
    assert of_series["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]
    everything = (await client.rows("/studies/1.2/series?includefield=all"))[0]
    assert everything.keys() >= REQUIRED["STUDY"] | REQUIRED["SERIES"] | {"00181030"}


async def test_matching_keys_are_returned(client: Client) -> None:
    (row,) = await client.rows("/studies/1.1/series?PatientID=P1&SeriesNumber=1")
    assert row["00100020"]["Value"] == ["P1"]
    (row,) = await client.rows("/studies/1.1/series/1.1.1/instances?WindowCenter=40")
    assert row["00281050"]["Value"] == [40]


FIELDS = "includefield=00081030%2C00080060%2C00080090%2C00100030"
FILTER = "00100020=*P*&ModalitiesInStudy=CT%2CMR&StudyDate=20240101-20251231"
TWO_TYPES = "application/dicom+json, multipart/related; type=application/octet-stream"
REAL = [
    ("/studies?limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060&StudyInstanceUID=1.2", JSON),
    ("/studies/1.2/series?includefield=0008103E%2C00080021", TWO_TYPES),
    (f"/studies?limit=101&offset=0&fuzzymatching=true&{FIELDS}&{FILTER}", JSON),
    ("/studies?PatientName=%2ASm%2A", "application/json"),
    ("/studies?StudyInstanceUID=1.2&includedefaults=false", "*/*"),
    ("/studies?limit=1", "application/json, application/dicom+json;q=0.5"),
]


async def test_what_was_requested_is_answered_from_the_items_that_say_it(client: Client) -> None:
    for path in ("/studies?StudyInstanceUID=1.3&", "/studies/1.3/series?SeriesNumber=2&"):
        (row,) = await client.rows(path + "includefield=RequestedProcedureID,RequestedProcedureDescription")
        assert row["00401001"] == element("SH", "RP1")
        assert "00321060" not in row


@pytest.mark.parametrize(("path", "accept"), REAL)
async def test_requests_that_viewers_send(client: Client, path: str, accept: str) -> None:
    response = await client.get(path, accept)
    assert response.status_code == 200
    assert response.headers["content-type"] in (JSON, "application/json")
    assert response.json()


@pytest.mark.parametrize("path", ["/studies", "/studies/1.3/series", "/instances?StudyInstanceUID=1.3", "/patients"])
async def test_each_result_has_a_line(client: Client, path: str) -> None:
    lines = (await client.get(path)).text.split("\n")
    assert (lines[0], lines[-1]) == ("[", "]")
    assert [json.loads(line.removesuffix(",")) for line in lines[1:-1]] == await client.rows(path)


async def test_no_result_is_no_content(client: Client) -> None:
    response = await client.get("/studies?PatientID=nobody&foo=1")
    assert (response.status_code, response.content) == (204, b"")
    assert "foo" in response.headers["warning"]
    assert (await client.get("/studies/7.7/series")).status_code == 204
    assert (await client.get("/studies?limit=0")).status_code == 204


async def test_pages(client: Client) -> None:
    first = await client.get("/studies?limit=2&count=true&PatientName=*&offset=1")
    assert [row["0020000D"]["Value"][0] for row in first.json()] == ["1.8", "1.3"]
    assert first.headers["x-total-count"] == "5"
    assert first.headers["warning"] == '299 fileroom: "There are additional results that can be requested"'
    link, relation = first.headers["link"].split("; ")
    assert relation == 'rel="next"'
    second = await client.get(link.strip("<>").removeprefix(HOST + ROOT))
    assert [row["0020000D"]["Value"][0] for row in second.json()] == ["1.2", "1.1"]
    assert "link" not in second.headers
    assert "warning" not in second.headers
    assert "x-total-count" in second.headers


async def test_the_server_has_a_maximum(client: Client, archive: FastAPI) -> None:
    archive.state.context.query_limit = 2
    for query in ("", "?limit=1000", "?includefield=all"):
        response = await client.get("/studies/1.2/series/1.2.1/instances" + query)
        assert response.status_code == 200
        assert len(response.json()) == 2
        assert "additional results" in response.headers["warning"]
    assert len((await client.get("/patients")).json()) == 2


async def test_G31_a_page_of_large_objects_ends_early(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_LARGEST_PAGE", 1500)
    found = []
    path = "/studies/1.2/instances?includefield=all"
    while path:
        response = await client.get(path)
        assert len(response.json()) < 3
        found += [row["00080018"]["Value"][0] for row in response.json()]
        path = response.headers.get("link", "").split(">")[0].removeprefix("<" + HOST + ROOT)
    assert found == [f"1.2.{e}.{i}" for e in (1, 2) for i in (1, 2, 3)]


BAD = [
    "/studies?StudyDate=yesterday",
    "/studies?limit=all",
    "/studies?StudyInstanceUID=x",
    "/studies?cursor=x",
    "/studies?cursor=WzFd",
    "/studies?cursor=WyIyMDI0MDEwMyIsIjEwIiwiMSJd",
    "/studies?includefield=nonsense",
    "/studies?ProtocolName=*2",
    "/studies?Rows=512",
    "/instances?Rows=512",
    "/series?SeriesTime=10",
    "/studies?RetrieveURL=x",
    "/studies?PatientName=a%00b&PatientID=a%00b",
]


@pytest.mark.parametrize("path", BAD)
async def test_a_bad_request_is_refused(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


async def test_G31_limits_of_a_search_are_named(client: Client) -> None:
    response = await client.get("/studies?offset=100001")
    assert (response.status_code, response.json()["limit"]) == (413, "query_offset")
    response = await client.get("/studies?PatientID=" + "x" * 1025)
    assert (response.status_code, response.json()["limit"]) == (413, "query_value")


async def test_G30_text_of_a_key_is_never_sql(client: Client) -> None:
    for text in ("'; DROP TABLE study; --", "$1", "?", "%", "_", "\\", "P_", "\\'", "{}", "a' OR '1'='1"):
        query = str(httpx.QueryParams({"PatientID": text, "StudyDescription": text, "PatientName": text}))
        assert (await client.get("/studies?" + query)).status_code in (200, 204)
    assert len(await client.found("/studies")) == 5
    assert await client.found("/studies?PatientID=P_") == []
    assert await client.found("/studies?StudyDescription=Study%25") == []


async def test_G35_what_is_no_uid_is_not_there(client: Client) -> None:
    assert (await client.get("/studies/x/series")).status_code == 404
    assert (await client.get("/studies/1.2/series/..%2F/instances")).status_code == 404


async def test_what_cannot_be_sent_is_not_acceptable(client: Client) -> None:
    response = await client.get("/studies", "image/png")
    assert response.status_code == 406
    assert 'multipart/related; type="application/dicom+xml"' in response.json()["available"]
    assert (await client.get("/studies?accept=application/json", "image/png")).status_code == 200


async def test_xml_is_one_part_a_result(client: Client) -> None:
    response = await client.get("/studies?PatientID=P1", 'multipart/related; type="application/dicom+xml"')
    assert response.status_code == 200
    kind, boundary = response.headers["content-type"].split("; boundary=")
    assert kind == 'multipart/related; type="application/dicom+xml"'
    parts = response.content.split(b"--" + boundary.encode())[1:-1]
    assert len(parts) == 2
    assert all(b"Content-Type: application/dicom+xml\r\n" in part for part in parts)
    assert b'keyword="PatientID"' in parts[0]
    assert b"<GivenName>J\xc3\xbcrgen</GivenName>" in parts[1]


async def test_head_has_the_headers_only(client: Client) -> None:
    whole = await client.get("/studies")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app), base_url=HOST) as http:
        head = await http.head(ROOT + "/studies", headers={"accept": JSON})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


async def test_patients_are_grouped_but_never_by_an_empty_id(client: Client) -> None:
    rows = await client.rows("/patients")
    listed = [(row["00100020"].get("Value", [""])[0], row["00201200"]["Value"][0]) for row in rows]
    assert listed == [("", 1), ("", 1), ("P1", 2), ("P3", 1)]
    assert rows[2]["00201202"]["Value"] == [4]
    assert rows[2]["00201204"]["Value"] == [12]
    assert "0020000D" not in rows[2]
    (found,) = await client.rows("/patients?StudyDate=20240101")
    assert found["00201200"]["Value"] == [2], "counts are of all studies of the patient"
    assert [row["00100010"]["Value"][0]["Alphabetic"] for row in await client.rows("/patients?PatientName=doe*")] == [
        "Doe^Jane"
    ] * 2
    page = await client.get("/patients?limit=3&count=true")
    assert page.headers["x-total-count"] == "4"
    rest = await client.rows(page.headers["link"].split(">")[0].removeprefix("<" + HOST + ROOT))
    assert [row["00100020"]["Value"][0] for row in rest] == ["P3"]


async def test_lenient_matching_is_a_setting(filled_url: str, tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, lenient_matching=True), filled_url)
    client = Client(app)
    assert await client.found("/studies?PatientID=p1") == ["1.2", "1.1"]
    assert await client.found("/studies?StudyDescription=STUDY*&AccessionNumber=a3") == ["1.3"]
    assert await client.found("/studies?ModalitiesInStudy=mr") == ["1.2"]
    assert await client.found("/series?ProtocolName=PROTOCOL+2&PatientID=P3") == ["1.3.2"]
    await app.state.context.catalog.close()


async def test_links_point_to_where_clients_see_us(filled_url: str, tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, public_root="https://pacs.example/dicom"), filled_url)
    response = await Client(app).get("/series?limit=1")
    assert response.headers["link"].startswith("<https://pacs.example/dicom/series?limit=1&cursor=")
    assert response.json()[0]["00081190"]["Value"] == ["https://pacs.example/dicom/studies/1.9/series/1.9.1"]
    await app.state.context.catalog.close()


async def test_a_kept_answer_never_hides_a_new_instance(database_url: str, tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path), database_url)
    client, catalog = Client(app), app.state.context.catalog
    path = "/studies/1.1/series/1.1.1/instances?includefield=all"
    assert await client.found(path) == []
    for number in (1, 2, 3):
        new = data_set("1.1", "1.1.1", f"1.1.1.{number}", study(1) | series(1) | instance(number))
        await store(catalog, [new])
        for _ in range(2):
            assert await client.found(path) == [f"1.1.1.{n}" for n in range(1, number + 1)]
    await catalog.close()


async def test_a_study_keeps_stray_bulk_addresses_to_itself(database_url: str, tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path), database_url)
    client, catalog = Client(app), app.state.context.catalog
    long = {"001021B0": {"vr": "LT", "BulkDataURI": "\x01001021B0"}}
    await store(catalog, [data_set("1.1", "1.1.1", "1.1.1.1", study(1) | long | series(1) | instance(1))])
    (row,) = await client.rows("/studies")
    assert "001021B0" not in row
    (row,) = await client.rows("/studies/1.1/series/1.1.1/instances?includefield=all")
    assert (
        row["001021B0"]["BulkDataURI"] == HOST + ROOT + "/studies/1.1/series/1.1.1/instances/1.1.1.1/bulkdata/001021B0"
    )
    await catalog.close()


async def test_the_openapi_document_names_the_keys_of_the_table(archive: FastAPI) -> None:
    document = archive.openapi()["paths"][ROOT + "/studies"]["get"]
    names = [parameter["name"] for parameter in document["parameters"]]
    assert {"PatientName", "StudyDate", "ModalitiesInStudy", "includefield", "limit", "fuzzymatching"} <= set(names)
    assert len(names) == len(set(names))


async def test_G31_any_query_string_is_answered_or_refused(client: Client) -> None:
    rng = random.Random(3)
    names = [
        "PatientName",
        "StudyDate",
        "StudyTime",
        "00080060",
        "includefield",
        "limit",
        "cursor",
        "count",
        "offset",
        "x",
    ]
    names += [
        "ModalitiesInStudy",
        "SeriesNumber",
        "PatientWeight",
        "RequestAttributesSequence.00400009",
        "fuzzymatching",
    ]
    odd = [
        "%00",
        "%FF",
        "%ED%A0%80",
        "%5C",
        "*",
        "?",
        "-",
        "^",
        "%22%22",
        ",",
        "20240101",
        "true",
        "all",
        "1e999",
        ";",
        "%",
    ]
    for _ in range(300):
        pairs = [
            f"{rng.choice(names)}={''.join(rng.choices(odd, k=rng.randint(0, 4)))}" for _ in range(rng.randint(1, 4))
        ]
        path = rng.choice(["/studies", "/series", "/studies/1.1/instances", "/patients"]) + "?" + "&".join(pairs)
        response = await client.get(path)
        assert response.status_code in (200, 204, 400, 413), path
