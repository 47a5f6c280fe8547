"""What a video says about itself: size, number of frames and transfer syntax of an MP4 file (ISO/IEC 14496-12) with
H.264 or H.265, or of an MPEG-2 stream (ISO/IEC 13818-2), from their headers (PS3.5 8.2.5 to 8.2.12). Nothing is
decoded; the frames of MPEG-2 are counted by their start codes, chunk by chunk."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from app.dicom.bitstream import Description, Read
from app.errors import TransferSyntaxRefused, Unreadable

_PREFIX = "1.2.840.10008.1.2.4."
_CHUNK = 1 << 20
_BOXES = 4096
_TABLE = 1 << 16
"""Bytes of a box of fixed content that are read: headers and sample descriptions are shorter."""
_CONTAINERS = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl"))
_SEQUENCE = b"\0\0\1\xb3"
_PICTURE = b"\0\0\1\0"
_SEQUENCE_EXTENSION = re.compile(rb"\x00\x00\x01\xb5[\x10-\x1f]", re.DOTALL)
_PICTURE_EXTENSION = re.compile(rb"\x00\x00\x01\xb5[\x80-\x8f]", re.DOTALL)
_MPEG2_LEVELS = {8: "100", 6: "101", 4: "101"}
"""Level identification of MPEG-2 (main, high 1440, high) → transfer syntax."""


def describe_video(read: Read, length: int) -> Description:
    """The description of a video of `length` bytes; raises `Unreadable` when it is neither MP4 nor MPEG-2 or broken,
    `TransferSyntaxRefused` when DICOM has no transfer syntax for its codec, profile or level."""
    try:
        container = read(4, 4) in (b"ftyp", b"moov", b"mdat", b"free", b"wide")
        description = _mp4(read, length) if container else _mpeg2(read, length)
    except (struct.error, IndexError) as error:
        raise Unreadable("the header of the video is broken") from error
    if not description.rows or not description.columns or not description.frames:
        raise Unreadable("the video has no lines, columns or frames")
    return description


def _mp4(read: Read, length: int) -> Description:
    """The first video track."""
    track: dict[bytes, bytes] = {}
    for kind, body in _boxes(read, 0, length):
        if kind == b"trak":
            track = {}
        elif kind in (b"hdlr", b"stsd", b"stsz"):
            track[kind] = body
        if len(track) == 3 and track[b"hdlr"][8:12] == b"vide":
            break
    else:
        raise Unreadable("the MP4 file has no video track whose samples are described")
    entry = track[b"stsd"][8:]
    columns, rows = struct.unpack(">HH", entry[32:36])
    (frames,) = struct.unpack(">I", track[b"stsz"][8:12])
    codec, configuration = entry[4:8], entry[86:]
    if configuration[4:8] == b"avcC" and codec in (b"avc1", b"avc3"):
        syntax, precision, method = _h264(configuration[8:]), 8, "ISO_14496_10"
    elif configuration[4:8] == b"hvcC" and codec in (b"hvc1", b"hev1"):
        syntax, precision = _h265(configuration[8:])
        method = "ISO_23008_2"
    else:
        raise TransferSyntaxRefused("the codec of the MP4 file has no DICOM transfer syntax")
    return Description(_PREFIX + syntax, rows, columns, 3, precision, "YBR_PARTIAL_420", method=method, frames=frames)


def _boxes(read: Read, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and beginning of each box, those inside containers after their container."""
    stack = [(start, end)]
    for _ in range(_BOXES):
        if not stack:
            return
        at, stop = stack.pop()
        if at + 8 > stop:
            continue
        size, kind = struct.unpack(">I4s", read(at, 8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", read(at + 8, 8))
            head = 16
        if size == 0:
            size = stop - at
        if size < head or at + size > stop:
            raise Unreadable("the MP4 file has a box that is longer than what holds it")
        stack.append((at + size, stop))
        if kind in _CONTAINERS:
            stack.append((at + head, at + size))
        yield kind, b"" if kind in _CONTAINERS else read(at + head, min(size - head, _TABLE))
    raise Unreadable("the MP4 file has too many boxes")


def _h264(configuration: bytes) -> str:
    """By profile and level of the AVC decoder configuration (PS3.5 Tables 8-4 and 8-6)."""
    _, profile, _, level = configuration[:4]
    if profile == 128 and level <= 42:
        return "106"
    if profile not in (66, 77, 88, 100) or level > 42:
        raise TransferSyntaxRefused("this profile or level of H.264 has no DICOM transfer syntax")
    return "102" if level <= 41 else "104"


def _h265(configuration: bytes) -> tuple[str, int]:
    """Transfer syntax and bits, by profile and level of the HEVC decoder configuration (PS3.5 8.2.10, 8.2.11)."""
    profile, level = configuration[1] & 0x1F, configuration[12]
    if profile not in (1, 2) or level > 153:
        raise TransferSyntaxRefused("this profile or level of H.265 has no DICOM transfer syntax")
    return ("107", 8) if profile == 1 else ("108", 10)


def _mpeg2(read: Read, length: int) -> Description:
    head = read(0, _CHUNK)
    start = head.find(_SEQUENCE)
    if start < 0:
        raise Unreadable("the video is neither an MP4 file nor an MPEG-2 stream")
    sizes = int.from_bytes(head[start + 4 : start + 7], "big")
    extension = _SEQUENCE_EXTENSION.search(head, start)
    if extension is None:
        raise TransferSyntaxRefused("MPEG-1 has no DICOM transfer syntax")
    bits = int.from_bytes(head[extension.start() + 4 : extension.start() + 8], "big")
    level = _MPEG2_LEVELS.get(bits >> 20 & 0xF)
    if level is None:
        raise TransferSyntaxRefused("this level of MPEG-2 has no DICOM transfer syntax")
    columns = sizes >> 12 | (bits >> 15 & 3) << 12
    rows = sizes & 0xFFF | (bits >> 13 & 3) << 12
    pictures = _count(read, length)
    coding = _PICTURE_EXTENSION.search(head, start)
    if coding is not None and head[coding.start() + 6] & 3 != 3:
        pictures //= 2  # two fields make a frame
    return Description(
        _PREFIX + level, rows, columns, 3, 8, "YBR_PARTIAL_420", method="ISO_13818_2", frames=max(pictures, 1)
    )


def _count(read: Read, length: int) -> int:
    count, tail = 0, b""
    for at in range(0, length, _CHUNK):
        chunk = tail + read(at, _CHUNK)
        count += chunk.count(_PICTURE)
        tail = chunk[-(len(_PICTURE) - 1) :]
    return count
