"""Retrieve of bulk values and pixel data, through the ASGI application."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from tests.support.database import DatabaseServer
from tests.support.stored import Door, data_set_of, encode, image, open_door, reencode, sample, split_parts

OCTETS = 'multipart/related; type="application/octet-stream"'
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 20 + b"\n%%EOF\n"


@pytest.fixture(scope="module")
def shared_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def door(shared_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(shared_url, tmp_path) as opened:
        yield opened


def address(one: Dataset) -> str:
    return f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"


def document(mime: str, content: bytes = PDF) -> Dataset:
    one = Dataset()
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    one.SOPInstanceUID, one.StudyInstanceUID, one.SeriesInstanceUID = (generate_uid() for _ in range(3))
    one.PatientID = "D1"
    one.EncapsulatedDocument = content
    one.MIMETypeOfEncapsulatedDocument = mime
    return one


async def test_a_document_has_its_own_type(door: Door) -> None:
    one = document("application/pdf")
    await door.put(encode(one))
    path = address(one) + "/bulkdata/00420011"
    for accept in ("application/pdf", "*/*", BROWSER):
        answer = await door.get(path, accept)
        assert (answer.headers["content-type"], answer.content) == ("application/pdf", PDF), accept
        assert "content-disposition" not in answer.headers
    answer = await door.get(path, "application/octet-stream")
    assert (answer.headers["content-type"], answer.content) == ("application/octet-stream", PDF)
    answer = await door.get(path, OCTETS)
    where = f"http://archive.test/dicom-web{path}"
    assert split_parts(answer) == [({"Content-Type": "application/octet-stream", "Content-Location": where}, PDF)]
    assert (await door.get(path, "image/png")).status_code == 406
    answer = await door.get(path, "*/*", range="bytes=0-7")
    assert (answer.status_code, answer.content) == (206, PDF[:8])


@pytest.mark.parametrize("mime", ["text/html", "text/xml", "image/svg+xml", "nonsense", "a/b\r\nx-evil: 1", ""])
async def test_a_document_cannot_run_under_our_address(door: Door, mime: str) -> None:
    one = document("x", b"<script>alert(1)</script>" * 100)
    one["MIMETypeOfEncapsulatedDocument"].value = mime.replace("\r\n", " ")
    await door.put(encode(one))
    answer = await door.get(address(one) + "/bulkdata/00420011", BROWSER)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-evil" not in answer.headers


async def test_a_waveform_by_its_path(door: Door) -> None:
    data = sample("waveform_ecg.dcm")
    one = data_set_of(data)
    await door.put(data)
    metadata = (await door.get(address(one) + "/metadata")).json()[0]
    for number, group in enumerate(one.WaveformSequence):
        uri = metadata["54000100"]["Value"][number]["54001010"]["BulkDataURI"]
        assert uri.endswith(f"/bulkdata/54000100/{number + 1}/54001010")
        answer = await door.client.get(uri, headers={"accept": "application/octet-stream"})
        assert answer.content == group.WaveformData
    assert (await door.get(address(one) + "/bulkdata/54000100/3/54001010")).status_code == 404
    assert (await door.get(address(one) + "/bulkdata/")).status_code == 404


async def test_every_bulk_address_of_the_metadata_works(door: Door) -> None:
    for name in ("examples_palette.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm", "rtdose.dcm", "693_J2KI.dcm"):
        data = sample(name)
        one = data_set_of(data)
        await door.put(data)
        metadata = (await door.get(address(one) + "/metadata")).json()[0]
        uris = [member["BulkDataURI"] for member in metadata.values() if "BulkDataURI" in member]
        assert uris, name
        for uri in uris:
            answer = await door.client.get(uri, headers={"accept": "*/*"})
            assert answer.status_code == 200, (name, uri)
            assert answer.content


async def test_words_of_a_big_endian_value_are_swapped(door: Door) -> None:
    one = image()
    one.RedPaletteColorLookupTableDescriptor = [1024, 0, 16]
    one.RedPaletteColorLookupTableData = b"".join(struct.pack(">H", at) for at in range(1024))
    await door.put(reencode(one, "1.2.840.10008.1.2.2"))
    answer = await door.get(address(one) + "/bulkdata/00281201", "application/octet-stream")
    assert answer.content == b"".join(struct.pack("<H", at) for at in range(1024))
    assert answer.headers["content-length"] == "2048"


async def test_all_bulk_values_of_an_instance(door: Door) -> None:
    one = image(frames=3)
    one.RedPaletteColorLookupTableDescriptor = [1024, 0, 16]
    one.RedPaletteColorLookupTableData = bytes(range(256)) * 8
    frames = [b"\xff\xd8\xff" + bytes([at]) * 9 for at in range(3)]
    one.add_new(0x7FE00010, "OB", encapsulate(frames))
    one["PixelData"].is_undefined_length = True
    syntax = "1.2.840.10008.1.2.4.50"
    await door.put(encode(one, syntax))
    before = f"http://archive.test/dicom-web{address(one)}/bulkdata/"
    answer = await door.get(address(one) + "/bulkdata", f'{OCTETS}, multipart/related; type="image/jpeg"')
    assert split_parts(answer) == [
        (
            {"Content-Type": "application/octet-stream", "Content-Location": before + "00281201"},
            one.RedPaletteColorLookupTableData,
        ),
        *(
            (
                {
                    "Content-Type": f"image/jpeg; transfer-syntax={syntax}",
                    "Content-Location": f"{before}7FE00010/frames/{at + 1}",
                },
                frame,
            )
            for at, frame in enumerate(frames)
        ),
    ]
    assert (await door.get(address(one) + "/bulkdata", 'multipart/related; type="image/png"')).status_code == 406


async def test_bulk_values_of_a_series_and_a_study(door: Door) -> None:
    first = image(rows=64, columns=64)
    second = image(rows=64, columns=64, study=first.StudyInstanceUID)
    second.RedPaletteColorLookupTableDescriptor = [1024, 0, 16]
    second.RedPaletteColorLookupTableData = bytes(range(256)) * 8
    for one in (first, second):
        await door.put(encode(one))
    everything = split_parts(await door.get(f"/studies/{first.StudyInstanceUID}/bulkdata", OCTETS))
    assert [content for _, content in everything] == [
        first.PixelData, second.RedPaletteColorLookupTableData, second.PixelData,
    ]  # fmt: skip
    for headers, content in everything:
        alone = await door.client.get(headers["Content-Location"], headers={"accept": "application/octet-stream"})
        assert alone.content == content
    pixels = split_parts(await door.get(f"/studies/{first.StudyInstanceUID}/pixeldata", OCTETS))
    assert [content for _, content in pixels] == [first.PixelData, second.PixelData]
    path = f"/studies/{first.StudyInstanceUID}/series/{second.SeriesInstanceUID}"
    assert split_parts(await door.get(path + "/bulkdata", OCTETS))[1][1] == second.PixelData
    assert len(split_parts(await door.get(path + "/pixeldata", OCTETS))) == 1
    assert (await door.get("/studies/1.2/bulkdata", OCTETS)).status_code == 404


async def test_pixel_data_short_enough_for_the_metadata(door: Door) -> None:
    one = image(rows=2, columns=2)
    await door.put(encode(one))
    answer = await door.get(address(one) + "/pixeldata", "application/octet-stream")
    assert answer.content == one.PixelData


async def test_pixel_data_of_an_instance_without_any(door: Door) -> None:
    one = document("application/pdf")
    one.ReferencedStudySequence = Sequence()
    await door.put(encode(one))
    assert (await door.get(address(one) + "/pixeldata")).status_code == 404
    assert (await door.get(address(one) + "/bulkdata/7FE00010")).status_code == 404


async def test_unknown_instance(door: Door) -> None:
    for rest in ("/bulkdata", "/bulkdata/7FE00010", "/pixeldata", "/frames/1"):
        answer = await door.get(f"/studies/1.2/series/3/instances/4{rest}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "no such resource")
