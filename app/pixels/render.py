"""Rendering of one frame (PS3.18 8.3.5, pipelines of PS3.4 N.2): what a caged child does with a stored frame.

The payload is the frame as stored and, behind it, the recipe (`app.pixels.render_facts`). Tables are kept between jobs
by their recipe: the images of a series mostly share one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.errors import NotAcceptable
from app.pixels import decode
from app.pixels.picture import Picture
from app.pixels.render_colour import colour, palette_colour
from app.pixels.render_grey import shades
from app.pixels.render_samples import words_of
from app.pixels.render_shape import Box, Shape, placed, size_of, stride_of
from app.pixels.render_write import annotated, written

_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


def render_frame(arguments: dict[str, Any], payload: memoryview) -> bytes | bytearray:
    """The task `render`: a frame of `arguments["picture"]` as a file of `arguments["media_type"]`."""
    picture = Picture(**arguments["picture"])
    length = len(payload) - arguments["recipe"]
    recipe = bytes(payload[length:])
    return rendered(picture.decoded, decode.decode(picture, payload[:length]), recipe, arguments)


def rendered(picture: Picture, frame: Any, recipe: bytes, arguments: dict[str, Any]) -> bytes | bytearray:
    """As `render_frame`, of a decoded frame."""
    shape = _shape(arguments["shape"])
    words = words_of(picture, frame)
    size = size_of(shape)
    if arguments["thumbnail"]:
        stride = stride_of(shape)
        if stride > 1:
            words = np.ascontiguousarray(words[::stride, ::stride])
            shape = _thinned(shape, stride, words.shape)
    image = placed(_image(picture, words, recipe), shape, size)
    if arguments.get("corners"):
        image = annotated(image, arguments["corners"])
    return written(image, arguments["media_type"], arguments["quality"])


def _shape(given: dict[str, Any]) -> Shape:
    viewport = given["viewport"]
    return Shape(
        None if viewport is None else (viewport[0], viewport[1]),
        Box(*given["box"]),
        (given["flips"][0], given["flips"][1]),
        given["aspect"],
        given["grows"],
    )


def _thinned(shape: Shape, stride: int, there: tuple[int, ...]) -> Shape:
    """The shape for an image of which every `stride`-th pixel is left: `there` rows and columns."""
    box = shape.box
    right, bottom = min(box.right / stride, there[1]), min(box.bottom / stride, there[0])
    return shape._replace(box=Box(box.left / stride, box.top / stride, right, bottom))


def _image(picture: Picture, words: npt.NDArray[Any], recipe: bytes) -> Image.Image:
    photometric = picture.photometric_interpretation
    if picture.samples_per_pixel == 1 and photometric == "PALETTE COLOR" and words.itemsize <= 2:
        return palette_colour(words, recipe)
    if picture.samples_per_pixel == 1 and photometric in _MONOCHROME:
        return Image.fromarray(shades(words, recipe))
    if picture.samples_per_pixel == 1:
        raise NotAcceptable(f"{photometric[:16]} images of one sample cannot be rendered")
    return colour(picture, words)
