"""What a caged child can be asked to do: a name → a function of JSON arguments and a payload to bytes, or to several
pieces that follow each other. Imported by the zygote only: it loads the codecs."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from app.pixels import decode, encode
from app.pixels.cage_child import Buffer, Task
from app.pixels.picture import Picture
from app.pixels.render import render_frame


def decode_frame(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    """The encoded frame as `Picture.decoded` describes it."""
    return decode.decode(Picture(**arguments["picture"]), payload)


def transcode_frame(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    """The encoded frame in the transfer syntax `to`."""
    picture = Picture(**arguments["picture"])
    decoded = decode.decode(picture, payload)
    return encode.encode(picture.decoded, decoded, arguments["to"], arguments.get("quality", 0))


TASKS: MappingProxyType[str, Task] = MappingProxyType(
    {"decode": decode_frame, "transcode": transcode_frame, "render": render_frame}
)
