"""Consumer images that no transfer syntax carries, PNG and GIF, decoded losslessly to native pixels (PS3.18 Table
10.5.2-1: "Transform"). Pillow does it in a child process with limits on memory, time and descriptors; alpha and
transparency are dropped, palettes become RGB, an animated GIF becomes frames (its notes 1 to 5)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from app.errors import LimitExceeded, Unreadable, UnsupportedMediaType

MEDIA_TYPES = frozenset(("image/png", "image/gif"))
_CHILD = Path(__file__).with_name("stills_child.py")
_INPUT = 256 << 20
_OUTPUT = 2 << 30
_SECONDS = 30.0
_CHUNK = 1 << 20
_DEEP_COLOUR = (2, 6)
"""Colour types of PNG with red, green and blue."""
_turn = threading.BoundedSemaphore()
"""One child at a time in each process."""


@dataclass(frozen=True, slots=True)
class Still:
    """A decoded image: frames one after the other, samples of a pixel together, little endian."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits: int


def decode(media_type: str, read: Callable[[int, int], bytes], length: int, write: Callable[[bytes], None]) -> Still:
    """Decodes the `length` bytes that `read(offset, length)` gives; the pixels go to `write`. Raises `Unreadable`,
    `LimitExceeded`, or `UnsupportedMediaType` for colours of 16 bits, which would lose half of them."""
    if length > _INPUT:
        raise LimitExceeded("part", f"an image to be transformed has more than {_INPUT} bytes")
    head = read(0, 26)
    if media_type == "image/png" and head[24:25] == b"\x10" and head[25] in _DEEP_COLOUR:
        raise UnsupportedMediaType("PNG images with 16 bits for each colour are not supported")
    command = [sys.executable, "-I", str(_CHILD), media_type]
    environment = {"LANG": "C", "PATH": os.defpath}
    with (
        _turn,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        ) as child,
    ):
        timer = threading.Timer(_SECONDS, child.kill)
        timer.start()
        try:
            return _converse(child, read, length, write)
        finally:
            timer.cancel()
            child.kill()


def _converse(
    child: subprocess.Popen[bytes], read: Callable[[int, int], bytes], length: int, write: Callable[[bytes], None]
) -> Still:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with child.stdin as stdin:
            for at in range(0, length, _CHUNK):
                stdin.write(read(at, min(_CHUNK, length - at)))
    except BrokenPipeError:
        raise Unreadable("the image cannot be decoded") from None
    line = child.stdout.readline(1024)
    if not line.endswith(b"\n"):
        raise Unreadable("the image cannot be decoded, or has too many pixels")
    told = orjson.loads(line)
    samples, bits = {"L": (1, 8), "RGB": (3, 8), "I;16": (1, 16)}[told["mode"]]
    still = Still(told["rows"], told["columns"], told["frames"], samples, bits)
    expected = still.rows * still.columns * still.frames * samples * bits // 8
    if expected > _OUTPUT:
        raise LimitExceeded("part", f"the decoded frames have more than {_OUTPUT} bytes")
    while expected > 0 and (chunk := child.stdout.read(min(_CHUNK, expected))):
        expected -= len(chunk)
        write(chunk)
    if expected or child.stdout.read(1) or child.wait() != 0:
        raise Unreadable("the image cannot be decoded to its end")
    return still
