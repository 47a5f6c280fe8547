"""Native frames to encoded ones, inside the cage. Every bit of a lossless frame comes back: unused high bits that hold
something, such as an overlay (PS3.5 8.1.2), are carried as part of the samples."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from imagecodecs import (
    htj2k_encode,
    jpeg2k_encode,
    jpeg8_encode,
    jpegls_encode,
    jpegxl_encode,
    packbits_encode,
)
from jpeg_ls.CharLS import encode_pixel_data
from numpy.typing import NDArray

from app.dicom.transfer_syntaxes import ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE, IMPLICIT_LE, RLE
from app.errors import NotAcceptable
from app.pixels.decode import CODEC_ERRORS, Native
from app.pixels.picture import Picture

Array = NDArray[Any]
QUALITY = 90
"""Of lossy JPEG when nothing else is asked."""
_SIGNAL_TO_NOISE = 50.0
"""Decibels of lossy JPEG 2000, counted from the range of values that a frame really has."""
_STEP = 1 / 256
"""Quantisation of lossy HTJ2K, as a share of that range."""
_TOLERANCE = 10
"""Near-lossless JPEG-LS may be wrong by the range divided by two to the power of this, or by 1."""
_DISTANCE = 0.5
"""Of lossy JPEG XL; from 1.0 on a loss may be seen."""

_J = "1.2.840.10008.1.2.4."
_DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
_RLE_HEADER = struct.Struct("<16I")


def encode(picture: Picture, native: Native, syntax: str, quality: int = 0) -> bytes:
    """The native frame that `picture` (a decoded one) describes, in transfer syntax `syntax`. Raises `NotAcceptable`
    for pixels that it cannot hold."""
    encoder = ENCODERS.get(syntax)
    if encoder is None:
        raise NotAcceptable("frames are not encoded in this transfer syntax here")
    try:
        return encoder(picture, native, quality)
    except CODEC_ERRORS as error:
        raise NotAcceptable("the frame cannot be encoded in this transfer syntax") from error


def samples(picture: Picture, native: Native) -> Array:
    """The frame as (rows, columns) or (rows, columns, samples)."""
    kind = "i" if picture.pixel_representation else "u"
    array = np.frombuffer(native, f"<{kind}{picture.bits_allocated // 8}")
    array = array.reshape(picture.rows, picture.columns, picture.samples_per_pixel)
    return array if picture.samples_per_pixel > 1 else array[:, :, 0]


def precision(picture: Picture, array: Array) -> int:
    """Bits Stored when the samples need no more, else Bits Allocated."""
    if picture.bits_stored == picture.bits_allocated or not array.size:
        return picture.bits_allocated
    if array.dtype.kind == "u":
        fits = int(array.max()) < 1 << picture.bits_stored
    else:
        half = 1 << picture.bits_stored - 1
        fits = int(array.min()) >= -half and int(array.max()) < half
    return picture.bits_stored if fits else picture.bits_allocated


def _native(picture: Picture, native: Native, quality: int) -> bytes:
    return bytes(native)


def _run_length(picture: Picture, native: Native, quality: int) -> bytes:
    """PS3.5 Annex G: rows are packed one by one, the most significant byte of each sample first."""
    octets = picture.bits_allocated // 8
    frame = np.frombuffer(native, np.uint8).reshape(picture.rows, picture.columns, picture.samples_per_pixel, octets)
    segments = []
    for sample in range(picture.samples_per_pixel):
        for octet in reversed(range(octets)):
            packed = bytes(packbits_encode(frame[:, :, sample, octet].copy()))
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = np.cumsum([_RLE_HEADER.size, *map(len, segments[:-1])]).tolist()
    header = _RLE_HEADER.pack(len(segments), *offsets, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def _jpeg_baseline(picture: Picture, native: Native, quality: int) -> bytes:
    array = samples(picture, native)
    if picture.samples_per_pixel == 1:
        return bytes(jpeg8_encode(array, level=quality or QUALITY))
    colours = "RGB" if picture.photometric_interpretation == "RGB" else "YCBCR"
    options: dict[str, Any] = {"colorspace": colours, "outcolorspace": "YCBCR", "subsampling": "422"}
    return bytes(jpeg8_encode(array, level=quality or QUALITY, **options))


def _lossy_samples(picture: Picture, native: Native) -> tuple[Array, int]:
    """The frame for an encoder that loses something, and the range of its values; raises `NotAcceptable` when bits that
    are not part of the value hold something, which would change the value."""
    array = samples(picture, native)
    if precision(picture, array) != picture.bits_stored:
        raise NotAcceptable("samples with more bits than Bits Stored are not compressed with loss")
    return array, max(int(array.max()) - int(array.min()), 1)


def _jpeg_extended(picture: Picture, native: Native, quality: int) -> bytes:
    """12 bits a sample, as PS3.5 8.2.1 wants it."""
    array, _ = _lossy_samples(picture, native)
    return bytes(jpeg8_encode(array, level=quality or QUALITY, bitspersample=12))


def _jpeg_ls_near(picture: Picture, native: Native, quality: int) -> bytes:
    _, span = _lossy_samples(picture, native)
    array, bits = _unsigned(picture, native)
    near = min(max(span >> _TOLERANCE, 1), 255)
    try:
        return _char_ls(picture, array, bits, near)
    except RuntimeError:  # as in `_jpeg_ls`; here the bits of the stream must be those of the samples
        if bits < picture.bits_allocated:
            raise
        return bytes(jpegls_encode(array, level=near))


def _jpeg_2000_lossy(picture: Picture, native: Native, quality: int) -> bytes:
    array, span = _lossy_samples(picture, native)
    bits = picture.bits_stored
    level = round(_SIGNAL_TO_NOISE + 20 * math.log10(((1 << bits) - 1) / span))
    colours = picture.photometric_interpretation == "RGB"
    return bytes(
        jpeg2k_encode(array, level=level, codecformat="j2k", bitspersample=bits, reversible=False, mct=colours)
    )


def _high_throughput_lossy(picture: Picture, native: Native, quality: int) -> bytes:
    array, span = _lossy_samples(picture, native)
    colours = True if picture.samples_per_pixel == 3 else None
    level = max(span * _STEP, 0.5) / (1 << picture.bits_allocated)
    return bytes(htj2k_encode(array, level=level, reversible=False, rgb=colours, resolutions=_levels(picture)))


def _jpeg_xl_lossy(picture: Picture, native: Native, quality: int) -> bytes:
    array, _ = _lossy_samples(picture, native)
    return bytes(jpegxl_encode(array, distance=_DISTANCE, numthreads=1))


def _jpeg_xl(picture: Picture, native: Native, quality: int) -> bytes:
    array = samples(picture, native)
    bits = precision(picture, array)
    deep = bits if 8 < bits < picture.bits_allocated else None
    return bytes(jpegxl_encode(array, lossless=True, bitspersample=deep, numthreads=1))


def _jpeg_lossless(picture: Picture, native: Native, quality: int) -> bytes:
    """Predictor 1, of which every decoder knows."""
    array, bits = _unsigned(picture, native)
    colours = "RGB" if picture.samples_per_pixel == 3 else None
    options: dict[str, Any] = {"colorspace": colours, "outcolorspace": colours, "bitspersample": bits}
    return bytes(jpeg8_encode(array, lossless=True, predictor=1, **options))


def _unsigned(picture: Picture, native: Native) -> tuple[Array, int]:
    """The samples as the unsigned numbers that their bits are, and how many bits those have."""
    array = samples(picture, native)
    bits = precision(picture, array)
    unsigned = array.view(array.dtype.str.replace("i", "u"))
    if bits < picture.bits_allocated and picture.pixel_representation:
        unsigned = unsigned & np.array((1 << bits) - 1, unsigned.dtype)
    return unsigned, bits


def _jpeg_ls(picture: Picture, native: Native, quality: int) -> bytes:
    array, bits = _unsigned(picture, native)
    try:
        return _char_ls(picture, array, bits, 0)
    except RuntimeError:  # its buffer is too small for a small image of noise
        whole = samples(picture, native)
        return bytes(jpegls_encode(whole.view(whole.dtype.str.replace("i", "u"))))


def _char_ls(picture: Picture, array: Array, bits: int, near: int) -> bytes:
    """`near` is how much a sample may be wrong."""
    options = {
        "rows": picture.rows,
        "columns": picture.columns,
        "samples_per_pixel": picture.samples_per_pixel,
        "bits_stored": bits,
        "planar_configuration": 0,
    }
    return bytes(encode_pixel_data(array.tobytes(), near, **options))


def _jpeg_2000(picture: Picture, native: Native, quality: int) -> bytes:
    array = samples(picture, native)
    return bytes(
        jpeg2k_encode(
            array,
            level=0,
            codecformat="j2k",
            bitspersample=precision(picture, array),
            reversible=True,
            mct=picture.photometric_interpretation == "RGB",
        )
    )


def _high_throughput(picture: Picture, native: Native, quality: int) -> bytes:
    array = samples(picture, native)
    colours = True if picture.samples_per_pixel == 3 else None
    return bytes(htj2k_encode(array, reversible=True, rgb=colours, resolutions=_levels(picture)))


def _levels(picture: Picture) -> int:
    """No more than leave 4 pixels or so: older decoders go wrong with more."""
    return min(5, max(1, min(picture.rows, picture.columns).bit_length() - 3))


def _deflated(picture: Picture, native: Native, quality: int) -> bytes:
    """PS3.5 8.2.16."""
    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(native) + deflater.flush()


ENCODERS: dict[str, Callable[[Picture, Native, int], bytes]] = {
    EXPLICIT_LE: _native,
    IMPLICIT_LE: _native,
    ENCAPSULATED_UNCOMPRESSED: _native,
    _DEFLATED_FRAME: _deflated,
    RLE: _run_length,
    _J + "50": _jpeg_baseline,
    _J + "51": _jpeg_extended,
    _J + "70": _jpeg_lossless,
    _J + "80": _jpeg_ls,
    _J + "81": _jpeg_ls_near,
    _J + "90": _jpeg_2000,
    _J + "91": _jpeg_2000_lossy,
    _J + "110": _jpeg_xl,
    _J + "112": _jpeg_xl_lossy,
    _J + "201": _high_throughput,
    _J + "203": _high_throughput_lossy,
}
"""Transfer syntax → what encodes a native frame."""
