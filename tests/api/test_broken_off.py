"""A data set that ends inside an element: stored as it came when it tells which instance it is, with a warning; found,
and given back as it is stored, and in no other way. What was cut on its way here is refused as ever."""

from __future__ import annotations

import socket
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from app.archive.context import Context
from app.archive.importing import Source, import_files
from app.archive.reindex import reindex
from app.archive.store import Storekeeper
from app.archive.verify import verify
from app.blobs.local import LocalBlobStore
from app.catalog import replay
from app.catalog.engine import Catalog
from app.dicom.status import Outcome
from tests.support.archive import RunningArchive
from tests.support.small_files import data_set, encode, multipart, path_of

DICOM = {"Content-Type": "application/dicom"}
INSIDE = "7FE00010: the data set ends inside an element"
UNNAMED = (
    "application/dicom",
    "*/*",
    "application/dicom; transfer-syntax=*",
    "multipart/related; type=application/dicom",
)


def frames(**attributes: Any) -> Dataset:
    """Three frames of 16 x 16 pixels."""
    pixels = b"".join(bytes((frame * 80 + at) % 256 for at in range(256)) for frame in range(3))
    return data_set(Rows=16, Columns=16, NumberOfFrames=3, PixelData=pixels, **attributes)


def stored(archive: RunningArchive, content: bytes) -> dict[str, Any]:
    """Stores one body, and gives its item of the Referenced SOP Sequence: it must have a warning."""
    answer = httpx.post(archive.root + "/studies", content=content, headers=DICOM, timeout=30)
    assert answer.status_code == 202, answer.text
    (item,) = answer.json()["00081199"]["Value"]
    assert item["00081196"]["Value"] == [0xB007]
    found: dict[str, Any] = item
    return found


def comments(item: dict[str, Any]) -> list[str]:
    return [one["00000902"]["Value"][0] for one in item["00741048"]["Value"]]


def get(archive: RunningArchive, path: str, accept: str = "*/*") -> httpx.Response:
    return httpx.get(archive.root + path, headers={"Accept": accept}, timeout=30)


def is_there_as_stored(archive: RunningArchive, path: str, content: bytes, syntax: str) -> None:
    """Whoever names no transfer syntax, or this one, gets the file; others are told why not."""
    for accept in (*UNNAMED, f"application/dicom; transfer-syntax={syntax}"):
        answer = get(archive, path, accept)
        assert answer.status_code == 200, accept
        assert content in answer.content
        assert syntax in (answer.headers["content-type"] + answer.content[:400].decode("latin-1")), accept
    for other in {ExplicitVRLittleEndian, ImplicitVRLittleEndian, "1.2.840.10008.1.2.4.80"} - {syntax}:
        answer = get(archive, path, f"application/dicom; transfer-syntax={other}")
        assert answer.status_code == 406
        assert "ends inside an element" in answer.json()["detail"]
        assert syntax in answer.json()["available"][0]


def test_an_image_has_the_frames_that_came_whole(archive: RunningArchive) -> None:
    ds = frames()
    content = encode(ds)[:-300]
    assert comments(stored(archive, content))[0] == INSIDE
    path = path_of(ds)
    (found,) = get(archive, f"/studies?StudyInstanceUID={ds.StudyInstanceUID}&PatientName=doe*").json()
    assert found["00201208"]["Value"] == [1]
    (metadata,) = get(archive, f"{path}/metadata").json()
    assert metadata["00280008"]["Value"] == [3]
    address = metadata["7FE00010"]["BulkDataURI"].removeprefix(archive.root)
    assert get(archive, address, "application/octet-stream").content == ds.PixelData[:-300]
    is_there_as_stored(archive, path, content, ExplicitVRLittleEndian)
    assert get(archive, f"{path}/frames/1", "application/octet-stream").content == ds.PixelData[:256]
    assert get(archive, f"{path}/frames/1", "image/jls").status_code == 200
    assert get(archive, f"{path}/frames/1/rendered", "image/png").status_code == 200
    assert get(archive, f"{path}/rendered", "image/png").status_code == 200
    for resource in ("frames/2", "frames/1,2", "frames/3", "frames/2/rendered", "frames/3/thumbnail"):
        answer = get(archive, f"{path}/{resource}")
        assert (answer.status_code, "ends inside an element" in answer.json()["detail"]) == (404, True), resource


def test_an_image_without_a_whole_frame(archive: RunningArchive) -> None:
    """It neither stands for its series, which has another."""
    ds = data_set(InstanceNumber=2)
    content = encode(ds)[:-6]
    assert comments(stored(archive, content))[0] == INSIDE
    path = path_of(ds)
    is_there_as_stored(archive, path, content, ExplicitVRLittleEndian)
    for resource in ("frames/1", "rendered", "thumbnail", "frames/1/rendered"):
        answer = get(archive, f"{path}/{resource}")
        assert (answer.status_code, "ends inside an element" in answer.json()["detail"]) == (404, True), resource
    assert get(archive, f"{path}/pixeldata").status_code == 200
    uri = f"/wado?requestType=WADO&studyUID={ds.StudyInstanceUID}&seriesUID={ds.SeriesInstanceUID}"
    answer = httpx.get(f"{archive.url}{uri}&objectUID={ds.SOPInstanceUID}&contentType=image/jpeg")
    assert answer.status_code == 406
    whole = data_set(StudyInstanceUID=ds.StudyInstanceUID, SeriesInstanceUID=ds.SeriesInstanceUID, InstanceNumber=1)
    assert httpx.post(archive.root + "/studies", content=encode(whole), headers=DICOM).status_code == 200
    assert get(archive, f"/studies/{ds.StudyInstanceUID}/thumbnail").status_code == 200


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_nothing_is_converted_by_the_way(archive: RunningArchive, syntax: str) -> None:
    ds, whole = data_set(PatientComments="x" * 300), data_set()
    whole.StudyInstanceUID = ds.StudyInstanceUID
    content = encode(ds, syntax)
    content = content[: -len(content) // 20] if syntax == DeflatedExplicitVRLittleEndian else content[:-7]
    stored(archive, content)
    is_there_as_stored(archive, path_of(ds), content, syntax)
    assert httpx.post(archive.root + "/studies", content=encode(whole), headers=DICOM).status_code == 200
    study = get(archive, f"/studies/{ds.StudyInstanceUID}", "multipart/related; type=application/dicom")
    assert study.status_code == 200
    assert content in study.content
    with zipfile.ZipFile(BytesIO(get(archive, f"/studies/{ds.StudyInstanceUID}", "application/zip").content)) as files:
        assert (
            files.read(f"{path_of(ds).removeprefix('/studies/').replace('series/', '').replace('instances/', '')}.dcm")
            == content
        )
    named = f"multipart/related; type=application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    answer = get(archive, f"/studies/{ds.StudyInstanceUID}", named)
    assert (answer.status_code, "ends inside an element" in answer.json()["detail"]) == (406, True)


def test_big_endian_frames_are_still_swapped(archive: RunningArchive) -> None:
    ds = data_set(BitsAllocated=16, BitsStored=16, HighBit=15, NumberOfFrames=2, PixelData=bytes(range(64)))
    stored(archive, encode(ds, ExplicitVRBigEndian)[:-9])
    found = get(archive, f"{path_of(ds)}/frames/1", "application/octet-stream").content
    assert found == bytes(at ^ 1 for at in range(32))


def test_compressed_frames_that_came_whole(archive: RunningArchive) -> None:
    ds = frames()
    whole = frames(StudyInstanceUID=ds.StudyInstanceUID)
    assert httpx.post(archive.root + "/studies", content=encode(whole), headers=DICOM).status_code == 200
    encode(ds)  # which gives it a file meta
    ds.compress(RLELossless, generate_instance_uid=False)
    content = encode(ds, RLELossless)[:-30]
    assert comments(stored(archive, content))[0] == "7FE00010: the data set ends inside encapsulated pixel data"
    path = path_of(ds)
    is_there_as_stored(archive, path, content, RLELossless)
    plain = f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
    assert get(archive, f"{path}/frames/2", plain).content == whole.PixelData[256:512]
    assert get(archive, f"{path}/frames/3").status_code == 404
    assert get(archive, f"{path}/rendered", "image/png").status_code == 200
    assert get(archive, f"{path}/bulkdata/7FE00010", "multipart/related; type=image/dicom-rle").status_code == 200


def test_compressed_pixel_data_without_a_whole_frame(archive: RunningArchive) -> None:
    ds = data_set(PixelData=encapsulate([b"\xff\xd8\xff\xe0" * 30]))
    ds["PixelData"].is_undefined_length = True
    stored(archive, encode(ds, "1.2.840.10008.1.2.4.50")[:-50])
    for resource in ("frames/1", "rendered", "thumbnail", "pixeldata", "bulkdata/7FE00010", "bulkdata"):
        assert get(archive, f"{path_of(ds)}/{resource}").status_code == 404, resource
    assert get(archive, f"{path_of(ds)}/metadata").status_code == 200


def test_a_document_that_may_not_be_whole_is_not_shown(archive: RunningArchive) -> None:
    ds = data_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", MIMETypeOfEncapsulatedDocument="application/pdf")
    del ds.PixelData
    ds.EncapsulatedDocument = b"%PDF" * 1000
    assert comments(stored(archive, encode(ds)[:-1000]))[0] == "00420011: the data set ends inside an element"
    path = path_of(ds)
    answer = get(archive, f"{path}/rendered")
    assert (answer.status_code, "may not be whole" in answer.json()["detail"]) == (406, True)
    assert len(get(archive, f"{path}/bulkdata/00420011").content) > 2000


def test_what_does_not_tell_which_instance_it_is_is_refused(archive: RunningArchive) -> None:
    ds = data_set()
    content = encode(ds)
    cut = content.index(str(ds.SeriesInstanceUID).encode()) + 4
    answer = httpx.post(archive.root + "/studies", content=content[:cut], headers=DICOM)
    assert answer.status_code == 409
    (item,) = answer.json()["0008119A"]["Value"]
    assert item["00081197"]["Value"] == [0xC000]
    assert item["00000902"]["Value"] == ["the data set ends inside an element"]


def test_a_part_that_breaks_off_is_stored_beside_its_neighbour(archive: RunningArchive) -> None:
    one, two = data_set(), data_set()
    body, headers = multipart([encode(one), encode(two)[:-8]])
    answer = httpx.post(archive.root + "/studies", content=body, headers=headers)
    assert answer.status_code == 202
    warned = {item["00081155"]["Value"][0]: "00081196" in item for item in answer.json()["00081199"]["Value"]}
    assert warned == {one.SOPInstanceUID: False, two.SOPInstanceUID: True}


@pytest.mark.parametrize("form", ["Content-Length", "chunked", "multipart"])
def test_a_body_that_was_cut_on_its_way_leaves_nothing(archive: RunningArchive, form: str) -> None:
    """Although what came of it could be addressed."""
    ds = frames()
    content = encode(ds)
    body, headers = multipart([content])
    if form != "multipart":
        body, headers = content, dict(DICOM)
    sent = body[: body.index(content[:200]) + len(content) - 300]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if form == "chunked":
        head += "Transfer-Encoding: chunked\r\n"
        sent = b"%x\r\n%b\r\n" % (len(sent), sent)
    else:
        head += f"Content-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", archive.port), timeout=30) as connection:
        request = f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1:{archive.port}\r\n{head}\r\n"
        connection.sendall(request.encode() + sent)
        connection.shutdown(socket.SHUT_WR)
        assert b" 200 " not in connection.recv(4096).partition(b"\r\n")[0]
    assert get(archive, path_of(ds)).status_code == 404
    assert httpx.post(archive.root + "/studies", content=content, headers=DICOM).status_code == 200
    assert get(archive, path_of(ds), "application/dicom; transfer-syntax=*").content == content


async def test_import_reindex_and_verify_take_it_for_what_it_is(catalog: Catalog, tmp_path: Path) -> None:
    context = Context(catalog, LocalBlobStore(tmp_path / "blobs"))
    keeper = Storekeeper(context)
    files = []
    for number, content in enumerate((encode(frames())[:-300], encode(data_set(), ImplicitVRLittleEndian)[:-3])):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(content)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(files[0].read_bytes()[:400])
    sources = [Source(path, path.stat().st_size) for path in (*files, cut)]
    imported = {one.source.path: one async for one in import_files(keeper, sources)}
    receipts = [imported[path].receipt for path in files]
    assert [receipt and receipt.outcome for receipt in receipts] == [Outcome.STORED_BROKEN_OFF] * 2
    assert imported[cut].skipped == "the data set ends inside an element"
    facts = (
        "SELECT uid, digest, length, frame_kind, frame_count, frame_word, pixel_length, head FROM instance ORDER BY uid"
    )
    data = "SELECT uid, json, frames, bulk FROM instance_data JOIN instance ON id = instance_id ORDER BY uid"
    before = [await catalog.fetch(facts), await catalog.fetch(data)]
    assert [one["frame_word"] for one in before[0]] == [-1, -2]
    await replay.clear(catalog)
    rebuilt = await reindex(context, lambda _: None)
    assert (rebuilt.instances, rebuilt.missing, rebuilt.damaged) == (2, [], [])
    assert [await catalog.fetch(facts), await catalog.fetch(data)] == before
    assert [one.problem async for one in verify(context)] == ["", ""]
    context.blobs.close()
