"""Viewport, region, flips and pixel aspect."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from app.pixels.render_shape import MAX_SIDE, Box, Shape, placed, size_of, stride_of

WHOLE = Box(0, 0, 40, 20)
PLAIN = Shape(None, WHOLE, (False, False), 1.0, True)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (PLAIN, (40, 20)),
        (PLAIN._replace(aspect=2.0), (40, 40)),
        (PLAIN._replace(aspect=0.5), (80, 20)),
        (PLAIN._replace(viewport=(20, 20)), (20, 10)),
        (PLAIN._replace(viewport=(100, 10)), (20, 10)),
        (PLAIN._replace(viewport=(80, 80)), (80, 40)),
        (PLAIN._replace(viewport=(80, 80), grows=False), (40, 20)),
        (PLAIN._replace(viewport=(80, 80), aspect=0.5, grows=False), (80, 20)),
        (PLAIN._replace(viewport=(80, 80), aspect=2.0), (80, 80)),
        (PLAIN._replace(viewport=(10, 10), box=Box(0, 0, 5, 20)), (2, 10)),
        (PLAIN._replace(viewport=(1, 1), box=Box(0, 0, 40, 1)), (1, 1)),
    ],
)
def test_the_largest_size_that_fits(shape: Shape, size: tuple[int, int]) -> None:
    assert size_of(shape) == size


def test_stretched_images_stay_within_bounds() -> None:
    columns, rows = size_of(Shape(None, Box(0, 0, 60000, 1000), (False, False), 100.0, True))
    assert max(columns, rows) <= MAX_SIDE
    assert columns / rows == pytest.approx(0.6, abs=0.01)


def test_regions_and_flips() -> None:
    pixels = np.arange(800, dtype=np.uint16).reshape(20, 40).astype(np.uint8)
    image = Image.fromarray(pixels)
    cut = PLAIN._replace(viewport=(10, 5), box=Box(30, 15, 40, 20))
    assert np.array_equal(np.asarray(placed(image, cut, size_of(cut))), pixels[15:, 30:])
    for flips, expected in (
        ((True, False), pixels[:, ::-1]),
        ((False, True), pixels[::-1]),
        ((True, True), pixels[::-1, ::-1]),
    ):
        assert np.array_equal(np.asarray(placed(image, PLAIN._replace(flips=flips), (40, 20))), expected)


def test_thumbnails_look_at_some_pixels_of_large_images_only() -> None:
    large = Shape((256, 256), Box(0, 0, 4096, 4096), (False, False), 1.0, False)
    assert stride_of(large) == 4
    assert stride_of(large._replace(box=Box(0, 0, 512, 512))) == 1
