"""A decoded frame as an array: what `Picture.decoded` describes → words of shape (rows, columns) or (rows, columns,
samples), without a copy where the frame allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import Undecodable
from app.pixels.picture import Picture

_INTEGERS = {8: "<u1", 16: "<u2", 32: "<u4", 64: "<u8"}
_FLOATS = {32: "<f4", 64: "<f8"}


def words_of(picture: Picture, frame: bytes | bytearray | memoryview) -> npt.NDArray[Any]:
    """The words of `frame`; single bits become bytes of 0 and 1. Raises `Undecodable` when the frame is too short."""
    count = picture.rows * picture.columns * picture.samples_per_pixel
    if len(frame) < (count * picture.bits_allocated + 7) // 8:
        raise Undecodable("the frame has fewer pixels than Rows and Columns tell")
    if picture.bits_allocated == 1:
        words = np.unpackbits(np.frombuffer(frame, np.uint8), count=count, bitorder="little")
    elif picture.bits_allocated == 24:
        octets = np.frombuffer(frame, np.uint8, 3 * count).reshape(count, 3)
        words = np.zeros(count, "<u4")
        words.view(np.uint8).reshape(count, 4)[:, :3] = octets
    else:
        kinds = _FLOATS if picture.kind == "float" else _INTEGERS
        words = np.frombuffer(frame, kinds[picture.bits_allocated], count)
    shape = (picture.rows, picture.columns, picture.samples_per_pixel)
    return words.reshape(shape if picture.samples_per_pixel > 1 else shape[:2])
