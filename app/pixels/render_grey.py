"""The greyscale pipeline of PS3.4 N.2.1: stored values → Modality LUT → VOI LUT or window → polarity → shades 0 to 255.

Stored values of at most 16 bits go through one table of all words, made once for a recipe; wider ones are computed
block by block. A recipe is JSON (`app.pixels.render_facts`), so that it is also the key of its table."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Shades = npt.NDArray[np.uint8]
Words = npt.NDArray[Any]
Values = npt.NDArray[np.float64]

_BLOCK = 1 << 15
"""Samples mapped at a time: words, table and shades of a block stay in the processor's cache."""
_TABLE_WORD = 16


class Lookup(NamedTuple):
    """A LUT (PS3.3 C.11.1.1): the value that the first entry is for, the entries, and the largest that they can be."""

    first: int
    entries: Values
    largest: float


class Recipe(NamedTuple):
    """How stored values become shades. `voi` is a window (centre, width, function), a LUT, or None: then what the frame
    holds (`fits`) or could hold is spread over all shades. `padding` are stored values that count for nothing."""

    bits: int
    shift: int
    signed: bool
    slope: float
    intercept: float
    modality: Lookup | None
    voi: tuple[float, float, str] | Lookup | None
    fits: bool
    inverse: bool
    padding: tuple[float, float] | None


@lru_cache(64)
def read_recipe(text: bytes) -> Recipe:
    """The recipe in `text`."""
    given = json.loads(text)
    voi = given.get("voi")
    return Recipe(
        given["bits"],
        given["shift"],
        given["signed"],
        given.get("slope", 1.0),
        given.get("intercept", 0.0),
        _lookup(given["modality"]) if "modality" in given else None,
        None if voi is None else _lookup(voi) if isinstance(voi, dict) else (voi[0], voi[1], voi[2]),
        given.get("fits", False),
        given.get("inverse", False),
        tuple(given["padding"]) if "padding" in given else None,
    )


def _lookup(table: dict[str, Any]) -> Lookup:
    entries = np.frombuffer(base64.b64decode(table["entries"]), "<u2").astype(np.float64)
    largest = max((1 << table["bits"]) - 1, int(entries.max(initial=1)))
    return Lookup(table["first"], entries, largest)


def shades(words: Words, text: bytes) -> Shades:
    """The shades of `words`: stored words as they are in the frame (unsigned, at most 16 bits each; bits beside those
    of the value may hold anything), 32-bit integers or floating point."""
    recipe = read_recipe(text)
    if words.dtype.kind == "u" and words.itemsize <= 2:
        span = _span(words, recipe) if recipe.voi is None and recipe.fits else None
        return _through(_table(text, 8 * words.itemsize, span), words)
    return _computed(words, recipe)


@lru_cache(64)
def _table(text: bytes, allocated: int, span: tuple[float, float] | None) -> Shades:
    """The shade of every word of `allocated` bits."""
    recipe = read_recipe(text)
    codes = np.arange(1 << recipe.bits)
    of_codes = _shade(_modality(_signed(codes, recipe).astype(np.float64), recipe), recipe, span)
    of_words = np.repeat(of_codes, 1 << recipe.shift) if recipe.shift else of_codes
    return np.tile(of_words, 1 << max(allocated - recipe.bits - recipe.shift, 0))


def _through(table: Shades, words: Words) -> Shades:
    """The shade of each word. Widening the words first, into memory that is warm, saves a fifth."""
    flat = words.reshape(-1)
    found = np.empty(flat.size, np.uint8)
    wide = np.empty(min(flat.size, _BLOCK), np.intp)
    for at in range(0, flat.size, _BLOCK):
        some = flat[at : at + _BLOCK]
        places = wide[: some.size]
        np.copyto(places, some)
        np.take(table, places, out=found[at : at + _BLOCK], mode="wrap")
    return found.reshape(words.shape)


def _computed(words: Words, recipe: Recipe) -> Shades:
    flat = words.reshape(-1)
    blocks = [flat[at : at + _BLOCK] for at in range(0, flat.size, _BLOCK)]
    span = None
    if recipe.voi is None and recipe.fits:
        spans = [found for block in blocks if (found := _span_of(_stored(block, recipe), recipe))]
        span = (min(low for low, _ in spans), max(high for _, high in spans)) if spans else (0.0, 1.0)
    made = np.empty(flat.size, np.uint8)
    for at, block in enumerate(blocks):
        values = np.nan_to_num(_modality(_stored(block, recipe), recipe), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        made[at * _BLOCK : (at + 1) * _BLOCK] = _shade(values, recipe, span)
    return made.reshape(words.shape)


def _stored(words: Words, recipe: Recipe) -> Values:
    """Stored values of words."""
    if words.dtype.kind == "f":
        return words.astype(np.float64)
    codes = (words.astype(np.int64) >> recipe.shift) & ((1 << recipe.bits) - 1)
    return _signed(codes, recipe).astype(np.float64)


def _signed(codes: npt.NDArray[np.int64], recipe: Recipe) -> npt.NDArray[np.int64]:
    if not recipe.signed:
        return codes
    sign = 1 << (recipe.bits - 1)
    return (codes ^ sign) - sign


def _span(words: Words, recipe: Recipe) -> tuple[float, float]:
    """The least and the largest value behind the Modality LUT, of a frame of short words."""
    if recipe.padding is None and recipe.modality is None and recipe.shift == 0 and not recipe.signed:
        low, high = int(words.min()), int(words.max())
        if low <= high < 1 << recipe.bits:
            ends = (low * recipe.slope + recipe.intercept, high * recipe.slope + recipe.intercept)
            return min(ends), max(ends)
    used = np.zeros(1 << (8 * words.itemsize), np.bool_)
    used[words.reshape(-1)] = True
    return _span_of(_stored(np.flatnonzero(used), recipe), recipe) or (0.0, 1.0)


def _span_of(values: Values, recipe: Recipe) -> tuple[float, float] | None:
    counted = np.isfinite(values)
    if recipe.padding is not None:
        counted &= (values < recipe.padding[0]) | (values > recipe.padding[1])
    values = _modality(values[counted], recipe)
    return (float(values.min()), float(values.max())) if values.size else None


def _modality(values: Values, recipe: Recipe) -> Values:
    """PS3.3 C.11.1: the LUT when there is one, else slope and intercept."""
    if recipe.modality is not None:
        return _entry(values, recipe.modality)
    if recipe.slope == 1.0 and recipe.intercept == 0.0:
        return values
    return values * recipe.slope + recipe.intercept


def _entry(values: Values, table: Lookup) -> Values:
    at = np.clip(np.rint(values) - table.first, 0, len(table.entries) - 1)
    found: Values = table.entries[at.astype(np.int64)]
    return found


def _shade(values: Values, recipe: Recipe, span: tuple[float, float] | None) -> Shades:
    """PS3.3 C.11.2: behind the VOI LUT, 0 to 255, the other way round when the least value is white."""
    voi = recipe.voi
    if isinstance(voi, Lookup):
        level = _entry(values, voi) / voi.largest
    elif voi is not None:
        level = _windowed(values, *voi)
    else:
        low, high = span or _possible(recipe)
        level = (values - low) / ((high - low) or 1.0)
    level = np.clip(level, 0.0, 1.0)
    return np.rint((1.0 - level if recipe.inverse else level) * 255.0).astype(np.uint8)


def _windowed(values: Values, centre: float, width: float, function: str) -> Values:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        power: Values = np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0))
        return 1.0 / (1.0 + power)
    if function == "LINEAR":
        if width <= 1.0:
            threshold: Values = (values > centre - 0.5).astype(np.float64)
            return threshold
        centre, width = centre - 0.5, width - 1.0
    level: Values = (values - centre) / width + 0.5
    return level


def _possible(recipe: Recipe) -> tuple[float, float]:
    """The least and the largest value that the frame could hold, behind the Modality LUT."""
    if recipe.modality is not None:
        return 0.0, recipe.modality.largest
    low = -(1 << (recipe.bits - 1)) if recipe.signed else 0
    ends = [value * recipe.slope + recipe.intercept for value in (low, low + (1 << recipe.bits) - 1)]
    return min(ends), max(ends)
