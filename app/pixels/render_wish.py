"""What a client wants of a rendered image (PS3.18 8.3.5), and what a caged child is told of one frame. Pure."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from app.errors import BadRequest
from app.pixels.render_facts import Facts, windowed

MAX_VIEWPORT = 8192
"""Columns or rows of a viewport."""
THUMBNAIL = 256
"""Columns and rows within which a thumbnail lies when nobody says otherwise."""
QUALITY = 90
THUMBNAIL_QUALITY = 75


class Region(NamedTuple):
    """A part of the source image: its left upper corner, its size (None: to the edge), in pixels; or all four in shares
    of the image's columns and rows when `relative`. A size less than zero flips."""

    left: float
    top: float
    width: float | None
    height: float | None
    relative: bool = False


class Wish(NamedTuple):
    """`viewport` is columns and rows, `window` center, width and function, `annotation` among `patient` and
    `technique`."""

    media_type: str
    quality: int = QUALITY
    viewport: tuple[int, int] | None = None
    region: Region | None = None
    window: tuple[float, float, str] | None = None
    annotation: tuple[str, ...] = ()
    thumbnail: bool = False
    grows: bool = True

    @property
    def tag(self) -> str:
        """Tells this wish from every other."""
        return hashlib.sha256(repr(tuple(self)).encode()).hexdigest()[:16]


def order(facts: Facts, number: int, wish: Wish) -> tuple[bytes, dict[str, Any]]:
    """The recipe and the arguments of the task `render` for frame `number`, counted from 1. Raises `BadRequest` when
    the region lies outside the image."""
    look = facts.look(number)
    recipe = look.recipe
    if wish.window is not None and b'"bits"' in recipe and b'"palette"' not in recipe:
        recipe = windowed(recipe, *wish.window)
    box, flips = _box(facts, wish.region or Region(0, 0, None, None))
    shape = {"viewport": wish.viewport, "box": box, "flips": flips, "aspect": look.aspect, "grows": wish.grows}
    return recipe, {
        "picture": facts.picture.to_arguments(),
        "recipe": len(recipe),
        "shape": shape,
        "thumbnail": wish.thumbnail,
        "media_type": wish.media_type,
        "quality": wish.quality,
        "corners": None,
    }


def _box(facts: Facts, region: Region) -> tuple[tuple[float, float, float, float], tuple[bool, bool]]:
    columns, rows = facts.picture.columns, facts.picture.rows
    scale = (columns, rows) if region.relative else (1, 1)
    sides = []
    for start, size, factor, end in (
        (region.left, region.width, scale[0], columns),
        (region.top, region.height, scale[1], rows),
    ):
        low = start * factor
        high = end if size is None else min(low + abs(size) * factor, end)
        if high - low < min(1.0, end / 2):
            raise BadRequest(f"the region lies outside the image, which has {columns} columns and {rows} rows")
        sides.append((low, high))
    flips = (region.width or 0) < 0, (region.height or 0) < 0
    return (sides[0][0], sides[1][0], sides[0][1], sides[1][1]), flips
