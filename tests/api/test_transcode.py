"""Retrieve in another transfer syntax than the stored one, through the ASGI application: what is in the answer is read
by pydicom and by our own reader, and its pixels are those that were stored."""

from __future__ import annotations

import asyncio
import copy
import io
import struct
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, generate_uid

from app.archive import retrieve, transcode
from app.archive.derived_cache import DerivedCache
from app.dicom.part10 import HeaderReader
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, RLE, transfer_syntax
from app.dicomweb.caches import piece_cache
from app.errors import NotAcceptable
from app.pixels import decode, targets
from app.pixels import encode as encoder
from app.pixels.picture import Picture, from_json
from tests.support.database import DatabaseServer
from tests.support.stored import Door, data_set_of, encode, image, open_door, reencode, sample, split_parts

J = "1.2.840.10008.1.2.4."
TARGETS = (*targets.NATIVE, *targets.COMPRESSED)
Shades = NDArray[np.uint8]


@pytest.fixture(scope="module")
def shared_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def door(shared_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(shared_url, tmp_path) as opened:
        yield opened
        opened.context.codecs.close()


def address(one: Dataset, level: str = "instance") -> str:
    series = f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
    return f"{series}/instances/{one.SOPInstanceUID}" if level == "instance" else series


def read(data: bytes) -> Dataset:
    """The file in `data`, by pydicom; by our reader too, which takes nothing that breaks the rules."""
    reader = HeaderReader()
    reader.feed(data)
    header = reader.finish()
    one = dcmread(io.BytesIO(data))
    assert header.transfer_syntax == one.file_meta.TransferSyntaxUID
    assert header.sop_instance == one.SOPInstanceUID
    assert header.frames.count == int(one.get("NumberOfFrames", 1) or 1)
    assert one.file_meta.FileMetaInformationGroupLength == meta_length(data)
    return one


def meta_length(data: bytes) -> int:
    reader = HeaderReader()
    reader.feed(data)
    return reader.finish().dataset_offset - 128 - 4 - 12


def picture_of(one: Dataset) -> Picture:
    return from_json(one.to_json_dict(bulk_data_threshold=1 << 40), one.file_meta.TransferSyntaxUID)


def pixels_of(one: Dataset) -> tuple[list[bytes], Picture]:
    """The frames as native octets, and what they are."""
    picture = picture_of(one)
    count = int(one.get("NumberOfFrames", 1) or 1)
    if one.file_meta.TransferSyntaxUID.is_encapsulated:
        encoded = list(generate_frames(one.PixelData, number_of_frames=count))
    elif picture.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(one.PixelData, np.uint8), bitorder="little")
        size = picture.frame_bits
        encoded = [np.packbits(bits[at * size : (at + 1) * size], bitorder="little").tobytes() for at in range(count)]
    else:
        size = picture.frame_length
        encoded = [one.PixelData[at * size : (at + 1) * size] for at in range(count)]
    return [bytes(decode.decode(picture, bytearray(frame))) for frame in encoded], picture.decoded


SAMPLES = (
    "CT_small.dcm MR_small_jp2klossless.dcm MR_small_RLE.dcm MR_small_jpeg_ls_lossless.dcm JPGExtended.dcm"
    " SC_rgb_jpeg_dcmtk.dcm SC_rgb_rle_2frame.dcm SC_rgb_rle_16bit_2frame.dcm SC_rgb_small_odd.dcm SC_rgb_gdcm_KY.dcm"
    " SC_ybr_full_422_uncompressed.dcm examples_palette.dcm examples_overlay.dcm MR_small_bigendian.dcm"
    " J2K_pixelrep_mismatch.dcm rtdose_rle_1frame.dcm image_dfl.dcm liver_1frame.dcm"
).split()


async def test_each_sample_in_each_syntax(door: Door) -> None:
    for name in SAMPLES:
        await in_each_syntax(door, name)


async def in_each_syntax(door: Door, name: str) -> None:
    data = sample(name)
    stored = dcmread(io.BytesIO(data))
    await door.put(data)
    if stored.file_meta.TransferSyntaxUID == EXPLICIT_BE:
        stored.PixelData = stored.pixel_array.astype(f"<u{stored.BitsAllocated // 8}").tobytes()
    before, picture = pixels_of(stored)
    for syntax in TARGETS:
        answer = await door.get(address(stored), f"application/dicom; transfer-syntax={syntax}")
        if not targets.holds(picture, syntax) and syntax != stored.file_meta.TransferSyntaxUID:
            assert answer.status_code == 406, (name, syntax)
            continue
        assert answer.status_code == 200, (name, syntax, answer.text)
        assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
        if syntax == stored.file_meta.TransferSyntaxUID:
            assert answer.content == data
            continue
        made = read(answer.content)
        after, told = pixels_of(made)
        if syntax in targets.LOSSY:
            assert made.LossyImageCompression == "01"
            assert made.SOPInstanceUID != stored.SOPInstanceUID
            continue
        assert_same_but_encoding(made, stored)
        assert told == picture, (name, syntax)
        assert after == before, (name, syntax)


def assert_same_but_encoding(made: Dataset, stored: Dataset) -> None:
    """Only what describes the encoding differs."""
    encoding = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration", "LossyImageCompression"}
    encoding |= {"ExtendedOffsetTable", "ExtendedOffsetTableLengths"}
    for element in stored:
        if element.keyword not in encoding and element.tag.element != 0 and not element.tag.is_private:
            assert made[element.tag].value == element.value, element.keyword


# -------------------------------------------------------------------------------------------------------------- frames

MEDIA = [
    ("application/octet-stream", EXPLICIT_LE),
    ("image/jpeg", targets.JPEG_LOSSLESS),
    ("image/jls", targets.JPEG_LS),
    ("image/jp2", targets.JPEG_2000),
    ("image/jphc", targets.HTJ2K),
    ("image/jhc", targets.HTJ2K),
    ("image/dicom-rle", RLE),
    ("image/jxl", targets.JPEG_XL),
]


@pytest.mark.parametrize("stored_as", [EXPLICIT_LE, targets.JPEG_2000, RLE])
async def test_frames_in_each_media_type(door: Door, stored_as: str) -> None:
    stored = image(32, 24, frames=10)
    data = encode(stored) if stored_as == EXPLICIT_LE else compressed(stored, stored_as)
    await door.put(data)
    before, picture = pixels_of(dcmread(io.BytesIO(data)))
    for media_type, syntax in MEDIA:
        label = f"{'image/jphc' if media_type == 'image/jhc' else media_type}; transfer-syntax={syntax}"
        answer = await door.get(f"{address(stored)}/frames/10,3", f'multipart/related; type="{media_type}"')
        parts = split_parts(answer)
        assert [headers for headers, _ in parts] == [{"Content-Type": label}] * 2
        assert [native(part, picture, syntax) for _, part in parts] == [before[9], before[2]]
        alone = await door.get(f"{address(stored)}/frames/3", media_type)
        assert (alone.headers["content-type"], native(alone.content, picture, syntax)) == (label, before[2])
        again = await door.get(f"{address(stored)}/frames/3", media_type, if_none_match=alone.headers["etag"])
        assert again.status_code == 304


def native(frame: bytes, picture: Picture, syntax: str) -> bytes:
    return bytes(decode.decode(targets.encoded(picture, syntax), bytearray(frame)))


async def test_an_etag_tells_the_syntax(door: Door) -> None:
    data = sample("MR_small.dcm")
    await door.put(data)
    path = address(data_set_of(data))
    tags = set()
    for media_type, syntax in MEDIA[:-1]:  # the samples are signed, which JPEG XL cannot hold
        tags.add((await door.get(f"{path}/frames/1", media_type)).headers["etag"])
        tags.add((await door.get(path, f"application/dicom; transfer-syntax={syntax}")).headers["etag"])
    octets = f"application/octet-stream; transfer-syntax={targets.JPEG_LS}"
    assert (await door.get(f"{path}/frames/1", octets)).headers["content-type"] == octets
    assert len(tags) == 2 * (len(MEDIA) - 2)


async def test_head_makes_nothing(door: Door) -> None:
    data = sample("MR_small_RLE.dcm")
    await door.put(data)
    path = "/dicom-web" + address(data_set_of(data))
    for rest in ("", "/frames/1"):
        headers = {"accept": "image/jls" if rest else "application/dicom"}
        answer = await door.client.head(path + rest, headers=headers)
        assert (answer.status_code, answer.content) == (200, b"")
    assert door.context.codecs._cage is None


async def test_a_dear_frame_is_made_once(door: Door, tmp_path: Path) -> None:
    door.context.derived = DerivedCache(tmp_path / "derived", 64 << 20)
    data = sample("MR_small_jp2klossless.dcm")
    await door.put(data)
    path = address(data_set_of(data)) + "/frames/1"
    first = await door.get(path, "application/octet-stream")
    door.context.codecs.close()
    assert (await door.get(path, "application/octet-stream")).content == first.content
    assert door.context.codecs._cage is None


async def test_the_pixel_data_resources(door: Door) -> None:
    stored = image(frames=2)
    await door.put(compressed(stored, RLE))
    before, _ = pixels_of(dcmread(io.BytesIO(encode(stored))))
    octets = 'multipart/related; type="application/octet-stream"'
    for path in (f"{address(stored)}/pixeldata", f"{address(stored, 'series')}/pixeldata"):
        parts = split_parts(await door.get(path, octets))
        assert [content for _, content in parts] == before
        assert parts[0][0]["Content-Type"] == f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
    plain = image(frames=2)
    await door.put(encode(plain))
    path = f"{address(plain)}/pixeldata"
    assert (await door.get(path, "image/jls")).status_code == 406
    (whole,) = split_parts(await door.get(path, octets))
    assert whole[1] == plain.PixelData


# ------------------------------------------------------------------------------------------------- instances and series


async def test_without_a_name_lossless_leaves_as_explicit_little_endian(door: Door) -> None:
    stored = image(64, 64)
    await door.put(compressed(stored, targets.JPEG_2000))
    for path in (address(stored), address(stored, "series"), f"/studies/{stored.StudyInstanceUID}"):
        ((headers, content),) = split_parts(await door.get(path, 'multipart/related; type="application/dicom"'))
        assert headers == {"Content-Type": f"application/dicom; transfer-syntax={EXPLICIT_LE}"}
        assert read(content).PixelData == stored.PixelData
    assert (await door.get(address(stored), "application/dicom")).content == content


async def test_a_series_of_many_syntaxes_for_a_peer_that_takes_only_implicit(door: Door) -> None:
    expected = {}
    one: Dataset | None = None
    for number, syntax in enumerate((EXPLICIT_LE, IMPLICIT_LE, RLE, targets.JPEG_LS, targets.JPEG_2000)):
        made = image(32, 24, frames=1 + number % 2, study="1.2.3.77", series="1.2.3.77.1")
        data = reencode(made, syntax) if not transfer_syntax(syntax).encapsulated else compressed(made, syntax)
        await door.put(data)
        expected[made.SOPInstanceUID] = made.PixelData
        one = made
    assert one is not None
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={IMPLICIT_LE}'
    answer = await door.get(address(one, "series"), accept)
    found = {}
    for headers, content in split_parts(answer):
        assert headers["Content-Type"] == f"application/dicom; transfer-syntax={IMPLICIT_LE}"
        part = read(content)
        found[part.SOPInstanceUID] = part.PixelData
    assert found == expected
    archive = await door.get(address(one, "series"), f"application/zip; transfer-syntax={IMPLICIT_LE}")
    assert archive.status_code == 200


def compressed(one: Dataset, syntax: str) -> bytes:
    """The same with its frames encoded."""
    size = one.Rows * one.Columns * one.BitsAllocated // 8
    count = int(one.get("NumberOfFrames", 1))
    picture = from_json(one.to_json_dict(bulk_data_threshold=1 << 40), EXPLICIT_LE)
    frames = [encoder.encode(picture, one.PixelData[at * size : (at + 1) * size], syntax) for at in range(count)]
    made = copy.deepcopy(one)
    made.add_new(0x7FE00010, "OB", encapsulate(frames, has_bot=False))
    made["PixelData"].is_undefined_length = True
    return encode(made, syntax)


@pytest.mark.parametrize("size", [16, 120])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, RLE])
async def test_a_compressed_icon_becomes_native(door: Door, syntax: str, size: int) -> None:
    """PS3.5 A.4: what is nested may be native; in JPEG it could not be read in another transfer syntax."""
    one = read(sample("SC_rgb_jpeg_dcmtk.dcm"))
    one.SOPInstanceUID = generate_uid()
    icon, colours = compressed_icon(size)
    one.IconImageSequence = [icon]
    await door.put(encode(one, one.file_meta.TransferSyntaxUID))
    made = read((await door.get(address(one), f"application/dicom; transfer-syntax={syntax}")).content)
    (shown,) = made.IconImageSequence
    require_icon(shown, colours)
    assert pixels_of(made)[0] == pixels_of(one)[0]


def compressed_icon(size: int, turn: int = 0) -> tuple[Dataset, Shades]:
    """An icon in JPEG, and its colours."""
    icon = Dataset()
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.PlanarConfiguration = 3, "YBR_FULL_422", 0
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.BitsStored, icon.HighBit = size, size, 8, 8, 7
    icon.PixelRepresentation = 0
    shades = np.add.outer(np.arange(size), np.arange(size)).astype(np.uint8)
    colours = np.roll(np.stack([shades, shades[::-1], shades], -1), turn, 2)
    icon.PixelData = encapsulate([bytes(imagecodecs.jpeg8_encode(colours, level=95))])
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    return icon, colours


def require_icon(shown: Dataset, colours: Shades) -> None:
    """`shown` is the icon without compression."""
    assert (shown.PhotometricInterpretation, shown.PlanarConfiguration) == ("RGB", 0)
    assert len(shown.PixelData) == colours.size
    assert np.abs(np.frombuffer(shown.PixelData, np.uint8).astype(int) - colours.ravel()).mean() < 6


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, RLE])
async def test_every_compressed_icon_becomes_native(door: Door, syntax: str) -> None:
    """Several in one sequence, one that is native already, one deep inside, and no pixels in the item between."""
    one = read(sample("SC_rgb_jpeg_dcmtk.dcm"))
    one.SOPInstanceUID = generate_uid()
    icons = [compressed_icon(16), compressed_icon(120, 1), compressed_icon(24, 2)]
    plain = Dataset()
    plain.Rows, plain.PixelData = 2, b"plain!"
    plain["PixelData"].VR = "OB"
    empty, outer, inner = Dataset(), Dataset(), Dataset()
    inner.IconImageSequence = [icons[2][0]]
    outer.ReferencedImageSequence = [inner]
    one.IconImageSequence = [icons[0][0], plain, empty, icons[1][0]]
    one.ReferencedSeriesSequence = [Dataset(), outer]
    await door.put(encode(one, one.file_meta.TransferSyntaxUID))
    made = read((await door.get(address(one), f"application/dicom; transfer-syntax={syntax}")).content)
    first, second, third, fourth = made.IconImageSequence
    require_icon(first, icons[0][1])
    assert (second.Rows, second.PixelData) == (2, b"plain!")
    assert len(third) == 0
    require_icon(fourth, icons[1][1])
    require_icon(made.ReferencedSeriesSequence[1].ReferencedImageSequence[0].IconImageSequence[0], icons[2][1])
    assert len(made.ReferencedSeriesSequence) == 2
    assert pixels_of(made)[0] == pixels_of(one)[0]


@pytest.mark.parametrize("fragments", [b"", b"no JPEG at all, and an odd number "])
async def test_a_compressed_icon_that_is_none_is_told(door: Door, fragments: bytes) -> None:
    one = read(sample("SC_rgb_jpeg_dcmtk.dcm"))
    one.SOPInstanceUID = generate_uid()
    icon = Dataset()
    icon.Rows = icon.Columns = 16
    icon.PixelData = encapsulate([fragments]) if fragments else b"\xfe\xff\x00\xe0" + bytes(4)
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    one.IconImageSequence = [icon]
    await door.put(encode(one, one.file_meta.TransferSyntaxUID))
    assert (await door.get(address(one), f"application/dicom; transfer-syntax={EXPLICIT_LE}")).status_code == 406
    assert (await door.get(address(one), "application/dicom; transfer-syntax=*")).status_code == 200


async def test_bitmaps_follow_each_other_bit_by_bit(door: Door) -> None:
    one = image(5, 7, 9, bits=1)
    bits = np.unpackbits(np.frombuffer(one.PixelData, np.uint8), bitorder="little")[: 5 * 7 * 9].reshape(9, 35)
    frames = [np.packbits(frame, bitorder="little").tobytes() for frame in bits]
    plain = one.PixelData
    one.add_new(0x7FE00010, "OB", encapsulate(frames, has_bot=False))
    one["PixelData"].is_undefined_length = True
    await door.put(encode(one, "1.2.840.10008.1.2.1.98"))
    made = read((await door.get(address(one), "application/dicom")).content)
    back = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")[: 5 * 7 * 9].reshape(9, 35)
    assert np.array_equal(back, bits)
    assert len(made.PixelData) == len(plain) + len(plain) % 2


async def test_what_follows_the_pixels_is_kept_and_offset_tables_are_not(door: Door) -> None:
    one = image(16, 16, frames=3)
    frames = [one.PixelData[at * 512 : (at + 1) * 512] for at in range(3)]
    one.add_new(0x7FE00010, "OB", encapsulate(frames, has_bot=False))
    one["PixelData"].is_undefined_length = True
    one.ExtendedOffsetTable = struct.pack("<3Q", 0, 520, 1040)
    one.ExtendedOffsetTableLengths = struct.pack("<3Q", 512, 512, 512)
    one.add_new(0xFFFCFFFC, "OB", b"\0" * 10)
    await door.put(encode(one, "1.2.840.10008.1.2.1.98"))
    for syntax in (EXPLICIT_LE, RLE, targets.JPEG_LS):
        made = read((await door.get(address(one), f"application/dicom; transfer-syntax={syntax}")).content)
        assert pixels_of(made)[0] == frames
        assert "ExtendedOffsetTable" not in made
        assert 0xFFFCFFFC in made


async def test_many_frames_are_not_in_memory(door: Door) -> None:
    one = image(256, 128, frames=1000)
    await door.put(encode(one))
    accept = f"application/dicom; transfer-syntax={RLE}"
    instance = await retrieve.find_instance(
        door.context, one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    )
    for syntax in (RLE, targets.JPEG_LOSSLESS):
        tracemalloc.start()
        length = 0
        try:
            async for piece in transcode.pieces(door.context, piece_cache(door.app), instance, syntax):
                length += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert length > 1000 * 128
        assert peak < 24 << 20, f"{peak >> 20} MiB for a file of {len(one.PixelData) >> 20}"
    assert (await door.client.head("/dicom-web" + address(one), headers={"accept": accept})).status_code == 200


async def test_a_reader_that_goes_away_ends_the_work(door: Door) -> None:
    one = image(64, 64, frames=50)
    await door.put(encode(one))
    instance = await retrieve.find_instance(
        door.context, one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    )
    async with aclosing(transcode.pieces(door.context, piece_cache(door.app), instance, RLE)) as pieces:
        await anext(pieces)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [task for task in others if "frame_in" in str(task.get_coro())] == []


# --------------------------------------------------------------------------------------------------------------- lossy


async def test_lossy_only_by_name_and_then_it_says_so(door: Door) -> None:
    one = image(32, 32, bits=8)
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    await door.put(encode(one))
    path = address(one)
    accept = f"application/dicom; transfer-syntax={targets.JPEG_BASELINE}"
    answer = await door.get(path, accept)
    made = read(answer.content)
    assert made.LossyImageCompression == "01"
    assert float(made.LossyImageCompressionRatio) == pytest.approx(1024 / len(frame_of(made)), rel=0.02)
    assert made.LossyImageCompressionMethod == "ISO_10918_1"
    assert list(made.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert "JPEG Baseline" in made.DerivationDescription
    assert made.SOPInstanceUID != one.SOPInstanceUID
    assert UID(made.SOPInstanceUID).is_valid
    assert (await door.get(path, accept)).content == answer.content
    back = np.frombuffer(pixels_of(made)[0][0], np.uint8).astype(int)
    assert np.abs(back - np.frombuffer(one.PixelData, np.uint8)).mean() < 12
    frame = await door.get(f"{path}/frames/1", f"image/jpeg; transfer-syntax={targets.JPEG_BASELINE}")
    assert frame.content == frame_of(made)


def frame_of(one: Dataset) -> bytes:
    return next(generate_frames(one.PixelData, number_of_frames=1))


async def test_a_second_loss_is_added_to_the_first(door: Door) -> None:
    one = image(32, 32, bits=8)
    one.LossyImageCompression = "01"
    one.LossyImageCompressionRatio = "8.00"
    one.LossyImageCompressionMethod = "ISO_15444_1"
    await door.put(encode(one))
    answer = await door.get(address(one), f"application/dicom; transfer-syntax={targets.JPEG_BASELINE}")
    made = read(answer.content)
    assert list(made.LossyImageCompressionMethod) == ["ISO_15444_1", "ISO_10918_1"]
    assert made.LossyImageCompressionRatio[0] == 8


@pytest.mark.parametrize(
    ("syntax", "method", "stored_bits"),
    [(targets.JPEG_EXTENDED, "ISO_10918_1", 12), (targets.JPEG_LS_NEAR, "ISO_14495_1", 12),
     (targets.JPEG_2000_LOSSY, "ISO_15444_1", 12), (targets.HTJ2K_LOSSY, "ISO_15444_15", 16)],
)  # fmt: skip
async def test_loss_is_what_was_named_and_is_recorded(door: Door, syntax: str, method: str, stored_bits: int) -> None:
    one = image(96, 128)
    one.BitsStored, one.HighBit, one.PixelRepresentation = 12, 11, 0
    shades = (np.add.outer(np.arange(96) * 17, np.arange(128) * 13) % 4096).astype("<u2")
    one.PixelData = shades.tobytes()
    await door.put(encode(one, EXPLICIT_LE))
    answer = await door.get(address(one), f"application/dicom; transfer-syntax={syntax}")
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
    made = read(answer.content)
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID != one.SOPInstanceUID
    assert made.LossyImageCompression == "01"
    assert made.LossyImageCompressionMethod == method
    (frame,) = generate_frames(made.PixelData, number_of_frames=1)
    assert made.LossyImageCompressionRatio == pytest.approx(len(one.PixelData) / len(frame), rel=0.01)
    assert str(made.ImageType).startswith(("DERIVED", "['DERIVED"))
    assert made.DerivationDescription == f"Lossy compression: {transfer_syntax(syntax).name}" + (
        ", quality 90" if method == "ISO_10918_1" else ""
    )
    assert (made.BitsStored, made.HighBit) == (stored_bits, stored_bits - 1)
    lossless = f"application/dicom; transfer-syntax={syntax};q=0.9, application/dicom; transfer-syntax={RLE};q=0.9"
    assert RLE in (await door.get(address(one), lossless)).headers["content-type"]
    only_type = await door.get(f"{address(one)}/frames/1", transfer_syntax(syntax).media_type)
    assert syntax not in only_type.headers["content-type"]


async def test_decoded_lossy_pixels_say_that_they_were_lossy(door: Door) -> None:
    data = sample("SC_rgb_dcmtk_+eb+cy+np.dcm")
    one = data_set_of(data)
    await door.put(data)
    made = read((await door.get(address(one), f"application/dicom; transfer-syntax={EXPLICIT_LE}")).content)
    assert (made.PhotometricInterpretation, made.PlanarConfiguration) == ("RGB", 0)
    assert made.LossyImageCompression == "01"
    assert made.SOPInstanceUID == one.SOPInstanceUID


# ------------------------------------------------------------------------------------------------------------- hostile


def broken(rows: int = 16, columns: int = 16, stream: bytes = b"\xff\x4f\xff\x51" + bytes(60)) -> Dataset:
    one = image(16, 16)
    one.Rows, one.Columns = rows, columns
    one.add_new(0x7FE00010, "OB", encapsulate([stream], has_bot=False))
    one["PixelData"].is_undefined_length = True
    return one


@pytest.mark.parametrize(
    ("rows", "columns", "status", "title"),
    [(16, 16, 406, "The stored pixels cannot be decoded"), (65535, 65535, 413, "The input is over a limit"),
     (0, 16, 406, "The stored pixels cannot be decoded")],
)  # fmt: skip
async def test_G32_bad_pixels_cost_one_request(door: Door, rows: int, columns: int, status: int, title: str) -> None:
    one = broken(rows, columns)
    await door.put(encode(one, J + "90"))
    good = image()
    await door.put(compressed(good, targets.JPEG_2000))
    for path, accept in (
        (f"{address(one)}/frames/1", "application/octet-stream"),
        (address(one), "application/dicom"),
        (address(one), f"application/dicom; transfer-syntax={RLE}"),
        (address(one, "series"), 'multipart/related; type="application/dicom"'),
    ):
        answer = await door.get(path, accept)
        assert (answer.status_code, answer.json()["title"]) == (status, title), (path, answer.text)
    assert (await door.get(address(one), "application/dicom; transfer-syntax=*")).status_code == 200
    assert (await door.get(f"{address(good)}/frames/1", "application/octet-stream")).status_code == 200


async def test_video_is_passed_through_and_never_decoded(door: Door) -> None:
    one = broken(stream=b"\0\0\1\xb3" + bytes(100))
    await door.put(encode(one, J + "102"))
    for accept in (f"application/dicom; transfer-syntax={EXPLICIT_LE}", f"application/dicom; transfer-syntax={RLE}"):
        assert (await door.get(address(one), accept)).status_code == 406
    assert (await door.get(address(one), "application/dicom")).status_code == 200


async def test_an_instance_without_pixels_leaves_in_any_native_syntax(door: Door) -> None:
    data = sample("reportsi.dcm")
    await door.put(data)
    path = address(data_set_of(data))
    for syntax in (IMPLICIT_LE, EXPLICIT_BE):
        made = dcmread(io.BytesIO((await door.get(path, f"application/dicom; transfer-syntax={syntax}")).content))
        assert made.file_meta.TransferSyntaxUID == syntax
        assert made.ContentSequence == data_set_of(data).ContentSequence
    assert (await door.get(path, f"application/dicom; transfer-syntax={RLE}")).status_code == 406


@pytest.mark.parametrize("there", [100, 512, 1534])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, "1.2.840.10008.1.2.1.99"])
async def test_pixel_data_that_is_too_short_is_never_compressed(door: Door, there: int, syntax: str) -> None:
    """Number of Frames would be wrong then, and what is there of the last frame would be lost."""
    one = image(frames=3)
    one.PixelData = one.PixelData[:there]
    await door.put(encode(one, syntax))
    uids = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    instance = await retrieve.find_instance(door.context, *uids)
    for other in (RLE, J + "80", J + "90", J + "50"):
        single = f"application/dicom; transfer-syntax={other}"
        several = f'multipart/related; type="application/dicom"; transfer-syntax={other}'
        for level, accept in (("instance", single), ("instance", several), ("series", several)):
            answer = await door.get(address(one, level), accept)
            assert (answer.status_code, level, other) == (406, level, other)
            assert "shorter than" in answer.json()["detail"]
        made = transcode.pieces(door.context, piece_cache(door.app), instance, other)
        with pytest.raises(NotAcceptable, match="shorter than"):
            await anext(made)
        either = f"{single}, application/dicom; transfer-syntax={EXPLICIT_LE}; q=0.5"
        assert len(dcmread(io.BytesIO((await door.get(address(one), either)).content)).PixelData) == there
    for plain in (EXPLICIT_LE, IMPLICIT_LE):
        answer = await door.get(address(one), f"application/dicom; transfer-syntax={plain}")
        read = dcmread(io.BytesIO(answer.content))
        assert (read.NumberOfFrames, len(read.PixelData)) == (3, there)


@pytest.mark.parametrize("there", [1, 2])
async def test_compressed_pixel_data_with_too_few_frames_leaves_as_it_is_stored(door: Door, there: int) -> None:
    """In any other form its Number of Frames would say something wrong."""
    one = dcmread(io.BytesIO(compressed(image(frames=3), RLE)))
    frames = list(generate_frames(one.PixelData, number_of_frames=3))
    one.PixelData = encapsulate(frames[:there], has_bot=False)
    data = encode(one, RLE)
    await door.put(data)
    for syntax in (EXPLICIT_LE, IMPLICIT_LE, J + "80", J + "90"):
        answer = await door.get(address(one), f"application/dicom; transfer-syntax={syntax}")
        assert (answer.status_code, syntax) == (406, syntax)
        assert "shorter than" in answer.json()["detail"]
    assert (await door.get(address(one), "application/dicom; transfer-syntax=*")).content == data
    assert (await door.get(f"{address(one)}/frames/{there}", "application/octet-stream")).status_code == 200
    assert (await door.get(f"{address(one)}/frames/{there + 1}", "application/octet-stream")).status_code == 404
