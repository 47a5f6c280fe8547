"""Encoded frames to native ones, inside the cage: samples of a pixel together, little endian, as many bits as Bits
Allocated says, signed values with their sign carried up to the highest bit (PS3.5 8.1.1, 8.2, Annex G).

What the bit stream says of itself is compared with the Image Pixel module before a codec may allocate anything."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from imagecodecs import (
    htj2k_decode,
    jpeg2k_decode,
    jpeg8_decode,
    jpegls_decode,
    jpegxl_decode,
    packbits_decode,
)
from numpy.typing import NDArray

from app.dicom.bitstream import Description, describe
from app.dicom.transfer_syntaxes import ENCAPSULATED_UNCOMPRESSED, RLE, transfer_syntax
from app.errors import FileroomError, TransferSyntaxRefused, Undecodable, Unreadable
from app.pixels.picture import MAX_BYTES, Picture

Array = NDArray[Any]
Encoded = bytes | bytearray
Native = bytes | memoryview
Decoder = Callable[[Picture, Encoded], Array]
CODEC_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, EOFError, OSError, struct.error)
"""What the codecs raise for streams that they cannot read."""

_J = "1.2.840.10008.1.2.4."
_DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
_COLOURS_TOLD = re.compile(rb"\xff\xe0..JFIF|\xff\xee\x00[\x0e-\xff]Adobe", re.DOTALL)
"""Segments of a JPEG header that tell what its components are."""
_RLE_HEADER = struct.Struct("<16I")
_SEGMENTS = 15


def decode(picture: Picture, encoded: Encoded | memoryview) -> Native:
    """One frame as `picture.decoded` describes it. Raises `Undecodable`, or `LimitExceeded` before anything large is
    allocated."""
    if not transfer_syntax(picture.transfer_syntax).encapsulated:
        return native(picture, encoded)
    decoder = DECODERS.get(picture.transfer_syntax)
    if decoder is None:
        name = transfer_syntax(picture.transfer_syntax).name
        raise Undecodable(f"frames in {name} are not decoded here")
    try:
        array = decoder(picture, bytes(encoded))
    except FileroomError:
        raise
    except CODEC_ERRORS as error:
        raise Undecodable("the frame cannot be decoded") from error
    return _octets(picture, array)


def native(picture: Picture, encoded: Encoded | memoryview) -> Native:
    """A native frame: samples of a pixel together, none subsampled."""
    if len(encoded) < picture.frame_length:
        raise Undecodable("the frame has fewer bytes than Rows, Columns and BitsAllocated tell")
    octets = memoryview(encoded)[: picture.frame_length]
    if picture.samples_per_pixel == 1:
        return octets
    if picture.is_subsampled:
        return upsampled(picture, octets)
    if picture.planar_configuration != 1:
        return octets
    planes = np.frombuffer(octets, np.uint8).reshape(picture.samples_per_pixel, -1, picture.bits_allocated // 8)
    return np.ascontiguousarray(planes.swapaxes(0, 1)).data.cast("B")


def upsampled(picture: Picture, octets: memoryview) -> bytes:
    """YBR_FULL of native YBR_FULL_422: each pair of pixels shares its two colour differences (PS3.3 C.7.6.3.1.2)."""
    if picture.photometric_interpretation == "YBR_PARTIAL_420" or picture.bits_allocated != 8 or picture.columns % 2:
        raise Undecodable("native pixel data with this subsampling are not decoded")
    pairs = np.frombuffer(octets, np.uint8).reshape(-1, 4)
    return pairs[:, [0, 2, 3, 1, 2, 3]].tobytes()


# ------------------------------------------------------------------------------------------------- from array to octets


def _octets(picture: Picture, array: Array) -> Native:
    """The samples of `array` (rows, columns, samples) in Bits Allocated bits each."""
    shape = picture.rows, picture.columns, picture.samples_per_pixel
    if array.size != shape[0] * shape[1] * shape[2]:
        raise Undecodable("the decoded frame has another size than Rows, Columns and SamplesPerPixel tell")
    if picture.bits_allocated == 1:
        return np.packbits(array.ravel() != 0, bitorder="little").tobytes()
    if picture.bits_allocated == 24:
        return np.ascontiguousarray(array.ravel().astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]).tobytes()
    wanted = np.dtype(f"<{'i' if array.dtype.kind == 'i' else 'u'}{picture.bits_allocated // 8}")
    if array.dtype.itemsize > wanted.itemsize and array.size and not _fits(array, wanted):
        raise Undecodable("the frame has more bits than BitsAllocated tells")
    return np.ascontiguousarray(array, wanted).ravel().view(np.uint8).data


def _fits(array: Array, wanted: np.dtype[Any]) -> bool:
    limits = np.iinfo(wanted)
    return int(array.min()) >= limits.min and int(array.max()) <= limits.max


def signed(array: Array, precision: int) -> Array:
    """Unsigned samples of `precision` bits as the two's complement numbers that they stand for."""
    kind = array.dtype.str.replace("u", "i")
    shift = array.dtype.itemsize * 8 - precision
    return np.right_shift(np.left_shift(array, shift).view(kind), shift) if shift > 0 else array.view(kind)


def _as_represented(picture: Picture, array: Array, precision: int) -> Array:
    if picture.pixel_representation == 1 and array.dtype.kind == "u":
        return signed(array, precision)
    return array


# ------------------------------------------------------------------------------------------------------------- decoders


def _described(picture: Picture, encoded: Encoded) -> Description:
    """What the stream says; raises `Undecodable` unless it is an image of the size that was told."""
    view = memoryview(encoded)
    try:
        found = describe(lambda at, length: bytes(view[at : at + length]))
    except (Unreadable, TransferSyntaxRefused) as error:
        raise Undecodable(error.detail) from error
    told = picture.rows, picture.columns, picture.samples_per_pixel
    if (found.rows, found.columns, found.samples) != told:
        raise Undecodable("the compressed frame has another size than Rows, Columns and SamplesPerPixel tell")
    return found


def _jpeg(picture: Picture, encoded: Encoded) -> Array:
    """JPEG of all processes but hierarchical ones. Lossy colours become RGB; lossless ones are left alone."""
    found = _described(picture, encoded)
    if picture.samples_per_pixel != 3:
        return _as_represented(picture, jpeg8_decode(encoded), found.precision)
    colours = "RGB" if not found.method or _is_rgb(picture, found, encoded) else "YCBCR"
    return jpeg8_decode(encoded, colorspace=colours, outcolorspace="RGB")


def _is_rgb(picture: Picture, found: Description, encoded: Encoded) -> bool:
    """Whether a lossy colour stream holds RGB: its own markers tell; without any, Photometric Interpretation does."""
    if found.photometric == "RGB":
        return True
    return picture.photometric_interpretation == "RGB" and _COLOURS_TOLD.search(encoded, 0, 4096) is None


def _jpeg_ls(picture: Picture, encoded: Encoded) -> Array:
    found = _described(picture, encoded)
    return _as_represented(picture, jpegls_decode(encoded), found.precision)


def _jpeg_2000(picture: Picture, encoded: Encoded) -> Array:
    found = _described(picture, encoded)
    return _as_represented(picture, jpeg2k_decode(encoded), found.precision)


def _high_throughput(picture: Picture, encoded: Encoded) -> Array:
    """OpenJPH is twice as fast as OpenJPEG, which takes what it declines; and what was lossy, where samples of OpenJPH
    pass their range, so that white comes out as black."""
    found = _described(picture, encoded)
    try:
        array = jpeg2k_decode(encoded) if found.method else htj2k_decode(encoded)
    except CODEC_ERRORS:
        array = jpeg2k_decode(encoded)
    return _as_represented(picture, array, found.precision)


def _jpeg_xl(picture: Picture, encoded: Encoded) -> Array:
    array: Array = jpegxl_decode(encoded, numthreads=1)
    return _as_represented(picture, array, picture.bits_stored)


def _run_length(picture: Picture, encoded: Encoded) -> Array:
    """PS3.5 Annex G: a segment for each byte of each sample, the most significant byte of a sample first."""
    octets = picture.bits_allocated // 8
    pixels = picture.rows * picture.columns
    view = memoryview(encoded)
    if len(view) < _RLE_HEADER.size or not octets:
        raise Undecodable("the RLE frame has no header, or samples of less than a byte")
    count, *offsets = _RLE_HEADER.unpack_from(view)
    if count != picture.samples_per_pixel * octets or count > _SEGMENTS:
        raise Undecodable("the RLE frame has another number of segments than SamplesPerPixel and BitsAllocated tell")
    ends = [*offsets[1:count], len(view)]
    frame = np.empty((pixels, picture.samples_per_pixel, octets), np.uint8)
    for at, (begin, end) in enumerate(zip(offsets, ends, strict=False)):
        if not _RLE_HEADER.size <= begin < end <= len(view):
            raise Undecodable("the segments of the RLE frame do not lie one after the other")
        sample, octet = divmod(at, octets)
        frame[:, sample, octets - 1 - octet] = _segment(bytes(view[begin:end]), pixels)
    return _joined(frame, picture.bits_allocated)


def _segment(encoded: bytes, length: int) -> Array:
    """The first `length` bytes of a segment, which may be followed by padding or by more than was promised."""
    plane = bytearray(length)
    try:
        decoded = packbits_decode(encoded, out=plane)
    except CODEC_ERRORS:
        decoded = packbits_decode(encoded, out=2 * length + 256)[:length]
    if len(decoded) < length:
        raise Undecodable("a segment of the RLE frame ends early")
    return np.frombuffer(decoded, np.uint8, length)


def _joined(frame: Array, bits: int) -> Array:
    """Bytes of each sample, least significant first, as numbers."""
    if bits == 24:
        padded = np.zeros((*frame.shape[:2], 4), np.uint8)
        padded[..., :3] = frame
        return padded.view("<u4")
    return frame.view(f"<u{bits // 8}")


def _uncompressed(picture: Picture, encoded: Encoded) -> Array:
    """Encapsulated Uncompressed, and what was inflated."""
    octets = native(picture, encoded)
    if picture.bits_allocated == 1:
        return np.unpackbits(np.frombuffer(octets, np.uint8), bitorder="little")[: picture.frame_bits]
    frame = np.frombuffer(octets, np.uint8).reshape(-1, picture.samples_per_pixel, picture.bits_allocated // 8)
    return _joined(frame, picture.bits_allocated)


def _inflated(picture: Picture, encoded: Encoded) -> Array:
    """Deflated Image Frame Compression (PS3.5 8.2.16): one deflated stream in each frame."""
    limit = min(picture.frame_length + 1, MAX_BYTES)
    try:
        return _uncompressed(picture, zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, limit))
    except zlib.error as error:
        raise Undecodable("the deflated frame cannot be inflated") from error


DECODERS: dict[str, Decoder] = {
    ENCAPSULATED_UNCOMPRESSED: _uncompressed,
    _DEFLATED_FRAME: _inflated,
    RLE: _run_length,
    **dict.fromkeys((_J + end for end in ("50", "51", "53", "55", "57", "70")), _jpeg),
    **dict.fromkeys((_J + end for end in ("80", "81")), _jpeg_ls),
    **dict.fromkeys((_J + end for end in ("90", "91", "92", "93")), _jpeg_2000),
    **dict.fromkeys((_J + end for end in ("201", "202", "203")), _high_throughput),
    **dict.fromkeys((_J + end for end in ("110", "111", "112")), _jpeg_xl),
}
"""Transfer syntax → what decodes a frame of it to an array."""
