"""Retrieve of studies, series and instances, through the ASGI application with a real database and real files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.archive.verify import verify
from tests.support.database import DatabaseServer
from tests.support.stored import Door, data_set_of, encode, image, open_door, sample, split_parts

DICOM_PARTS = 'multipart/related; type="application/dicom"'
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="module")
def shared_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def door(shared_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(shared_url, tmp_path) as opened:
        yield opened


def address(data_set: object, level: str = "instance") -> str:
    study, series, sop = (
        getattr(data_set, name) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    return {
        "study": f"/studies/{study}",
        "series": f"/studies/{study}/series/{series}",
        "instance": f"/studies/{study}/series/{series}/instances/{sop}",
    }[level]


async def test_G02_one_instance_alone_is_the_bytes_received(door: Door) -> None:
    one = image()
    data = encode(one, preamble=b"MZ" + bytes(range(126)))
    await door.put(data)
    answer = await door.get(address(one), "application/dicom")
    assert answer.status_code == 200, answer.text
    assert answer.content == data
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert answer.headers["content-disposition"] == f'attachment; filename="{one.SOPInstanceUID}.dcm"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_one_instance_in_a_part(door: Door) -> None:
    one = image()
    data = encode(one)
    await door.put(data)
    answer = await door.get(address(one), DICOM_PARTS)
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    heads = {"Content-Type": f"application/dicom; transfer-syntax={EXPLICIT}", "Content-Length": str(len(data))}
    assert split_parts(answer) == [(heads, data)]
    assert int(answer.headers["content-length"]) == len(answer.content)


async def test_a_study_is_all_its_instances(door: Door) -> None:
    first = image()
    files = []
    for number in range(5):
        one = image(study=first.StudyInstanceUID, series=first.SeriesInstanceUID if number < 3 else "")
        one.InstanceNumber = 5 - number
        files.append(encode(one))
        await door.put(files[-1])
    answer = await door.get(address(first, "study"), DICOM_PARTS)
    assert sorted(content for _, content in split_parts(answer)) == sorted(files)
    assert all(heads["Content-Length"] == str(len(content)) for heads, content in split_parts(answer))
    assert int(answer.headers["content-length"]) == len(answer.content)
    answer = await door.get(address(first, "series"), DICOM_PARTS)
    assert [content for _, content in split_parts(answer)] == files[2::-1], "by instance number"


async def test_a_study_as_a_zip_file(door: Door) -> None:
    first = image()
    second = image(rows=700, columns=800, study=first.StudyInstanceUID)
    files = {address(one)[len("/studies/") :]: encode(one) for one in (first, second)}
    for data in files.values():
        await door.put(data)
    answer = await door.get(address(first, "study"), "application/zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = {name: name.replace("/series/", "/").replace("/instances/", "/") + ".dcm" for name in files}
        assert {name: archive.read(names[name]) for name in files} == files


@pytest.mark.parametrize(
    "path", ["/studies/1.2.3", "/studies/x", "/studies/1.2.3/series/4", "/studies/1.2.3/series/4/instances/5"]
)
@pytest.mark.parametrize("rest", ["", "/metadata"])
async def test_G35_what_is_not_there_looks_the_same(door: Door, path: str, rest: str) -> None:
    answer = await door.get(path + rest)
    known = await door.get("/studies/1.2.840.99/series/1/instances/2")
    assert (answer.status_code, answer.content) == (404, known.content)
    assert dict(answer.headers) == dict(known.headers)


async def test_etag_and_not_modified(door: Door) -> None:
    one = image()
    await door.put(encode(one))
    for path, accept in (
        (address(one), "application/dicom"),
        (address(one), DICOM_PARTS),
        (address(one, "study"), DICOM_PARTS),
        (address(one, "series"), "application/zip"),
        (address(one) + "/frames/1", "*/*"),
        (address(one, "study") + "/metadata", "*/*"),
        (address(one) + "/metadata", "*/*"),
    ):
        answer = await door.get(path, accept)
        assert answer.headers["etag"].startswith('"')
        again = await door.get(path, accept, if_none_match=answer.headers["etag"])
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == answer.headers["etag"]
        assert (await door.get(path, accept)).content == answer.content, "a strong ETag: the same bytes again"


async def test_the_etag_changes_when_an_instance_is_replaced(door: Door) -> None:
    one = image()
    await door.put(encode(one))
    paths = [address(one), address(one, "study"), address(one, "study") + "/metadata", address(one) + "/frames/1"]
    before = [(await door.get(path)).headers["etag"] for path in paths]
    one.PatientComments = "new content"
    await door.put(encode(one))
    after = [(await door.get(path)).headers["etag"] for path in paths]
    assert not set(before) & set(after)


async def test_head_tells_the_length_without_a_body(door: Door) -> None:
    one = image()
    data = encode(one)
    await door.put(data)
    answer = await door.client.head("/dicom-web" + address(one), headers={"accept": "application/dicom"})
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", str(len(data)))


async def test_ranges_of_an_instance(door: Door) -> None:
    one = image(rows=1024, columns=1030)
    data = encode(one)
    await door.put(data)
    answer = await door.get(address(one), "application/dicom", range="bytes=1048570-1048590")
    assert (answer.status_code, answer.content) == (206, data[1048570:1048591])
    assert answer.headers["content-range"] == f"bytes 1048570-1048590/{len(data)}"
    answer = await door.get(address(one), "application/dicom", range="bytes=0-3,-5")
    assert [content for _, content in split_parts(answer)] == [data[:4], data[-5:]]
    answer = await door.get(address(one), "application/dicom", range=f"bytes={len(data)}-")
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(data)}"
    etag = (await door.get(address(one), "application/dicom")).headers["etag"]
    answer = await door.get(address(one), "application/dicom", range="bytes=0-3", if_range=etag)
    assert answer.status_code == 206
    answer = await door.get(address(one), "application/dicom", range="bytes=0-3", if_range='"other"')
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "CT_small.dcm"])
async def test_implicit_and_big_endian_leave_as_explicit_unless_named(door: Door, name: str) -> None:
    data = sample(name)
    header = await door.put(data)
    stored = data_set_of(data)
    path = address(stored)
    for accept in ("application/dicom", "application/dicom; transfer-syntax=*", DICOM_PARTS, "*/*"):
        answer = await door.get(path, accept)
        content = answer.content if accept.startswith("application") else split_parts(answer)[0][1]
        if "*" in accept and header.transfer_syntax == "1.2.840.10008.1.2.1.99" and accept != "*/*":
            assert content == data
            continue
        sent = data_set_of(content)
        assert sent.file_meta.TransferSyntaxUID == EXPLICIT
        assert (sent.pixel_array == stored.pixel_array).all()
        assert sent.PatientName == stored.PatientName
    named = await door.get(path, f"application/dicom; transfer-syntax={header.transfer_syntax}")
    assert named.content == data


async def test_what_cannot_be_sent_is_406_with_what_could_be_had(door: Door) -> None:
    data = sample("MR_small_jp2klossless.dcm")
    await door.put(data)
    path = address(data_set_of(data))
    answer = await door.get(path, "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.102")
    assert answer.status_code == 406
    body = answer.json()
    assert body["stored"] == ["1.2.840.10008.1.2.4.90 JPEG 2000 Image Compression (Lossless Only)"]
    assert "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90" in body["available"]
    assert body["accept"] == ["application/dicom; transfer-syntax=1.2.840.10008.1.2.4.102"]
    for accept in ("application/dicom; transfer-syntax=*", "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"):
        assert (await door.get(path, accept)).content == data


async def test_lossy_is_answered_as_stored_when_no_transfer_syntax_was_named(door: Door) -> None:
    data = sample("SC_rgb_jpeg_dcmtk.dcm")
    header = await door.put(data)
    answer = await door.get(address(data_set_of(data)), "application/dicom")
    assert answer.content == data
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={header.transfer_syntax}"


async def test_G19_a_file_that_is_gone_raises_the_alarm(door: Door) -> None:
    """503 would have everybody wait for it."""
    one = image()
    await door.put(encode(one))
    (path,) = door.folder.glob("*/*/*/*.dcm")
    path.unlink()
    alarms: list[int] = []
    door.context.count_corrupt = lambda: alarms.append(1)
    for resource in ("", "/frames/1"):
        answer = await door.get(address(one) + resource)
        assert (answer.status_code, answer.json()["detail"]) == (500, "the stored file is missing")
        assert "retry-after" not in answer.headers
    assert len(alarms) == 2
    assert [one.problem async for one in verify(door.context, one.StudyInstanceUID)] == ["the stored file is missing"]
    assert len(alarms) == 3


async def test_G19_a_flipped_bit_is_never_sent(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    one = image(rows=1024, columns=1030)
    data = encode(one)
    await door.put(data)
    (path,) = door.folder.glob("*/*/*/*.dcm")
    damaged = bytearray(data)
    damaged[100_000] ^= 1
    path.write_bytes(damaged)
    alarms: list[int] = []
    door.context.count_corrupt = lambda: alarms.append(1)
    answer = await door.get(address(one), "application/dicom")
    assert (answer.status_code, len(alarms)) == (500, 1)
    assert answer.headers["content-type"] == "application/problem+json"
    assert [record.message for record in caplog.records] == ["stored bytes do not match their checksum"]
    assert (await door.get(address(one) + "/frames/1")).status_code == 500
    damaged[100_000] ^= 1
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(Exception, match=r"checksum|already started"):
        await door.get(address(one), "application/dicom")


async def test_the_preamble_is_blanked_when_the_setting_says_so(shared_url: str, tmp_path: Path) -> None:
    one = image()
    data = encode(one, preamble=b"MZ" + bytes(range(126)))
    async with open_door(shared_url, tmp_path, blank_preamble=True) as door:
        await door.put(data)
        answer = await door.get(address(one), "application/dicom")
        assert answer.content == bytes(128) + data[128:]
        assert split_parts(await door.get(address(one, "study"), DICOM_PARTS))[0][1] == answer.content
