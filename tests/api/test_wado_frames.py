"""Retrieve of frames: every way in which they may be stored, through the ASGI application."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.support.database import DatabaseServer
from tests.support.stored import Door, data_set_of, encode, image, open_door, reencode, sample, split_parts

OCTETS = "multipart/related; type=application/octet-stream; transfer-syntax=*"
J2K = "1.2.840.10008.1.2.4.90"


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


async def frames_of(door: Door, one: Dataset, numbers: str, accept: str = OCTETS) -> list[bytes]:
    answer = await door.get(f"{address(one)}/frames/{numbers}", accept)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers.get("content-length", len(answer.content))) == len(answer.content)
    return [content for _, content in split_parts(answer)]


def encapsulated(frames: list[bytes], syntax: str, *, fragments: int = 1, table: bool = True) -> Dataset:
    one = image(frames=len(frames))
    one.add_new(0x7FE00010, "OB", encapsulate(frames, fragments_per_frame=fragments, has_bot=table))
    one["PixelData"].is_undefined_length = True
    return one


async def test_native_frames_in_the_order_asked_for(door: Door) -> None:
    one = image(rows=4, columns=5, frames=7)
    await door.put(encode(one))
    size = 4 * 5 * 2
    frames = [one.PixelData[at * size : (at + 1) * size] for at in range(7)]
    assert await frames_of(door, one, "1") == frames[:1]
    assert await frames_of(door, one, "7,2,2") == [frames[6], frames[1], frames[1]]
    assert await frames_of(door, one, "3%2C4") == frames[2:4]


async def test_a_list_of_frames_is_known_by_its_etag(door: Door) -> None:
    one = image(frames=40)
    await door.put(encode(one))
    for numbers in ("1", "1,2", ",".join(str(at) for at in range(1, 41))):
        answer = await door.get(f"{address(one)}/frames/{numbers}")
        again = await door.get(f"{address(one)}/frames/{numbers}", if_none_match=f'"x", {answer.headers["etag"]}')
        assert (again.status_code, again.headers["etag"]) == (304, answer.headers["etag"])
    assert (await door.get(f"{address(one)}/frames/2,1")).headers["etag"] != answer.headers["etag"]


async def test_an_empty_frame_has_its_part(door: Door) -> None:
    frames = [b"\xff\xd8\xff" + b"\1" * 9, b"", b"\xff\xd8\xff" + b"\2" * 9]
    one = image(frames=3)
    table = struct.pack("<HHI3I", 0xFFFE, 0xE000, 12, 0, 20, 28)
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame for frame in frames)
    one.add_new(0x7FE00010, "OB", table + items)
    one["PixelData"].is_undefined_length = True
    await door.put(encode(one, "1.2.840.10008.1.2.4.50"))
    answer = await door.get(f"{address(one)}/frames/1,2,3", OCTETS)
    assert [content for _, content in split_parts(answer)] == frames
    assert (await door.get(f"{address(one)}/frames/2", "image/jpeg")).content == b""


async def test_one_frame_alone(door: Door) -> None:
    one = image()
    await door.put(encode(one))
    answer = await door.get(f"{address(one)}/frames/1", "application/octet-stream")
    assert answer.content == one.PixelData
    assert answer.headers["content-type"] == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    assert (await door.get(f"{address(one)}/frames/1,1", "application/octet-stream")).status_code == 406
    part = await door.get(f"{address(one)}/frames/1", "application/octet-stream", range="bytes=10-19")
    assert (part.status_code, part.content) == (206, one.PixelData[10:20])


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ("0", 400), ("x", 400), ("1,", 400), ("-1", 400), ("1e1", 400), ("\u0661", 400), ("9999999999", 400),
        ("3", 404), ("1,3", 404), ("999999999", 404), ("1,999999999", 404), ("1," * 10_000 + "1", 413),
    ],
)  # fmt: skip
async def test_bad_frame_lists(door: Door, numbers: str, status: int) -> None:
    one = image(frames=2)
    await door.put(encode(one))
    answer = await door.get(f"{address(one)}/frames/{numbers}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_instance_without_frames(door: Door) -> None:
    data = sample("reportsi.dcm")
    await door.put(data)
    assert (await door.get(f"{address(data_set_of(data))}/frames/1")).status_code == 404


@pytest.mark.parametrize(("rows", "columns", "frames"), [(3, 3, 5), (8, 8, 3), (5, 7, 20), (1, 1, 17)])
async def test_bitmaps_begin_with_a_whole_byte(door: Door, rows: int, columns: int, frames: int) -> None:
    one = image(rows, columns, frames, bits=1)
    await door.put(encode(one))
    bits = np.unpackbits(np.frombuffer(one.PixelData, np.uint8), bitorder="little")[: rows * columns * frames]
    expected = [np.packbits(frame, bitorder="little").tobytes() for frame in bits.reshape(frames, rows * columns)]
    assert await frames_of(door, one, ",".join(str(at + 1) for at in range(frames))) == expected
    assert await frames_of(door, one, str(frames)) == expected[-1:]


@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "liver_expb_1frame.dcm", "SC_rgb_small_odd_big_endian.dcm"])
async def test_big_endian_words_leave_little_endian(door: Door, name: str) -> None:
    data = sample(name)
    one = data_set_of(data)
    await door.put(data)
    pixels = one.pixel_array
    if one.BitsAllocated == 1:
        expected = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    else:
        expected = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    assert await frames_of(door, one, "1") == [expected]
    (whole,) = [content for _, content in split_parts(await door.get(address(one) + "/pixeldata", OCTETS))]
    assert whole[: len(expected)] == expected


async def test_big_endian_frames_of_an_odd_number_of_bytes(door: Door) -> None:
    one = image(rows=3, columns=3, frames=4, bits=8)
    little = one.PixelData
    one["PixelData"].VR = "OW"
    one.PixelData = b"".join(little[at : at + 2][::-1] for at in range(0, len(little), 2))
    await door.put(reencode(one, "1.2.840.10008.1.2.2"))
    assert await frames_of(door, one, "1,2,3,4") == [little[at : at + 9] for at in range(0, 36, 9)]
    for number in range(4):
        assert await frames_of(door, one, str(number + 1)) == [little[9 * number : 9 * number + 9]]


async def test_a_deflated_data_set_is_inflated(door: Door) -> None:
    data = sample("image_dfl.dcm")
    one = data_set_of(data)
    await door.put(data)
    assert await frames_of(door, one, "1") == [one.pixel_array.tobytes()]


@pytest.mark.parametrize("table", [True, False])
async def test_encapsulated_frames_are_the_stored_streams(door: Door, table: bool) -> None:
    frames = [b"\xff\x4f\xff\x51" + bytes([at]) * (20 + 2 * at) for at in range(9)]
    one = encapsulated(frames, J2K, table=table)
    await door.put(encode(one, J2K))
    label = {"Content-Type": f"application/octet-stream; transfer-syntax={J2K}"}
    answer = await door.get(f"{address(one)}/frames/5,1", OCTETS)
    assert split_parts(answer) == [(label, frames[4]), (label, frames[0])]
    answer = await door.get(f"{address(one)}/frames/9", 'multipart/related; type="image/jp2"')
    assert split_parts(answer) == [({"Content-Type": f"image/jp2; transfer-syntax={J2K}"}, frames[8])]
    answer = await door.get(f"{address(one)}/frames/9", "image/jp2")
    assert (answer.content, answer.headers["content-type"]) == (frames[8], f"image/jp2; transfer-syntax={J2K}")
    answer = await door.get(f"{address(one)}/frames/9?accept=image/jp2", "text/plain")
    assert answer.content == frames[8]
    answer = await door.get(f"{address(one)}/frames/9", 'multipart/related; type="application/octet-stream"')
    assert answer.status_code == 406
    assert answer.json()["title"] == "The stored pixels cannot be decoded"
    assert len(split_parts(await door.get(address(one) + "/pixeldata", OCTETS))) == 9


async def test_fragments_are_joined(door: Door) -> None:
    frames = [b"\xff\xd8\xff" + bytes([at]) * 1001 for at in range(3)]
    one = encapsulated(frames, "1.2.840.10008.1.2.4.50", fragments=4)
    await door.put(encode(one, "1.2.840.10008.1.2.4.50"))
    answer = await door.get(f"{address(one)}/frames/2", "image/jpeg")
    assert answer.content.rstrip(b"\0") == frames[1].rstrip(b"\0")
    parts = await frames_of(door, one, "1,2,3")
    assert [part[: len(frame)] for part, frame in zip(parts, frames, strict=True)] == frames


async def test_frames_far_apart_in_a_long_instance(door: Door) -> None:
    count = 9000
    frames = [b"\xff\xd8\xff" + struct.pack("<I", at) * 4 + b"\0" for at in range(count)]
    one = encapsulated(frames, "1.2.840.10008.1.2.4.50")
    await door.put(encode(one, "1.2.840.10008.1.2.4.50"))
    assert await frames_of(door, one, "9000,1,4500") == [frames[-1], frames[0], frames[4499]]
    assert await frames_of(door, one, ",".join(str(at) for at in range(1, 2001))) == frames[:2000]


async def test_a_frame_of_several_mib_is_streamed(door: Door) -> None:
    one = image(rows=2048, columns=2048)
    one.BitsAllocated = one.BitsStored = 16
    await door.put(encode(one))
    assert await frames_of(door, one, "1") == [one.PixelData]
    answer = await door.get(f"{address(one)}/frames/1", "application/octet-stream")
    assert answer.content == one.PixelData


async def test_video_is_one_frame_with_ranges(door: Door) -> None:
    video = bytes(range(256)) * 400
    one = encapsulated([video], "1.2.840.10008.1.2.4.102")
    one.NumberOfFrames = 250
    await door.put(encode(one, "1.2.840.10008.1.2.4.102"))
    for path in ("/frames/1", "/pixeldata"):
        answer = await door.get(address(one) + path, "video/mp4", range="bytes=256-511")
        assert (answer.status_code, answer.content) == (206, bytes(range(256))), path
        assert answer.headers["content-type"] == "video/mp4; transfer-syntax=1.2.840.10008.1.2.4.102"
