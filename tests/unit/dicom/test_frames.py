"""Frame places: native arithmetic, offset tables, and the scan of fragments when tables are missing or wrong."""

from __future__ import annotations

import struct

import pytest

from app.dicom.header import FRAGMENTED, FRAME_ENTRY, FrameIndex
from app.dicom.limits import Limits
from app.errors import LimitExceeded
from tests.unit.dicom.encoded import BIG, JPEG, RLE, UNDEFINED, element, fragments, image, implicit, item, part10, read

SOI = b"\xff\xd8\xff\xe0"
VIDEO = "1.2.840.10008.1.2.4.102"


def messages(data: bytes) -> list[str]:
    return [warning.message for warning in read(data).warnings if warning.path == "7FE00010"]


def places(data: bytes) -> list[tuple[bytes, bool]]:
    """What the index points at, and whether it is in several fragments."""
    entries = FRAME_ENTRY.iter_unpack(read(data).frames.table)
    return [
        (data[(offset & ~FRAGMENTED) : (offset & ~FRAGMENTED) + length], bool(offset & FRAGMENTED))
        for offset, length in entries
    ]


def test_native_frames_are_arithmetic() -> None:
    pixels = bytes(range(18))
    data = part10(image(element(0x7FE00010, "OB", pixels), frames=3))
    assert read(data).frames == FrameIndex("native", 3, data.index(pixels), 18, 48, 1)


def test_frames_of_one_bit_begin_inside_bytes() -> None:
    data = part10(image(element(0x7FE00010, "OB", bytes(4)), frames=3, rows=3, columns=3, bits=1))
    assert (read(data).frames.count, read(data).frames.frame_bits) == (3, 9)


def test_words_tell_what_byte_order_swaps() -> None:
    from tests.unit.dicom.encoded import identified

    def us(tag: int, number: int) -> bytes:
        return element(tag, "US", struct.pack(">H", number), ">")

    rows = (us(0x00280010, 2), us(0x00280011, 3), us(0x00280100, 16))
    frames = read(part10(identified(*rows, element(0x7FE00010, "OW", bytes(12), ">"), order=">"), BIG)).frames
    assert (frames.kind, frames.word, frames.frame_bits) == ("native", 2, 96)


@pytest.mark.parametrize(("photometric", "bits"), [("YBR_FULL_422", 96), ("YBR_PARTIAL_420", 72), ("RGB", 144)])
def test_subsampled_colour_takes_less(photometric: str, bits: int) -> None:
    from tests.unit.dicom.encoded import identified

    def us(tag: int, number: int) -> bytes:
        return element(tag, "US", struct.pack("<H", number))

    description = (us(0x00280002, 3), element(0x00280004, "CS", photometric), us(0x00280010, 2), us(0x00280011, 3))
    data = identified(*description, us(0x00280100, 8), element(0x7FE00010, "OB", bytes(18)))
    assert read(part10(data)).frames.frame_bits == bits


@pytest.mark.parametrize(("tag", "vr", "bits", "word"), [(0x7FE00008, "OF", 32, 4), (0x7FE00009, "OD", 64, 8)])
def test_float_pixel_data(tag: int, vr: str, bits: int, word: int) -> None:
    frames = read(part10(image(element(tag, vr, bytes(6 * bits // 8)), bits=bits))).frames
    assert (frames.kind, frames.count, frames.frame_bits, frames.word, frames.tag) == ("native", 1, 6 * bits, word, tag)


def test_native_pixel_data_shorter_than_the_image() -> None:
    data = part10(image(element(0x7FE00010, "OB", bytes(14)), frames=3))
    assert read(data).frames.count == 2
    assert messages(data) == ["the pixel data is shorter than the image's attributes say"]


def test_an_image_without_size() -> None:
    data = part10(image(element(0x7FE00010, "OB", bytes(14)), rows=0))
    assert read(data).frames.kind == "none"
    assert messages(data) == ["the image has no size"]


def test_one_fragment_a_frame() -> None:
    data = part10(image(fragments(SOI + b"a1", SOI + b"b222"), frames=2), JPEG)
    assert places(data) == [(SOI + b"a1", False), (SOI + b"b222", False)]
    assert messages(data) == []


def test_all_fragments_are_the_only_frame() -> None:
    data = part10(image(fragments(SOI + b"a1", b"more")), JPEG)
    assert places(data) == [(item(SOI + b"a1") + item(b"more"), True)]


def test_fragments_are_told_apart_by_codestreams() -> None:
    data = part10(image(fragments(SOI + b"a1", b"more", SOI + b"b2"), frames=2), JPEG)
    assert places(data) == [(item(SOI + b"a1") + item(b"more"), True), (SOI + b"b2", False)]


def test_rle_headers_begin_frames() -> None:
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    data = part10(image(fragments(header + b"aa", b"bb", header + b"cc"), frames=2), RLE)
    assert [several for _, several in places(data)] == [True, False]


def test_basic_offset_table() -> None:
    """Its offsets count from the first item after it (PS3.5 A.4)."""
    table = struct.pack("<II", 0, 24)
    data = part10(image(fragments(b"aaaa", b"bbbb", b"cccc", table=table), frames=2), JPEG)
    assert places(data) == [(item(b"aaaa") + item(b"bbbb"), True), (b"cccc", False)]


@pytest.mark.parametrize("table", [(0, 25), (8, 24), (0, 9999), (24, 0), (0, 0), (0,)])
def test_wrong_basic_offset_table(table: tuple[int, ...]) -> None:
    raw = struct.pack(f"<{len(table)}I", *table)
    data = part10(image(fragments(SOI, SOI + b"bb", table=raw), frames=2), JPEG)
    assert places(data) == [(SOI, False), (SOI + b"bb", False)]
    assert messages(data) == ["the offset table does not fit the fragments"]


def extended(offsets: tuple[int, ...], lengths: tuple[int, ...]) -> tuple[bytes, bytes]:
    return (
        element(0x7FE00001, "OV", struct.pack(f"<{len(offsets)}Q", *offsets)),
        element(0x7FE00002, "OV", struct.pack(f"<{len(lengths)}Q", *lengths)),
    )


def test_extended_offset_table_has_exact_lengths() -> None:
    data = part10(image(*extended((0, 14), (5, 4)), fragments(SOI + b"a\0", SOI), frames=2), JPEG)
    assert places(data) == [(SOI + b"a", False), (SOI, False)]


def test_wrong_extended_offset_table() -> None:
    data = part10(image(*extended((0, 15), (6, 4)), fragments(SOI + b"a\0", SOI), frames=2), JPEG)
    assert places(data) == [(SOI + b"a\0", False), (SOI, False)]
    assert messages(data) == ["the offset table does not fit the fragments"]


def test_fragments_that_cannot_be_told_apart() -> None:
    data = part10(image(fragments(b"aaaa", b"bbbb", b"cccc"), frames=2), JPEG)
    assert read(data).frames.count == 0
    assert messages(data) == ["the fragments cannot be told apart into frames"]


def test_fewer_fragments_than_frames() -> None:
    data = part10(image(fragments(SOI), frames=2), JPEG)
    assert (read(data).frames.count, messages(data)) == (1, ["fewer fragments than frames"])


def test_pixel_data_without_fragments() -> None:
    data = part10(image(fragments()), JPEG)
    assert (read(data).frames.count, messages(data)) == (0, ["the pixel data has no fragments"])


def test_pixel_data_without_offset_table_item() -> None:
    stream = item(SOI + b"a1") + item(SOI + b"b2") + implicit(0xFFFEE0DD)
    data = part10(image(element(0x7FE00010, "OB", stream, length=UNDEFINED), frames=2), JPEG)
    assert places(data) == [(SOI + b"a1", False), (SOI + b"b2", False)]
    assert messages(data) == ["no Basic Offset Table item"]


def test_a_video_is_one_frame() -> None:
    data = part10(image(fragments(b"\0\0\0\1aaaa", b"bbbb"), frames=250), VIDEO)
    assert places(data) == [(item(b"\0\0\0\1aaaa") + item(b"bbbb"), True)]


def test_elements_after_the_pixel_data_are_read() -> None:
    padding = element(0xFFFCFFFC, "OB", b"\0\0")
    header = read(part10(image(fragments(SOI)) + padding, JPEG))
    assert b'"FFFCFFFC"' in header.json
    assert header.frames.count == 1


def test_compressed_syntax_with_native_pixel_data() -> None:
    data = part10(image(element(0x7FE00010, "OB", bytes(6))), JPEG)
    assert read(data).frames.kind == "none"
    assert messages(data) == ["pixel data of a compressed transfer syntax is not encapsulated"]


LEFT_OUT = "frames that did not come whole are left out"
ENDS = "the data set ends inside encapsulated pixel data"


@pytest.mark.parametrize(("cut", "found"), [(1, 1), (8, 1), (9, 0), (12, 0), (13, 0), (17, 0), (22, 0)])
def test_a_frame_that_is_cut_off_is_left_out(cut: int, found: int) -> None:
    whole = part10(image(fragments(SOI + b"a1"), frames=1), JPEG)[:-cut]
    header = read(whole)
    assert (header.broken_off, header.frames.kind, header.frames.count) == (True, "encapsulated", found)
    assert messages(whole)[0] == ENDS
    assert read(whole, portion=1) == header
    assert b'"7FE00010":{"vr":"OB","BulkDataURI"' in header.json


def cut_places(values: list[bytes], frames: int, cut: int, table: list[int] = []) -> list[bytes]:  # noqa: B006
    """The frames that are found when `cut` bytes of the fragments are missing at the end, besides the delimiter."""
    packed = struct.pack(f"<{len(table)}I", *table)
    stream = fragments(*values, table=packed)
    data = part10(image(stream, frames=frames), JPEG)[: -8 - cut]
    assert read(data).broken_off
    assert read(data, portion=1) == read(data, portion=5) == read(data)
    assert (LEFT_OUT in messages(data)) == (read(data).frames.count < frames)
    return [value for value, _ in places(data)]


def test_whole_frames_before_the_end_are_found_by_the_codestreams_that_begin() -> None:
    one, two, three = SOI + b"a1" * 5, SOI + b"b2" * 5, SOI + b"c3" * 5
    assert cut_places([one, two, three], 3, 0) == [one, two, three]
    assert cut_places([one, two, three], 3, 1) == [one, two]
    assert cut_places([one, two, three], 3, 5) == [one, two], "the beginning of the third is there"
    assert cut_places([one, two, three], 3, 14) == [one, two], "nothing but its item is there"
    assert cut_places([one, two], 5, 0) == [one, two]
    assert cut_places([one, b"more" * 4, two], 2, 1) == [item(one) + item(b"more" * 4)]
    assert cut_places([one, b"more" * 4, two, b"more" * 4], 2, 1) == [item(one) + item(b"more" * 4)]
    assert cut_places([one, b"more" * 4, two, b"more" * 4], 2, 0) == [item(one) + item(b"more" * 4)], "perhaps more"
    assert cut_places([b"unknown codestr.", b"unknown codestr."], 2, 1) == []
    assert cut_places([b"unknown codestr."], 1, 0) == [b"unknown codestr."]
    assert cut_places([one, b"more" * 4], 1, 0) == [], "a fragment may be missing"


def test_whole_frames_before_the_end_are_found_by_the_offset_table() -> None:
    values = [b"a" * 20, b"b" * 20, b"c" * 20, b"d" * 20]
    assert cut_places(values, 4, 1, [0, 28, 56, 84]) == values[:3]
    assert cut_places(values, 4, 0, [0, 28, 56, 84]) == values
    assert cut_places(values[:2], 4, 0, [0, 28, 56, 84]) == values[:2]
    assert cut_places(values[:2], 4, 7, [0, 28, 56, 84]) == values[:1]
    pair = item(values[0]) + item(values[1])
    assert cut_places(values, 2, 1, [0, 56]) == [pair]
    assert cut_places(values[:3], 2, 0, [0, 56]) == [pair]
    assert cut_places(values[:2], 2, 0, [0, 56]) == [pair]
    assert cut_places(values[:1], 2, 0, [0, 56]) == [], "its second fragment is missing"
    assert cut_places([SOI + b"a" * 16, SOI + b"b" * 16], 2, 1, [0, 27]) == [SOI + b"a" * 16], "a table that is wrong"


def test_limits_of_frames_and_fragments() -> None:
    limits = Limits(frames=2)
    with pytest.raises(LimitExceeded, match="2 frames"):
        read(part10(image(element(0x7FE00010, "OB", bytes(18)), frames=3)), limits)
    with pytest.raises(LimitExceeded, match="2 fragments"):
        read(part10(image(fragments(SOI, SOI, SOI)), JPEG), limits)
    with pytest.raises(LimitExceeded, match="offset table"):
        read(part10(image(fragments(SOI, table=bytes(12))), JPEG), limits)
