"""Colour frames: words of a decoded frame → an image of 8-bit samples. Palettes (PS3.3 C.7.6.3.1.5) are applied, deeper
samples lose their low bits, YBR stays YBR as long as possible, since JPEG wants it so."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.errors import NotAcceptable
from app.pixels.picture import Picture

_MODES = {"RGB": "RGB", "YBR_FULL": "YCbCr", "YBR_FULL_422": "YCbCr"}
_PARTIAL = frozenset(("YBR_PARTIAL_422", "YBR_PARTIAL_420"))
_BLACK = (16.0, 128.0, 128.0)
_BLOCK = 1 << 16


def colour(picture: Picture, words: npt.NDArray[Any]) -> Image.Image:
    """A frame of three samples in the mode that it has; raises `NotAcceptable` for colours that nobody uses any
    more."""
    octets = _octets(picture, words)
    if picture.photometric_interpretation in _PARTIAL:
        octets = _full_range(octets)
        return Image.fromarray(octets, "YCbCr")
    mode = _MODES.get(picture.photometric_interpretation)
    if mode is None or picture.samples_per_pixel != 3:
        raise NotAcceptable(f"{picture.photometric_interpretation[:16]} images cannot be rendered")
    return Image.frombytes(mode, (picture.columns, picture.rows), np.ascontiguousarray(octets).data)


def _octets(picture: Picture, words: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Samples of 8 bits; the bits beside the stored ones may hold anything."""
    bits, low = picture.bits_stored, picture.high_bit + 1 - picture.bits_stored
    if words.itemsize == 1 and bits == 8:
        return words
    codes = (words >> max(low, 0)) & ((1 << bits) - 1)
    if bits >= 8:
        return (codes >> (bits - 8)).astype(np.uint8)
    return (codes * 255 // ((1 << bits) - 1)).astype(np.uint8)


def _full_range(octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """YBR_PARTIAL (PS3.3 C.7.6.3.1.2: luma 16 to 235, chroma 16 to 240) over all of 0 to 255."""
    spread: npt.NDArray[np.float32] = (octets.astype(np.float32) - _BLACK) * (255 / 219, 255 / 224, 255 / 224)
    spread += (0.0, 128.0, 128.0)
    made: npt.NDArray[np.uint8] = np.clip(np.rint(spread), 0, 255).astype(np.uint8)
    return made


def palette_colour(words: npt.NDArray[Any], text: bytes) -> Image.Image:
    """A PALETTE COLOR frame through the palette that `text` describes."""
    table = _palette(text, 8 * words.itemsize)
    flat = words.reshape(-1)
    found = np.empty((flat.size, 3), np.uint8)
    for at in range(0, flat.size, _BLOCK):
        np.take(table, flat[at : at + _BLOCK], axis=0, out=found[at : at + _BLOCK], mode="wrap")
    return Image.frombytes("RGB", (words.shape[1], words.shape[0]), found.data)


@lru_cache(16)
def _palette(text: bytes, allocated: int) -> npt.NDArray[np.uint8]:
    """The colour of every word of `allocated` bits."""
    given = json.loads(text)
    codes = (np.arange(1 << min(allocated, 16)) >> given["shift"]) & ((1 << given["bits"]) - 1)
    if given["signed"]:
        sign = 1 << (given["bits"] - 1)
        codes = (codes ^ sign) - sign
    columns = []
    for table in given["palette"]:
        entries = np.frombuffer(base64.b64decode(table["entries"]), "<u2")
        deep = table["bits"] > 8 and bool(entries.max(initial=0) > 255)
        octets = (entries >> 8 if deep else entries).astype(np.uint8)
        columns.append(octets[np.clip(codes - table["first"], 0, len(octets) - 1)])
    return np.stack(columns, axis=1)
