"""The last steps of a rendering: lines of text burnt in, and the image as JPEG, PNG or GIF."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from imagecodecs import PNG, jpeg8_encode, png_encode
from PIL import Image, ImageDraw, ImageFont

_PNG_WAY = {"level": 1, "strategy": PNG.STRATEGY.RLE, "filter": PNG.FILTER.SUB}
"""A fifth of the time of zlib's own way, and on images of patients no larger."""
_FULL_CHROMA = 90
"""Qualities from here on keep all of the colour."""
_FONT_SHARE = 40
_SMALLEST, _LARGEST = 10, 48

Image.preinit()  # in the cage nothing more can be imported
ImageFont.load_default(_SMALLEST)


def annotated(image: Image.Image, corners: Sequence[Sequence[str]]) -> Image.Image:
    """The image with lines of text: those of the first group in the upper left corner, of the second in the lower."""
    canvas = image.convert("RGB") if image.mode == "YCbCr" else image.copy()
    draw = ImageDraw.Draw(canvas)
    size = min(max(canvas.height // _FONT_SHARE, _SMALLEST), _LARGEST)
    font = ImageFont.load_default(size)
    white, black = ((255, 255, 255), (0, 0, 0)) if canvas.mode == "RGB" else (255, 0)
    for lines, lower in zip(corners, (False, True), strict=False):
        text = "\n".join(lines)
        place = (size // 2, canvas.height - size // 2 if lower else size // 2)
        draw.multiline_text(
            place, text, white, font, anchor="ld" if lower else "la", stroke_width=max(1, size // 16), stroke_fill=black
        )
    return canvas


def written(image: Image.Image, media_type: str, quality: int) -> bytes | bytearray:
    """The image as a file of `media_type`; `quality` counts for JPEG, from 1 to 100."""
    if media_type == "image/png":
        return png_encode(np.asarray(image.convert("RGB") if image.mode == "YCbCr" else image), **_PNG_WAY)
    if media_type == "image/jpeg" and image.mode == "L":
        return bytes(jpeg8_encode(np.asarray(image), level=quality))  # as Pillow, in three quarters of its time
    out = io.BytesIO()
    if media_type == "image/jpeg":
        image.save(out, "JPEG", quality=quality, subsampling=0 if quality >= _FULL_CHROMA else 2)
    else:
        (image if image.mode == "L" else image.convert("RGB").quantize()).save(out, "GIF")
    return out.getvalue()
