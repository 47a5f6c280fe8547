"""Retrieve of metadata at every level, in JSON and XML, compressed and kept in memory."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from pydicom.dataset import Dataset

from app.dicom.xml_model import from_xml
from tests.support.database import DatabaseServer
from tests.support.stored import Door, encode, image, open_door, split_parts

JSON = "application/dicom+json"


@pytest.fixture(scope="module")
def shared_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def door(shared_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(shared_url, tmp_path, trust_forwarded=True) as opened:
        yield opened


async def study_of(door: Door, counts: tuple[int, ...]) -> tuple[str, list[Dataset]]:
    """A study with a series for each of `counts`."""
    first = image()
    stored = []
    for number, count in enumerate(counts):
        series = image().SeriesInstanceUID
        for at in range(count):
            one = image(study=first.StudyInstanceUID, series=series)
            one.SeriesNumber, one.InstanceNumber = len(counts) - number, count - at
            stored.append(one)
            await door.put(encode(one))
    return f"/studies/{first.StudyInstanceUID}", stored


def uids(objects: list[dict[str, Any]]) -> list[str]:
    return [one["00080018"]["Value"][0] for one in objects]


def address(one: Dataset) -> str:
    return f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"


async def test_every_level(door: Door) -> None:
    path, stored = await study_of(door, (3, 2))
    study = await door.get(path + "/metadata", JSON)
    assert study.headers["content-type"] == JSON
    expected = [one.SOPInstanceUID for one in (stored[4], stored[3], stored[2], stored[1], stored[0])]
    assert uids(study.json()) == expected, "by series number, then instance number"
    series = await door.get(f"{path}/series/{stored[0].SeriesInstanceUID}/metadata", JSON)
    assert uids(series.json()) == expected[2:]
    instance = await door.get(address(stored[0]) + "/metadata", JSON)
    assert uids(instance.json()) == [stored[0].SOPInstanceUID]
    assert instance.json()[0] == series.json()[2] == study.json()[4]
    assert instance.json()[0]["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Test^Retrieve"}]}


async def test_warm_and_cold_answers_are_the_same_bytes(door: Door) -> None:
    path, _ = await study_of(door, (3, 200, 1))
    for encoding in ("identity", "gzip"):
        cold = await door.get(path + "/metadata", JSON, accept_encoding=encoding)
        warm = await door.get(path + "/metadata", JSON, accept_encoding=encoding)
        assert len(cold.json()) == 204
        assert warm.content == cold.content
        assert warm.headers["etag"] == cold.headers["etag"]
        assert "content-length" in warm.headers
        assert warm.headers.get("content-encoding") == (None if encoding == "identity" else "gzip")
        assert warm.headers["vary"] == "Accept, Accept-Encoding"
    plain = await door.get(path + "/metadata", JSON, accept_encoding="identity")
    assert plain.headers["etag"] != warm.headers["etag"]
    assert plain.content == warm.content, "httpx inflated it"


async def test_gzip_is_one_member_that_any_reader_takes(door: Door) -> None:
    path, _ = await study_of(door, (40, 1))
    for _ in ("cold", "warm"):
        async with door.client.stream(
            "GET", f"/dicom-web{path}/metadata", headers={"accept-encoding": "gzip"}
        ) as answer:
            raw = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert len(orjson.loads(gzip.decompress(raw))) == 41
        assert gzip.decompress(raw) == (await door.get(path + "/metadata", accept_encoding="identity")).content


async def test_reads_see_writes(door: Door) -> None:
    path, stored = await study_of(door, (2,))
    before = await door.get(path + "/metadata", JSON)
    one = image(study=stored[0].StudyInstanceUID, series=stored[0].SeriesInstanceUID)
    await door.put(encode(one))
    after = await door.get(path + "/metadata", JSON, if_none_match=before.headers["etag"])
    assert after.status_code == 200
    assert one.SOPInstanceUID in uids(after.json())


async def test_bulk_addresses_are_those_the_client_sees_and_work(door: Door) -> None:
    one = image(rows=64, columns=64)
    await door.put(encode(one))
    before = (await door.get(address(one) + "/metadata", JSON)).json()[0]["7FE00010"]
    assert before == {"vr": "OW", "BulkDataURI": f"http://archive.test/dicom-web{address(one)}/bulkdata/7FE00010"}
    assert (await door.client.get(before["BulkDataURI"], headers={"accept": "application/octet-stream"})).content == (
        one.PixelData
    )
    seen = await door.get(
        address(one) + "/metadata",
        JSON,
        x_forwarded_host="pacs.example",
        x_forwarded_proto="https",
        x_forwarded_prefix="/hospital",
    )
    uri = f"https://pacs.example/hospital/dicom-web{address(one)}/bulkdata/7FE00010"
    assert seen.json()[0]["7FE00010"]["BulkDataURI"] == uri
    series = await door.get(f"/studies/{one.StudyInstanceUID}/metadata", JSON, forwarded="host=a.example;proto=https")
    assert series.json()[0]["7FE00010"]["BulkDataURI"].startswith("https://a.example/dicom-web/studies/")
    assert b"\\u0001" not in seen.content + series.content


async def test_xml_is_a_document_for_each_instance(door: Door) -> None:
    path, stored = await study_of(door, (2, 1))
    for level in (path, address(stored[0])):
        json = (await door.get(level + "/metadata", JSON)).json()
        answer = await door.get(level + "/metadata", 'multipart/related; type="application/dicom+xml"')
        parts = split_parts(answer)
        assert [headers for headers, _ in parts] == [{"Content-Type": "application/dicom+xml"}] * len(json)
        for one, (_, document) in zip(json, parts, strict=True):
            read = from_xml(document)
            assert set(read) == set(one)
            assert {tag: read[tag] for tag in read if read[tag]["vr"] != "IS"} == {
                tag: one[tag] for tag in one if one[tag]["vr"] != "IS"
            }
        again = await door.get(
            level + "/metadata",
            'multipart/related; type="application/dicom+xml"',
            if_none_match=answer.headers["etag"],
        )
        assert again.status_code == 304


async def test_json_by_its_other_name_and_406(door: Door) -> None:
    _, (one,) = await study_of(door, (1,))
    answer = await door.get(address(one) + "/metadata", "application/json")
    assert answer.headers["content-type"] == "application/json"
    answer = await door.get(address(one) + "/metadata", "text/plain")
    assert answer.status_code == 406
    assert JSON in answer.json()["available"]


async def test_head_has_no_body(door: Door) -> None:
    path, _ = await study_of(door, (2,))
    for _ in ("cold", "warm"):
        answer = await door.client.head(f"/dicom-web{path}/metadata")
        assert (answer.status_code, answer.content) == (200, b"")
        await door.get(path + "/metadata")
