"""Rendered images and thumbnails (PS3.18 10.4.1.1.3, 8.3.5), through the ASGI application and real caged children."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from httpx import Response
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from app.archive.derived_cache import DerivedCache
from tests.support.database import DatabaseServer
from tests.support.stored import Door, data_set_of, encode, image, open_door, sample, split_parts

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
IMAGE_ELEMENT = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


@pytest.fixture(scope="module")
def shared_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def door(shared_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(shared_url, tmp_path) as opened:
        opened.context.derived = DerivedCache(tmp_path / "derived", 64 << 20)
        yield opened
        opened.context.codecs.close()


def address(one: Dataset) -> str:
    return f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"


def ramp(rows: int = 32, columns: int = 64, frames: int = 1, **more: Any) -> Dataset:
    """Shades from 0 to 255 from left to right; frame n begins n * 10 further up."""
    one = image(rows, columns, frames, bits=8, **more)
    line = np.linspace(0, 255, columns)
    pixels = [np.clip(np.tile(line + 10 * at, (rows, 1)), 0, 255).astype(np.uint8) for at in range(frames)]
    one.PixelData = b"".join(frame.tobytes() for frame in pixels)
    return one


def picture(answer: Response, kind: str = "PNG") -> npt.NDArray[np.int16]:
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as opened:
        assert opened.format == kind
        return np.asarray(opened).astype(np.int16)


async def png(door: Door, one: Dataset, query: str = "", what: str = "rendered") -> npt.NDArray[np.int16]:
    return picture(await door.get(f"{address(one)}/{what}?{query}", "image/png"))


@pytest.mark.parametrize(
    ("accept", "query", "kind"),
    [
        (None, "", "image/jpeg"),
        ("*/*", "", "image/jpeg"),
        (BROWSER, "", "image/jpeg"),
        (IMAGE_ELEMENT, "", "image/jpeg"),
        ("image/jpeg", "", "image/jpeg"),
        ("image/jpg", "", "image/jpeg"),
        ("image/png", "", "image/png"),
        ("image/gif", "", "image/gif"),
        ("image/jpeg;q=0.5, image/png", "", "image/png"),
        ("*/*", "?accept=image/png", "image/png"),
        ("application/dicom", "?accept=image%2Fjpeg", "image/jpeg"),
    ],
)
async def test_what_is_sent_for_an_accept_header(door: Door, accept: str | None, query: str, kind: str) -> None:
    one = ramp()
    await door.put(encode(one))
    for what in ("rendered", "thumbnail", "frames/1/rendered", "frames/1/thumbnail"):
        answer = await door.get(f"{address(one)}/{what}{query}", accept)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert picture(answer, kind.partition("/")[2].upper()).shape[:2] == (32, 64)


async def test_nothing_that_fits_says_what_could_be_had(door: Door) -> None:
    one = ramp()
    await door.put(encode(one))
    for what in ("rendered", "thumbnail", "frames/1/rendered"):
        answer = await door.get(f"{address(one)}/{what}", "image/webp, application/dicom")
        assert answer.status_code == 406
        assert "image/jpeg" in answer.json()["available"]


async def test_the_shades_are_those_of_the_pipeline(door: Door) -> None:
    one = ramp()
    await door.put(encode(one))
    stored = np.frombuffer(one.PixelData, np.uint8).reshape(32, 64)
    assert np.array_equal(await png(door, one), stored)
    lossy = picture(await door.get(f"{address(one)}/rendered?quality=95"), "JPEG")
    assert np.abs(lossy - stored).max() <= 3
    rough = await door.get(f"{address(one)}/rendered?quality=1")
    assert len(rough.content) < len((await door.get(f"{address(one)}/rendered?quality=100")).content)


async def test_windows_of_the_request(door: Door) -> None:
    one = ramp()
    one.WindowCenter, one.WindowWidth = "10", "5"
    await door.put(encode(one))
    stored = np.frombuffer(one.PixelData, np.uint8).reshape(32, 64).astype(float)
    linear = np.clip((stored - 99.5) / 49 + 0.5, 0, 1) * 255
    assert np.abs(await png(door, one, "window=100,50,linear") - linear).max() <= 1
    exact = np.clip((stored - 100) / 50 + 0.5, 0, 1) * 255
    assert np.abs(await png(door, one, "window=100,50,linear-exact") - exact).max() <= 1
    sigmoid = 255 / (1 + np.exp(-4 * (stored - 100) / 50))
    assert np.abs(await png(door, one, "window=1e2,50.0,SIGMOID") - sigmoid).max() <= 1
    assert set(np.unique(await png(door, one))) <= {0, 32, 64, 96, 127, 128, 159, 191, 223, 255}


async def test_viewport_region_and_flips(door: Door) -> None:
    one = ramp(32, 64)
    await door.put(encode(one))
    stored = np.frombuffer(one.PixelData, np.uint8).reshape(32, 64).astype(np.int16)
    assert (await png(door, one, "viewport=32,32")).shape == (16, 32)
    assert (await png(door, one, "viewport=128,128")).shape == (64, 128)
    assert np.array_equal(await png(door, one, "viewport=10,10,20,4,10,10"), stored[4:14, 20:30])
    assert np.array_equal(await png(door, one, "viewport=64,32,,,-64,"), stored[:, ::-1])
    assert np.array_equal(await png(door, one, "viewport=64,32,0,0,-64,-32"), stored[::-1, ::-1])
    assert (await png(door, one, "viewport=30,30,60,0,,")).shape == (30, 4)
    outside = await door.get(f"{address(one)}/rendered?viewport=10,10,64,0,10,10")
    assert outside.status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "viewport=0,10",
        "viewport=-5,10",
        "viewport=100000,100000",
        "viewport=10",
        "viewport=10,10,0,0,0,5",
        "viewport=10,10,-1,0,5,5",
        "viewport=10,10,nan,0,5,5",
        "viewport=10,10,1e99,0,5,5",
        "viewport=1,2,3,4,5,6,7",
        "viewport=%EF%BC%91,10",
        "window=nan,1,linear",
        "window=1,inf,linear",
        "window=1,0,linear",
        "window=1,0.5,linear",
        "window=1,-4,sigmoid",
        "window=1,1e400,linear",
        "window=1",
        "window=1,2,cubic",
        "window=0x10,2,linear",
        "quality=0",
        "quality=101",
        "quality=best",
        "quality=99999999999999999999999999",
        "annotation=everything",
        "iccprofile=srgb",
        "&".join(f"x{at}=1" for at in range(100)),
    ],
)
async def test_hostile_parameters_are_refused(door: Door, query: str) -> None:
    one = ramp()
    await door.put(encode(one))
    answer = await door.get(f"{address(one)}/rendered?{query}")
    assert answer.status_code == 400
    assert answer.json()["detail"]


async def test_thumbnails(door: Door) -> None:
    large, small = ramp(300, 900), ramp(20, 30)
    for one in (large, small):
        await door.put(encode(one))
    assert (await png(door, large, what="thumbnail")).shape == (85, 256)
    assert (await png(door, small, what="thumbnail")).shape == (20, 30)
    assert (await png(door, large, "viewport=256%2C256", "thumbnail")).shape == (85, 256)
    assert (await png(door, small, "viewport=60,60", "thumbnail")).shape == (40, 60)
    assert (await door.get(f"{address(large)}/thumbnail?viewport=9,9,1,1,5,5")).status_code == 400


async def test_frames(door: Door) -> None:
    one = ramp(frames=5)
    await door.put(encode(one))
    stored = np.frombuffer(one.PixelData, np.uint8).reshape(5, 32, 64)
    for number in (1, 5):
        assert np.array_equal(await png(door, one, what=f"frames/{number}/rendered"), stored[number - 1])
    answer = await door.get(f"{address(one)}/frames/4,2/rendered", "image/png")
    several = split_parts(answer)
    assert [head["Content-Type"] for head, _ in several] == ["image/png"] * 2
    for (_, content), number in zip(several, (4, 2), strict=True):
        with Image.open(io.BytesIO(content)) as opened:
            assert np.array_equal(np.asarray(opened), stored[number - 1])
    assert (await door.get(f"{address(one)}/frames/6/rendered")).status_code == 404
    assert (await door.get(f"{address(one)}/frames/0/rendered")).status_code == 400
    assert np.array_equal(await png(door, one), stored[0])
    assert np.array_equal(await png(door, one, what="thumbnail"), stored[2])
    whole = await door.get(f"{address(one)}/rendered", 'multipart/related; type="image/png"')
    assert len(split_parts(whole)) == 5
    known = await door.get(f"{address(one)}/frames/4,2/rendered", "image/png", if_none_match=answer.headers["etag"])
    assert known.status_code == 304


async def test_the_frame_that_the_data_set_names_stands_for_it(door: Door) -> None:
    one = ramp(frames=5)
    one.RepresentativeFrameNumber = 4
    await door.put(encode(one))
    stored = np.frombuffer(one.PixelData, np.uint8).reshape(5, 32, 64)
    for what in ("rendered", "thumbnail"):
        assert np.array_equal(await png(door, one, what=what), stored[3])


async def test_functional_groups(door: Door) -> None:
    """Window, rescale and spacing of each frame (PS3.3 C.7.6.16)."""
    one = ramp(frames=2)
    del one.NumberOfFrames
    one.NumberOfFrames = 2
    shared, groups = Dataset(), [Dataset(), Dataset()]
    transformation, measures = Dataset(), Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 2, -100
    measures.PixelSpacing = [2, 1]
    shared.PixelValueTransformationSequence = [transformation]
    for group, center in zip(groups, (0, 200), strict=True):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = center, 101
        group.FrameVOILUTSequence = [window]
    groups[1].PixelMeasuresSequence = [measures]
    one.SharedFunctionalGroupsSequence, one.PerFrameFunctionalGroupsSequence = [shared], groups
    await door.put(encode(one))
    stored = np.frombuffer(one.PixelData, np.uint8).reshape(2, 32, 64) * 2.0 - 100
    expected = np.clip((stored[0] + 0.5) / 100 + 0.5, 0, 1) * 255
    assert np.abs(await png(door, one, what="frames/1/rendered") - expected).max() <= 1
    second = await png(door, one, what="frames/2/rendered")
    assert second.shape == (64, 64)
    expected = np.clip((stored[1] - 199.5) / 100 + 0.5, 0, 1) * 255
    assert np.abs(second[20] - expected[10]).max() <= 1


async def test_a_study_and_a_series_are_shown_by_their_middle_image(door: Door) -> None:
    study, series = generate_uid(), generate_uid()
    images = [ramp(study=study, series=series) for _ in range(5)]
    for number, one in enumerate(images, 1):
        one.InstanceNumber, one.SeriesNumber = number, 2
        one.PixelData = bytes([number * 40]) * 2048
        await door.put(encode(one))
    document = pdf()
    document.StudyInstanceUID, document.SeriesNumber = study, 1
    await door.put(encode(document))
    for path in (f"/studies/{study}", f"/studies/{study}/series/{series}"):
        for what in ("rendered", "thumbnail"):
            assert np.unique(picture(await door.get(f"{path}/{what}", "image/png"))).tolist() == [120]
        everything = await door.get(f"{path}/rendered", 'multipart/related; type="image/jpeg"')
        assert len(split_parts(everything)) == 5
    assert (await door.get(f"/studies/{generate_uid()}/thumbnail")).status_code == 404


async def test_answers_are_kept_and_known(door: Door) -> None:
    one = ramp()
    await door.put(encode(one))
    first = await door.get(f"{address(one)}/rendered")
    door.context.codecs.close()
    door.context.codecs.run = None  # type: ignore[method-assign, assignment] # whatever is made anew fails
    again = await door.get(f"{address(one)}/rendered")
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    known = await door.get(f"{address(one)}/rendered", if_none_match=first.headers["etag"])
    assert (known.status_code, known.content) == (304, b"")


async def test_another_wish_has_another_etag(door: Door) -> None:
    one = ramp(frames=2)
    await door.put(encode(one))
    tags = [
        (await door.get(f"{address(one)}/{path}", accept)).headers["etag"]
        for path, accept in (
            ("rendered", "image/png"),
            ("rendered", "image/jpeg"),
            ("rendered?quality=50", "image/jpeg"),
            ("rendered?window=1,2,linear", "image/jpeg"),
            ("rendered?viewport=10,10", "image/jpeg"),
            ("frames/2/rendered", "image/jpeg"),
            ("frames/1,2/rendered", "image/jpeg"),
            ("thumbnail", "image/jpeg"),
        )
    ]
    assert len(set(tags)) == len(tags)


async def test_annotations_are_burnt_in(door: Door) -> None:
    one = ramp(128, 128)
    one.PixelData = bytes(128 * 128)
    one.KVP = "120"
    await door.put(encode(one))
    assert (await png(door, one)).max() == 0
    patient = await png(door, one, "annotation=patient")
    assert patient[:64].max() > 240
    assert patient[96:].max() == 0
    technique = await png(door, one, "annotation=technique")
    assert technique[:40].max() == 0
    assert technique[64:].max() > 240
    assert (await png(door, one, "annotation=patient", "thumbnail")).max() == 0


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm",
        "JPEG-lossy.dcm",
        "MR_small_RLE.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "examples_palette.dcm",
        "rtdose.dcm",
    ],
)
async def test_real_images(door: Door, name: str) -> None:
    data = sample(name)
    one = data_set_of(data)
    await door.put(data)
    found = picture(await door.get(f"{address(one)}/rendered"), "JPEG")
    assert found.shape[:2] == (one.Rows, one.Columns)
    assert found.std() > 5


async def test_palettes_that_metadata_only_refer_to(door: Door) -> None:
    one = ramp()
    one.PhotometricInterpretation = "PALETTE COLOR"
    for keyword, values in (("Red", range(256)), ("Green", range(255, -1, -1)), ("Blue", [77] * 256)):
        setattr(one, f"{keyword}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = np.repeat(np.fromiter(values, np.uint16) << 8, 4)
        setattr(one, f"{keyword}PaletteColorLookupTableData", table[::4].tobytes())
    one.RedPaletteColorLookupTableDescriptor = [1024, 0, 16]
    one.RedPaletteColorLookupTableData = np.resize(np.arange(256, dtype=np.uint16) << 8, 1024).tobytes()
    await door.put(encode(one))
    stored = np.frombuffer(one.PixelData, np.uint8).reshape(32, 64)
    found = await png(door, one)
    assert np.array_equal(found, np.stack([stored, 255 - stored, np.full_like(stored, 77)], axis=2))


def pdf(content: bytes = b"%PDF-1.4\n" + b"x" * 2001) -> Dataset:
    one = image()
    for keyword in ("PixelData", "Rows", "Columns", "NumberOfFrames", "BitsAllocated"):
        delattr(one, keyword)
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    one.Modality = "DOC"
    one.MIMETypeOfEncapsulatedDocument = "application/pdf"
    one.EncapsulatedDocumentLength = len(content)
    one.add_new(0x00420011, "OB", content + b"\0" * (len(content) % 2))
    return one


@pytest.mark.parametrize("length", [20, 5001])
async def test_documents_leave_as_themselves(door: Door, length: int) -> None:
    content = b"%PDF-1.4\n".ljust(length, b"x")
    one = pdf(content)
    await door.put(encode(one))
    for accept in (None, BROWSER, "application/pdf"):
        answer = await door.get(f"{address(one)}/rendered", accept)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
        assert answer.content == content
        assert "content-disposition" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    part = await door.get(f"{address(one)}/rendered", range="bytes=2-9")
    assert (part.status_code, part.content) == (206, content[2:10])
    known = await door.get(f"{address(one)}/rendered", if_none_match=answer.headers["etag"])
    assert known.status_code == 304
    ((head, whole),) = split_parts(
        await door.get(f"{address(one)}/rendered", "multipart/related; type=application/pdf")
    )
    assert (head["Content-Type"], whole) == ("application/pdf", content)
    refused = await door.get(f"{address(one)}/rendered", "image/jpeg")
    assert (refused.status_code, refused.json()["available"][0]) == (406, "application/pdf")
    assert (await door.get(f"{address(one)}/thumbnail")).status_code == 406
    assert (await door.get(f"{address(one)}/frames/1/rendered")).status_code == 406


async def test_documents_that_could_run_scripts_are_saved(door: Door) -> None:
    one = pdf(b"<html><script>alert(1)</script></html>" * 60)
    one.MIMETypeOfEncapsulatedDocument = "text/html"
    await door.put(encode(one))
    answer = await door.get(f"{address(one)}/rendered")
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize("fragments", [1, 3])
async def test_videos_leave_as_themselves(door: Door, fragments: int) -> None:
    content = bytes(range(256)) * 12
    one = image(frames=25)
    size = len(content) // fragments
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    items = b"".join(b"\xfe\xff\x00\xe0" + len(piece).to_bytes(4, "little") + piece for piece in pieces)
    one.add_new(0x7FE00010, "OB", b"\xfe\xff\x00\xe0\0\0\0\0" + items)
    one["PixelData"].is_undefined_length = True
    await door.put(encode(one, "1.2.840.10008.1.2.4.102"))
    for accept in (None, BROWSER, "video/mp4", "video/*"):
        answer = await door.get(f"{address(one)}/rendered", accept)
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "video/mp4", content)
    for start, end in ((0, 99), (size - 5, min(size + 5, len(content) - 1)), (len(content) - 7, len(content) - 1)):
        part = await door.get(f"{address(one)}/rendered", range=f"bytes={start}-{end}")
        assert (part.status_code, part.content) == (206, content[start : end + 1])
    assert (await door.get(f"{address(one)}/thumbnail")).status_code == 406


async def test_what_has_no_picture_says_so(door: Door) -> None:
    one = pdf()
    del one.EncapsulatedDocument
    del one.MIMETypeOfEncapsulatedDocument
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    await door.put(encode(one))
    answer = await door.get(f"{address(one)}/rendered")
    assert answer.status_code == 406
    assert "neither images nor a document" in answer.json()["detail"]


async def test_pixels_that_make_no_sense_cost_one_request(door: Door) -> None:
    broken = image(64, 64)
    broken.add_new(0x7FE00010, "OB", b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x08\0\0\0\xff\x4f\xff\x51\0\x29\0\0")
    broken["PixelData"].is_undefined_length = True
    await door.put(encode(broken, "1.2.840.10008.1.2.4.90"))
    strange = ramp()
    strange.PhotometricInterpretation = "CMYK"
    await door.put(encode(strange))
    for one, status in ((broken, 406), (strange, 406)):
        answer = await door.get(f"{address(one)}/rendered")
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]
    good = ramp()
    await door.put(encode(good))
    assert (await door.get(f"{address(good)}/rendered")).status_code == 200
