"""What a compressed image says about itself: Image Pixel attributes (PS3.3 C.7.6.3) and transfer syntax of a JPEG,
JPEG-LS, JPEG 2000 or HTJ2K bit stream, read from its headers (PS3.18 10.5.2 wants a server to derive them). Nothing is
decoded; the bytes come through a `Read`, so that a header behind megabytes of profiles costs no memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.errors import TransferSyntaxRefused, Unreadable

Read = Callable[[int, int], bytes]
"""`length` bytes from `offset`; fewer at the end."""

_JPEG = "1.2.840.10008.1.2.4."
_LOSSLESS = (0xC3, 0xF7)
"""Start of frame of lossless JPEG and of JPEG-LS."""
_SEGMENTS = 4096
"""Marker segments or boxes before the image."""


@dataclass(frozen=True, slots=True)
class Description:
    """The Image Pixel attributes of one bit stream. `start` and `length` place it in its file (JP2 has boxes around);
    `method` is the Lossy Image Compression Method, empty when it is lossless."""

    transfer_syntax: str
    rows: int
    columns: int
    samples: int
    precision: int
    photometric: str
    signed: bool = False
    method: str = ""
    frames: int = 1
    start: int = 0
    length: int | None = None

    @property
    def allocated(self) -> int:
        """Bits Allocated: the next of 8, 16, 32."""
        return 8 if self.precision <= 8 else 16 if self.precision <= 16 else 32


def describe(read: Read) -> Description:
    """The description of an image; raises `Unreadable` when it is of no known kind or broken, `TransferSyntaxRefused`
    when DICOM has no transfer syntax for it."""
    head = read(0, 12)
    try:
        if head.startswith(b"\xff\xd8"):
            return _jpeg(read)
        if head.startswith(b"\xff\x4f\xff\x51"):
            return _jpeg2000(read, 0, None)
        if head[4:8] == b"jP  ":
            return _jpeg2000(read, *_codestream(read))
    except (struct.error, IndexError) as error:
        raise Unreadable("the header of the compressed image is broken") from error
    raise Unreadable("the bulk data is no JPEG, JPEG-LS or JPEG 2000 image")


@dataclass(slots=True)
class _JpegHeader:
    """What the segments of a JPEG header tell, up to the first scan."""

    frame: int = 0
    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: bytes = b""
    """The identifier of each."""
    adobe: int | None = None
    jfif: bool = False
    scan: int = 0
    """The predictor (lossless JPEG) or NEAR (JPEG-LS)."""


def _jpeg(read: Read) -> Description:
    header = _JpegHeader()
    for marker, body in _jpeg_segments(read):
        if marker == 0xE0 and body.startswith(b"JFIF"):
            header.jfif = True
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) > 11:
            header.adobe = body[11]
        elif marker == 0xDA:
            header.scan = body[1 + 2 * body[0]]
        elif marker == 0xF7 or (marker & 0xF0 == 0xC0 and marker not in (0xC4, 0xC8, 0xCC)):
            header.frame = marker
            header.precision, header.rows, header.columns, count = struct.unpack(">BHHB", body[:6])
            header.components = bytes(body[6 + 3 * at] for at in range(count))
    if not header.frame or not header.rows or not header.columns or not 2 <= header.precision <= 16:
        raise Unreadable("the JPEG image has no frame header, or one without lines, columns or bits")
    syntax, method = _jpeg_syntax(header)
    samples = len(header.components)
    return Description(
        _JPEG + syntax, header.rows, header.columns, samples, header.precision, _jpeg_photometric(header), method=method
    )


def _jpeg_segments(read: Read) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment before the entropy-coded data, the head of big ones only."""
    at = 2
    for _ in range(_SEGMENTS):
        start = read(at, 4)
        if start[0] != 0xFF:
            raise Unreadable("the JPEG image has something else than a marker where one must be")
        if start[1] == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack(">H", start[2:4])
        yield start[1], read(at + 4, min(max(length - 2, 0), 1024))
        if start[1] == 0xDA:
            return
        at += 2 + length
    raise Unreadable("the JPEG image has too many segments before its first scan")


def _jpeg_syntax(header: _JpegHeader) -> tuple[str, str]:
    """Last part of the transfer syntax UID, and the lossy method."""
    if header.frame == 0xF7:
        return ("81", "ISO_14495_1") if header.scan else ("80", "")
    if header.frame == 0xC3:
        return ("70" if header.scan == 1 else "57", "")
    lossy = {0xC0: "50", 0xC1: "51", 0xC2: "55"}
    if header.frame not in lossy:
        raise TransferSyntaxRefused("this process of JPEG has no DICOM transfer syntax")
    return lossy[header.frame], "ISO_10918_1"


def _jpeg_photometric(header: _JpegHeader) -> str:
    if len(header.components) == 1:
        return "MONOCHROME2"
    if len(header.components) != 3:
        raise Unreadable("the JPEG image has neither one nor three components")
    assumed_rgb = header.frame in _LOSSLESS or (header.components == b"RGB" and not header.jfif)
    if header.adobe == 0 or (header.adobe is None and assumed_rgb):
        return "RGB"
    return "YBR_FULL" if header.frame in _LOSSLESS else "YBR_FULL_422"  # whatever the subsampling: PS3.5 Table 8.2.1-1


def _codestream(read: Read) -> tuple[int, int | None]:
    """Where the contiguous codestream of a JP2 file lies: offset and length, None for up to the end."""
    at = 0
    for _ in range(_SEGMENTS):
        length, kind = struct.unpack(">I4s", read(at, 8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", read(at + 8, 8))
            head = 16
        if kind == b"jp2c":
            return at + head, length - head if length else None
        if length < head:
            break
        at += length
    raise Unreadable("the JP2 file has no codestream")


def _jpeg2000(read: Read, start: int, length: int | None) -> Description:
    size, style = b"", b""
    capabilities = 0
    at = start + 2
    for _ in range(_SEGMENTS):
        marker, segment_length = struct.unpack(">HH", read(at, 4))
        body = read(at + 4, min(max(segment_length - 2, 0), 1024))
        if marker == 0xFF51:
            size = body
        elif marker == 0xFF50:
            (capabilities,) = struct.unpack(">I", body[:4])
        elif marker == 0xFF52:
            style = body
        elif marker == 0xFF90:
            break
        at += 2 + segment_length
    profile, right, bottom, left, top = struct.unpack(">HIIII", size[:18])
    if right <= left or bottom <= top:
        raise Unreadable("the JPEG 2000 image has no lines or columns")
    (components,) = struct.unpack(">H", size[34:36])
    depth = size[36]
    if depth & 0x7F >= 32:
        raise Unreadable("the JPEG 2000 image has more than 32 bits for each sample")
    reversible, mixed = style[9] == 1, style[4] == 1
    high_throughput = bool(capabilities & 0x00020000)
    syntax, method = _jpeg2000_syntax(reversible, high_throughput, bool(profile & 0x8000))
    if components == 1:
        photometric = "MONOCHROME2"
    elif components == 3:
        photometric = ("YBR_RCT" if reversible else "YBR_ICT") if mixed else "RGB"
    else:
        raise Unreadable("the JPEG 2000 image has neither one nor three components")
    return Description(
        _JPEG + syntax,
        bottom - top,
        right - left,
        components,
        (depth & 0x7F) + 1,
        photometric,
        signed=bool(depth & 0x80),
        method=method,
        start=start,
        length=length,
    )


def _jpeg2000_syntax(reversible: bool, high_throughput: bool, extended: bool) -> tuple[str, str]:
    """Last part of the transfer syntax UID, and the lossy method."""
    if high_throughput:
        return ("201", "") if reversible else ("203", "ISO_15444_15")
    if extended:
        return ("92", "") if reversible else ("93", "ISO_15444_2")
    return ("90", "") if reversible else ("91", "ISO_15444_1")
