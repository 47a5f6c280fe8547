"""Limits of the header reader: each is held before anything is allocated, and time and memory stay bounded."""

from __future__ import annotations

import time
import tracemalloc
import zlib

import pytest

from app.dicom.charsets import DEFAULT as CHARSET
from app.dicom.limits import Limits
from app.dicom.part10 import HeaderReader
from app.dicom.prepared import MEMORIES, Memories, prepare
from app.errors import LimitExceeded, Refused
from tests.unit.dicom.encoded import (
    DEFLATED,
    JPEG,
    UNDEFINED,
    element,
    fragments,
    identified,
    image,
    implicit,
    item,
    part10,
    read,
)

MIB = 1 << 20


def exceeded(data: bytes, limits: Limits) -> str:
    with pytest.raises(LimitExceeded) as caught:
        read(data, limits)
    return caught.value.limit


def nested(depth: int, undefined: bool) -> bytes:
    content = b""
    for _ in range(depth):
        if undefined:
            content = element(0x00081140, "SQ", item(content, True) + implicit(0xFFFEE0DD), length=UNDEFINED)
        else:
            content = element(0x00081140, "SQ", item(content))
    return content


@pytest.mark.parametrize("undefined", [False, True])
def test_depth_of_sequences(undefined: bool) -> None:
    """The same whether the sequences are in memory or not: first seen alone, then one level too deep."""
    assert read(part10(identified(nested(32, undefined)))).json.count(b'"SQ"') == 32
    assert exceeded(part10(identified(nested(33, undefined))), Limits()) == "sequence_depth"
    assert exceeded(part10(identified(nested(400, undefined))), Limits()) == "sequence_depth"
    assert read(part10(identified(nested(2, undefined))), Limits(sequence_depth=2))
    assert exceeded(part10(identified(nested(3, undefined))), Limits(sequence_depth=2)) == "sequence_depth"


def test_number_of_elements_nested_ones_included() -> None:
    inner = element(0x00081140, "SQ", item(element(0x00080100, "SH", "A")) * 5)
    for _ in range(2):
        assert read(part10(identified(inner)), Limits(elements=10))
        assert exceeded(part10(identified(inner)), Limits(elements=9)) == "elements"
    assert exceeded(part10(identified() + element(0x00280030, "LO") * 60_000), Limits()) == "elements"
    assert exceeded(part10(identified() + element(0x00280000, "UL") * 60_000), Limits()) == "elements"


def test_very_many_texts_count_as_elements() -> None:
    assert exceeded(part10(identified(element(0x00111001, "LO", b"\\" * 60_000))), Limits()) == "elements"
    numbers = element(0x30060050, "DS", b"\\".join([b"-12.5"] * 10_000))
    assert read(part10(identified(numbers))).json.count(b"-12.5") == 10_000


def test_kept_values_together() -> None:
    values = b"".join(element(0x00111001 + number, "UT", b"a" * 1000) for number in range(20))
    assert read(part10(identified(values)), Limits(header=21_000))
    assert exceeded(part10(identified(values)), Limits(header=19_000)) == "header"


def test_metadata_that_is_longer_than_its_values() -> None:
    values = b"".join(element(0x00111001 + number, "UT", b"\x01" * 1000) for number in range(20))
    assert exceeded(part10(identified(values)), Limits(header=30_000)) == "header"


def test_long_values_get_an_address_by_the_limits() -> None:
    data = part10(identified(element(0x00111001, "UT", b"a" * 101), element(0x00111002, "OB", bytes(51))))
    for limits, paths in (
        (Limits(), []),
        (Limits(text_value=100), ["00111001"]),
        (Limits(inline_value=50), ["00111002"]),
        (Limits(), []),
    ):
        assert [place.path for place in read(data, limits).bulk] == paths
    short = part10(identified(element(0x00111001, "LO", b"a" * 102)))
    assert [place.length for place in read(short, Limits(text_value=100)).bulk] == [102]


def test_a_declared_length_allocates_nothing() -> None:
    reader = HeaderReader()
    tracemalloc.start()
    reader.feed(part10(identified() + element(0x00111001, "UT", b"abc", length=0xFFFFFFF0)))
    reader.feed(bytes(MIB))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * MIB
    assert [(place.path, place.length) for place in reader.finish().bulk] == [("00111001", MIB + 3)]


@pytest.mark.parametrize("encapsulated", [False, True])
def test_memory_does_not_depend_on_the_size_of_the_object(encapsulated: bool) -> None:
    size, portion = 200 * MIB, bytes(256 * 1024)
    reader = HeaderReader()
    if encapsulated:
        opening = element(0x7FE00010, "OB", item(b"") + implicit(0xFFFEE000, b"", size), length=UNDEFINED)
    else:
        opening = element(0x7FE00010, "OB", b"", length=size)
    reader.feed(part10(image(opening, rows=20_480, columns=10_240), JPEG if encapsulated else "1.2.840.10008.1.2.1"))
    tracemalloc.start()
    begun = time.perf_counter()
    for _ in range(size // len(portion)):
        reader.feed(portion)
    spent = time.perf_counter() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if encapsulated:
        reader.feed(implicit(0xFFFEE0DD))
    assert reader.finish().frames.count == 1
    assert peak < 2 * len(portion)
    assert spent < 1


def test_a_value_in_single_bytes_is_not_copied_again_and_again() -> None:
    begun = time.perf_counter()
    read(part10(identified(element(0x00111001, "UT", b"a" * 250_000))), portion=1)
    assert time.perf_counter() - begun < 5


def deflated(*pieces: bytes) -> bytes:
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    return part10(b"".join([squeezed.compress(piece) for piece in pieces]) + squeezed.flush(), DEFLATED)


def test_deflated_bombs() -> None:
    opening = identified() + element(0x00111001, "OB", b"", length=100 * MIB)
    bomb = deflated(opening, *[bytes(MIB)] * 100)
    assert exceeded(bomb, Limits()) == "inflate_ratio"
    assert exceeded(bomb, Limits(inflate_ratio=10_000, inflated=50 * MIB)) == "inflated"
    assert read(bomb, Limits(inflate_ratio=10_000)).bulk[0].length == 100 * MIB
    small = deflated(identified() + element(0x00111001, "OB", bytes(900_000)))
    assert read(small, Limits(inflate_ratio=1)).bulk[0].length == 900_000


def test_file_meta_has_an_end() -> None:
    assert exceeded(part10(b"", meta=element(0x00020102, "OB", bytes(2 * MIB))), Limits()) == "header"
    endless = b"\0" * 128 + b"DICM" + element(0x00020016, "AE", "X ") * 200_000
    with pytest.raises(Refused):
        read(endless, portion=65_536)


def test_a_memory_forgets_when_over_its_budget() -> None:
    memories = Memories(most_entries=10, most_bytes=5000)
    memory = memories.of("explicit<", CHARSET)
    hit = prepare(0x00111001, "LO", b"abcd", CHARSET, "<")
    for number in range(25):
        memories.put(memory.elements, b"%d" % number, hit)
    assert 0 < len(memory.elements) <= 10
    memories.put(memory.sequences, bytes(6000), hit)
    assert len(memory.elements) == 0


def test_what_is_remembered_does_not_change_what_is_read() -> None:
    """One element under two character sets, two byte orders and two Pixel Representations."""
    name = element(0x00100010, "PN", b"\xc4\xd6")
    for terms in ("ISO_IR 100", "ISO_IR 144", "ISO_IR 100"):
        header = read(part10(identified(element(0x00080005, "CS", terms), name)))
        assert header.values[0x00100010] == b"\xc4\xd6".decode("latin_1" if terms.endswith("100") else "iso8859_5")
    assert MEMORIES.entries > 0


def test_fragments_in_portions_of_one_byte() -> None:
    data = part10(image(fragments(b"\xff\xd8\xff\xe0" + b"a" * 50, b"b" * 9), frames=1), JPEG)
    assert read(data, portion=1) == read(data)
