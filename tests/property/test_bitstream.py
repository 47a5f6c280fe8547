"""Headers of compressed images and videos under any bytes: a description or a refusal, soon."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from app.dicom.bitstream import Description, Read, describe
from app.dicom.video import describe_video
from app.errors import Refused


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def _mp4() -> bytes:
    """The least MP4 file that tells what is asked."""
    sample = bytes(24) + (320).to_bytes(2, "big") + (240).to_bytes(2, "big") + bytes(50)
    entry = _box(b"avc1", sample, _box(b"avcC", b"\x01\x64\x00\x29"))
    stbl = _box(b"stbl", _box(b"stsd", bytes(8), entry), _box(b"stsz", bytes(8), (25).to_bytes(4, "big")))
    track = _box(b"trak", _box(b"mdia", _box(b"hdlr", bytes(8), b"vide"), _box(b"minf", stbl)))
    return _box(b"ftyp", b"isom") + _box(b"mdat", bytes(9)) + _box(b"moov", track)


@cache
def _seeds() -> tuple[bytes, ...]:
    seeds = [_mp4(), b"\0\0\1\xb3\x14\x00\xf0" + bytes(5) + b"\0\0\1\xb5\x14\x8a" + bytes(4) + b"\0\0\1\0" * 3]
    for name in ("JPGExtended.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"):
        path = get_testdata_file(name)
        assert isinstance(path, str)
        data_set = pydicom.dcmread(path)
        seeds.append(next(generate_frames(data_set.PixelData, number_of_frames=1))[:600])
    for kind, options in (("JPEG", {}), ("JPEG2000", {"no_jp2": False})):
        stream = io.BytesIO()
        Image.new("RGB", (9, 7)).save(stream, kind, **options)
        seeds.append(stream.getvalue())
    return tuple(seeds)


@st.composite
def _mutated(draw: Any) -> bytes:
    content = bytearray(_seeds()[draw(st.integers(0, len(_seeds()) - 1))])
    for _ in range(draw(st.integers(0, 6))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def _reader(content: bytes) -> Read:
    def read(at: int, length: int) -> bytes:
        assert at >= 0
        assert length >= 0
        return content[at : at + length]

    return read


def _judge(content: bytes) -> None:
    read = _reader(content)
    attempts: tuple[Callable[[Read], Description], ...] = (describe, lambda read: describe_video(read, len(content)))
    for attempt in attempts:
        try:
            description = attempt(read)
        except Refused:
            continue
        assert description.rows > 0
        assert description.columns > 0
        assert description.samples in (1, 3)
        assert 1 <= description.precision <= 32


def test_the_seeds_are_understood() -> None:
    description = describe_video(_reader(_mp4()), len(_mp4()))
    assert (description.rows, description.columns, description.frames) == (240, 320, 25)
    mpeg = _seeds()[1]
    description = describe_video(_reader(mpeg), len(mpeg))
    assert (description.rows, description.columns, description.frames) == (240, 320, 3)
    for seed in _seeds()[2:]:
        describe(_reader(seed))


@given(_mutated())
@settings(deadline=None)
def test_broken_headers(content: bytes) -> None:
    _judge(content)


@given(
    st.sampled_from((b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ", b"\0\0\0\x08ftyp")),
    st.binary(max_size=300),
)
@settings(deadline=None)
def test_any_bytes(head: bytes, content: bytes) -> None:
    _judge(head + content)
