"""Where the pixels go: source region, flips, Pixel Aspect Ratio and viewport (PS3.18 8.3.5.1.3), in one resampling."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

MAX_SIDE = 16384
MAX_AREA = 64 << 20
"""Columns or rows, and pixels, of a rendered image."""
_GAP = 2.0
"""How much larger than wanted an image is after the fast part of making it smaller; thumbnails need no slow part."""
_SAMPLES = 4
"""Source pixels, in each direction, that are looked at for one pixel of a thumbnail."""


class Box(NamedTuple):
    """The region of the source image that is shown."""

    left: float
    top: float
    right: float
    bottom: float


class Shape(NamedTuple):
    """`viewport` is its width and height, None for the source's own size; `aspect` the height of a pixel divided by its
    width; `grows`: small images are enlarged to the viewport."""

    viewport: tuple[int, int] | None
    box: Box
    flips: tuple[bool, bool]
    aspect: float
    grows: bool


def size_of(shape: Shape) -> tuple[int, int]:
    """Columns and rows of the rendered image."""
    wide = shape.box.right - shape.box.left
    high = (shape.box.bottom - shape.box.top) * shape.aspect
    if shape.viewport is not None:
        factor = min(shape.viewport[0] / wide, shape.viewport[1] / high)
        factor = factor if shape.grows else min(factor, max(1.0, 1.0 / shape.aspect))
    else:
        factor = max(1.0, 1.0 / shape.aspect)  # no source pixel is lost: the narrower direction is stretched
        factor *= min(1.0, MAX_SIDE / (wide * factor), MAX_SIDE / (high * factor))
        factor *= min(1.0, (MAX_AREA / (wide * high * factor * factor)) ** 0.5)
    return max(1, round(wide * factor)), max(1, round(high * factor))


def stride_of(shape: Shape) -> int:
    """Every how many source pixels and rows need to be looked at for a thumbnail."""
    columns, rows = size_of(shape)
    smaller = min((shape.box.right - shape.box.left) / columns, (shape.box.bottom - shape.box.top) / rows)
    return max(1, int(smaller / _SAMPLES))


def placed(image: Image.Image, shape: Shape, size: tuple[int, int]) -> Image.Image:
    """`image` in its shape; it may be a source image of which only some pixels were taken, for the same `size`."""
    if size != image.size or shape.box != (0, 0, *image.size):
        image = image.resize(size, Image.Resampling.BILINEAR, shape.box, reducing_gap=_GAP if shape.grows else 1.0)
    if shape.flips[0]:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if shape.flips[1]:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image
