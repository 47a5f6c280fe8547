"""The caged side of `stills`: a PNG or GIF on standard input, a line of JSON and the decoded frames on standard output.
Runs as a script of its own, isolated, and imports nothing of the archive. After its imports it may open no descriptor
at all, so neither files nor the network are within reach."""

from __future__ import annotations

import copy  # noqa: F401 - Pillow imports it when a GIF has a second frame, too late in the cage
import io
import json
import resource
import sys

from PIL import GifImagePlugin, Image, ImageSequence, PngImagePlugin

MEMORY = 1 << 30
CPU_SECONDS = 20
PIXELS = 64_000_000
FRAMES = 10_000
_MODES = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "I": "I;16", "I;16B": "I;16"}


def cage() -> None:
    """No new descriptors, bounded memory and time, no core file."""
    for kind, limit in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def main(kind: str) -> None:
    """Decodes; the exit status is not 0 when that is impossible."""
    Image.MAX_IMAGE_PIXELS = PIXELS // 2  # Pillow refuses at twice this
    source = io.BytesIO(sys.stdin.buffer.read())
    image = PngImagePlugin.PngImageFile(source) if kind == "image/png" else GifImagePlugin.GifImageFile(source)
    frames = getattr(image, "n_frames", 1) if kind == "image/gif" else 1
    columns, rows = image.size
    if frames > FRAMES or columns * rows > PIXELS:
        raise ValueError("too many frames or pixels")
    mode = "RGB" if kind == "image/gif" else _MODES.get(image.mode, image.mode)
    if mode not in ("L", "RGB", "I;16"):
        raise ValueError("not a mode of DICOM")
    out = sys.stdout.buffer
    out.write(json.dumps({"rows": rows, "columns": columns, "frames": frames, "mode": mode}).encode() + b"\n")
    for frame in ImageSequence.Iterator(image) if kind == "image/gif" else (image,):
        out.write(frame.convert(mode).tobytes() if frame.mode != mode else frame.tobytes())
    out.flush()


if __name__ == "__main__":
    cage()
    main(sys.argv[1])
