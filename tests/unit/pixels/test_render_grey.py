"""Stored values to shades: each step of the greyscale pipeline against a sum of its own, in plain Python."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import numpy as np
import pytest

from app.pixels.render_grey import shades


def recipe(**given: Any) -> bytes:
    return json.dumps({"bits": 16, "shift": 0, "signed": False} | given).encode()


def table(first: int, bits: int, *entries: int) -> dict[str, Any]:
    packed = struct.pack(f"<{len(entries)}H", *entries)
    return {"first": first, "bits": bits, "entries": base64.b64encode(packed).decode()}


def one(values: list[int], **given: Any) -> list[int]:
    found: list[int] = shades(np.array(values, np.uint16), recipe(**given)).tolist()
    return found


def window(value: float, center: float, width: float, function: str) -> int:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, word for word."""
    if function == "SIGMOID":
        return round(255 / (1 + math.exp(min(-4 * (value - center) / width, 700))))
    less = 0.0 if function == "LINEAR_EXACT" else 1.0
    center -= less / 2
    width -= less
    if value <= center - width / 2:
        return 0
    if value > center + width / 2:
        return 255
    return round(((value - center) / width + 0.5) * 255)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (1024.5, 3), (-200, 1.5), (30000, 60000)])
def test_windows(function: str, center: float, width: float) -> None:
    values = [0, 1, 2, 17, 100, 499, 1023, 1024, 1025, 1026, 4095, 30000, 65535]
    expected = [window(2 * value - 500, center, width, function) for value in values]
    found = one(values, slope=2, intercept=-500, voi=[center, width, function])
    assert max(abs(ours - theirs) for ours, theirs in zip(found, expected, strict=True)) == 0
    wide = shades(np.array(values, np.uint32), recipe(bits=32, slope=2, intercept=-500, voi=[center, width, function]))
    assert wide.tolist() == found


def test_a_window_of_width_one_is_a_threshold() -> None:
    assert one([9, 10, 11], voi=[10, 1, "LINEAR"]) == [0, 255, 255]


def test_the_other_polarity_is_the_complement() -> None:
    values = list(range(0, 65536, 77))
    plain = one(values, voi=[300, 900, "LINEAR"])
    assert [255 - shade for shade in plain] == pytest.approx(one(values, voi=[300, 900, "LINEAR"], inverse=True), abs=1)


def test_bits_beside_the_value_count_for_nothing() -> None:
    values = [0, 1, 512, 1023]
    words = [value << 2 | 0xA000 | 3 for value in values]
    assert one(words, bits=10, shift=2) == [0, 0, 128, 255]
    assert one([value | 0xF000 for value in (0, 2048, 4095)], bits=12) == [0, 128, 255]


def test_signed_values() -> None:
    words = [value & 0xFFFF for value in (-2048, -1, 0, 2047)]
    assert one(words, bits=12, signed=True) == [0, 127, 128, 255]
    assert one([word & 0xFFF for word in words], bits=12, signed=True) == [0, 127, 128, 255]
    assert one(words, bits=12, signed=True, voi=[0, 11, "LINEAR"]) == [0, 115, 140, 255]


def test_what_the_frame_holds_is_spread_without_its_padding() -> None:
    assert one([10, 20, 30], fits=True) == [0, 128, 255]
    assert one([0, 10, 20, 30, 65535], fits=True, padding=[0, 5])[:2] == [0, 0]
    assert one([0, 1010, 1020, 1030], fits=True, padding=[0, 0]) == [0, 0, 128, 255]
    assert one([7, 7, 7], fits=True) == [0, 0, 0]
    assert one([7, 7, 7], fits=True, padding=[7, 7]) == [255, 255, 255]
    assert one([0xFFFF, 0, 1], fits=True, signed=True, slope=-1) == [255, 128, 0]


def test_tables_hold_their_first_and_last_entry_beyond_their_ends() -> None:
    assert one([0, 9, 10, 11, 12, 60000], voi=table(10, 8, 0, 51, 255)) == [0, 0, 0, 51, 255, 255]
    assert one([0, 10, 11, 12], modality=table(10, 16, 100, 200, 300), voi=[200, 201, "LINEAR_EXACT"])[2] == 128
    assert one([0, 1, 2], voi=table(0, 8, 0, 2048, 4095)) == [0, 128, 255]  # more bits than the descriptor says
    assert one([65535, 0, 1], signed=True, voi=table(-1, 8, 0, 100, 255)) == [0, 100, 255]


def test_floating_point() -> None:
    values = np.array([[-1.5, 0.0], [np.nan, 1.5], [np.inf, -np.inf]], np.float32)
    assert shades(values, recipe(bits=32, fits=True)).tolist() == [[0, 128], [0, 255], [255, 0]]
    assert shades(values.astype(np.float64), recipe(bits=64, voi=[0, 1, "LINEAR_EXACT"])).tolist() == [
        [0, 128],
        [0, 255],
        [255, 0],
    ]
    assert shades(np.full((2, 2), np.nan), recipe(bits=64, fits=True)).tolist() == [[0, 0], [0, 0]]


def test_small_and_large_frames_agree() -> None:
    values = np.random.default_rng(7).integers(0, 65536, (300, 500), np.uint16)
    text = recipe(slope=0.5, intercept=-7, voi=[9000, 12000, "SIGMOID"])
    assert np.array_equal(shades(values, text), shades(values.astype(np.uint32), text.replace(b"16", b"32")))
