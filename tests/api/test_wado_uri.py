"""WADO-URI (PS3.18 9) through the ASGI application."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from httpx import Response
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from app.archive.derived_cache import DerivedCache
from app.dicomweb import wado_uri
from tests.support.database import DatabaseServer
from tests.support.stored import Door, data_set_of, encode, image, open_door, reencode

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.fixture(scope="module")
def shared_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def door(shared_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(shared_url, tmp_path) as opened:
        opened.app.include_router(wado_uri.router)
        opened.context.derived = DerivedCache(tmp_path / "derived", 64 << 20)
        yield opened
        opened.context.codecs.close()


async def wado(door: Door, one: Dataset, accept: str | None = None, **query: str) -> Response:
    names = {
        "requestType": "WADO",
        "studyUID": one.StudyInstanceUID,
        "seriesUID": one.SeriesInstanceUID,
        "objectUID": one.SOPInstanceUID,
    }
    asked = urlencode({name: value for name, value in (names | query).items() if value != "-"})
    return await door.client.get(f"/wado?{asked}", headers={"accept": accept} if accept else {})


def ramp(frames: int = 1) -> Dataset:
    one = image(32, 64, frames, bits=8)
    line = np.linspace(0, 255, 64)
    one.PixelData = b"".join(
        np.clip(np.tile(line + 10 * at, (32, 1)), 0, 255).astype(np.uint8).tobytes() for at in range(frames)
    )
    return one


def stored(one: Dataset) -> npt.NDArray[np.int16]:
    return np.frombuffer(one.PixelData, np.uint8).reshape(-1, 32, 64).astype(np.int16)


def shades(answer: Response) -> npt.NDArray[np.int16]:
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as opened:
        return np.asarray(opened).astype(np.int16)


@pytest.mark.parametrize(
    ("accept", "content_type", "sent"),
    [
        (None, "-", "image/jpeg"),
        (BROWSER, "-", "image/jpeg"),
        ("image/png", "-", "image/png"),
        ("image/png", "image/jpeg", "image/jpeg"),
        (BROWSER, "image/png", "image/png"),
        (BROWSER, "image/webp, image/png", "image/png"),
        (None, "application/dicom", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
        ("application/dicom", "-", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
    ],
)
async def test_what_is_sent_of_one_image(door: Door, accept: str | None, content_type: str, sent: str) -> None:
    one = ramp()
    data = encode(one)
    await door.put(data)
    answer = await wado(door, one, accept, contentType=content_type)
    assert (answer.status_code, answer.headers["content-type"]) == (200, sent)
    if sent.startswith("application"):
        assert answer.content == data
    else:
        assert np.abs(shades(answer) - stored(one)[0]).max() <= 3


async def test_several_frames_leave_as_the_object_unless_one_is_named(door: Door) -> None:
    one = ramp(frames=4)
    data = encode(one)
    await door.put(data)
    assert (await wado(door, one)).content == data
    assert np.array_equal(shades(await wado(door, one, "image/png", frameNumber="3")), stored(one)[2])
    assert np.array_equal(shades(await wado(door, one, contentType="image/png")), stored(one)[0])
    assert (await wado(door, one, frameNumber="5")).status_code == 404
    assert (await wado(door, one, frameNumber="1", contentType="application/dicom")).status_code == 400


async def test_the_transfer_syntax_of_the_file(door: Door) -> None:
    one = ramp()
    await door.put(reencode(one, "1.2.840.10008.1.2.2"))
    explicit = await wado(door, one, contentType="application/dicom")
    assert data_set_of(explicit.content).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    as_stored = await wado(door, one, contentType="application/dicom", transferSyntax="1.2.840.10008.1.2.2")
    assert data_set_of(as_stored.content).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2"
    strange = await wado(door, one, contentType="application/dicom", transferSyntax="1.2.840.10008.1.2.4.100")
    assert strange.status_code == 406
    assert (await wado(door, one, contentType="application/dicom", transferSyntax="x")).status_code == 400


async def test_how_the_image_is_shown(door: Door) -> None:
    one = ramp()
    await door.put(encode(one))
    png = {"contentType": "image/png"}
    assert shades(await wado(door, one, **png, rows="16")).shape == (16, 32)
    assert shades(await wado(door, one, **png, columns="16")).shape == (8, 16)
    assert shades(await wado(door, one, **png, columns="16", rows="4")).shape == (4, 8)
    part = shades(await wado(door, one, **png, region="0.5,0.25,1,0.75"))
    assert np.array_equal(part, stored(one)[0][8:24, 32:])
    window = shades(await wado(door, one, **png, windowCenter="100", windowWidth="50"))
    assert np.abs(window - np.clip((stored(one)[0] - 99.5) / 49 + 0.5, 0, 1) * 255).max() <= 1
    small, large = [await wado(door, one, imageQuality=quality) for quality in ("5", "100")]
    assert len(small.content) < len(large.content)
    assert (await wado(door, one, **png, annotation="patient")).content != (await wado(door, one, **png)).content


@pytest.mark.parametrize(
    "query",
    [
        {"requestType": "-"},
        {"requestType": "QIDO"},
        {"studyUID": "-"},
        {"seriesUID": "-"},
        {"objectUID": "-"},
        {"anonymize": "yes"},
        {"presentationUID": "1.2.3"},
        {"rows": "0"},
        {"rows": "-1"},
        {"columns": "99999"},
        {"columns": "ten"},
        {"frameNumber": "0"},
        {"frameNumber": "one"},
        {"region": "0,0,1"},
        {"region": "0,0,2,1"},
        {"region": "0.5,0,0.5,1"},
        {"region": "nan,0,1,1"},
        {"windowCenter": "40"},
        {"windowWidth": "40"},
        {"windowCenter": "40", "windowWidth": "nan"},
        {"windowCenter": "inf", "windowWidth": "40"},
        {"imageQuality": "1000"},
        {"annotation": "all"},
    ],
)
async def test_wrong_parameters_are_refused(door: Door, query: dict[str, str]) -> None:
    one = ramp()
    await door.put(encode(one))
    answer = await wado(door, one, **query)
    assert answer.status_code == 400
    assert answer.json()["detail"]


async def test_what_is_not_there_and_what_cannot_be_had(door: Door) -> None:
    one = ramp()
    assert (await wado(door, one)).status_code == 404
    await door.put(encode(one))
    assert (await wado(door, one, studyUID=generate_uid())).status_code == 404
    assert (await wado(door, one, objectUID="../x")).status_code == 404
    answer = await wado(door, one, contentType="text/html")
    assert answer.status_code == 406
    assert "image/jpeg" in answer.json()["available"]


async def test_documents_videos_and_reports(door: Door) -> None:
    content = b"%PDF-1.4\n".ljust(3001, b"x")
    document = image()
    del document.PixelData
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(content)
    document.add_new(0x00420011, "OB", content + b"\0")
    video = image()
    video.add_new(0x7FE00010, "OB", b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x08\0\0\0\0\0\0\x08ftyp")
    video["PixelData"].is_undefined_length = True
    report = image()
    del report.PixelData
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    for one, syntax in ((document, "1.2.840.10008.1.2.1"), (video, "1.2.840.10008.1.2.4.102")):
        await door.put(encode(one, syntax))
    await door.put(encode(report))
    assert (await wado(door, document)).content == content
    assert (await wado(door, document, contentType="application/dicom")).content == encode(document)
    assert (await wado(door, document, contentType="image/jpeg")).status_code == 406
    film = await wado(door, video, contentType="video/mp4")
    assert (film.headers["content-type"], film.content) == ("video/mp4", b"\0\0\0\x08ftyp")
    assert (await wado(door, video)).headers["content-type"].startswith("application/dicom")
    assert (await wado(door, report)).headers["content-type"].startswith("application/dicom")
    assert (await wado(door, report, contentType="text/html")).status_code == 406
