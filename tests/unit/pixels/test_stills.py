"""PNG and GIF decoded in the cage: Pillow in this process is the oracle; hostile images are refused (G32)."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.errors import LimitExceeded, Unreadable, UnsupportedMediaType
from app.pixels import stills
from app.pixels.stills import Still


def _decode(media_type: str, content: bytes) -> tuple[Still, bytes]:
    out = bytearray()
    still = stills.decode(media_type, lambda at, length: content[at : at + length], len(content), out.extend)
    return still, bytes(out)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _noise(mode: str) -> Image.Image:
    samples = {"L": 1, "RGB": 3, "RGBA": 4, "LA": 2}[mode]
    values = np.random.default_rng(7).integers(0, 256, (19, 23, samples), np.uint8)
    return Image.fromarray(values.squeeze(), mode if samples != 1 else None)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_png_samples_are_kept_and_alpha_is_dropped(mode: str) -> None:
    image = _noise(mode)
    still, pixels = _decode("image/png", _encoded(image, "PNG"))
    kept = 3 if mode.startswith("RGB") else 1
    assert still == Still(19, 23, 1, kept, 8)
    assert pixels == np.asarray(image).reshape(19, 23, -1)[:, :, :kept].tobytes()


def test_png_of_16_bits() -> None:
    values = np.random.default_rng(7).integers(0, 65536, (19, 23), np.uint16)
    still, pixels = _decode("image/png", _encoded(Image.fromarray(values), "PNG"))
    assert still == Still(19, 23, 1, 1, 16)
    assert pixels == values.astype("<u2").tobytes()


def test_png_with_a_palette_and_of_one_bit() -> None:
    image = _noise("RGB").quantize(64)
    still, pixels = _decode("image/png", _encoded(image, "PNG"))
    assert (still.samples, pixels) == (3, image.convert("RGB").tobytes())
    image = _noise("L").convert("1")
    still, pixels = _decode("image/png", _encoded(image, "PNG"))
    assert (still.samples, pixels) == (1, image.convert("L").tobytes())


def test_animated_gif() -> None:
    frames = [_noise("RGB").rotate(turn).quantize(256) for turn in (0, 90, 180)]
    content = _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    still, pixels = _decode("image/gif", content)
    assert still == Still(19, 23, 3, 3, 8)
    assert pixels == b"".join(frame.convert("RGB").tobytes() for frame in frames)


def _png(columns: int, rows: int, depth: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0)
    compressed = zlib.compress(data)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("media_type", "content", "error"),
    [
        ("image/png", b"", Unreadable),
        ("image/png", b"\x89PNG\r\n\x1a\n" + bytes(100), Unreadable),
        ("image/gif", b"GIF89a" + bytes(100), Unreadable),
        ("image/gif", _png(3, 3, 8, 0, bytes(12)), Unreadable),
        ("image/png", _png(3, 3, 8, 0, bytes(5)), Unreadable),
        ("image/png", _png(3, 3, 16, 2, bytes(57)), UnsupportedMediaType),
        ("image/png", _png(100_000, 100_000, 8, 0, bytes(100)), Unreadable),
        ("image/png", _png(2**31 - 1, 2**31 - 1, 8, 0, bytes(100)), Unreadable),
    ],
)
def test_refused_images(media_type: str, content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        _decode(media_type, content)


def test_too_long_an_image_is_not_even_read() -> None:
    with pytest.raises(LimitExceeded):
        stills.decode("image/png", lambda at, length: pytest.fail("read"), 1 << 30, lambda chunk: None)


@pytest.mark.parametrize(
    "attempt",
    ["open('/etc/passwd')", "__import__('socket').socket()", "bytearray(2 << 30)"],
)
def test_G32_the_cage_holds(attempt: str, tmp_path: Path) -> None:
    source = Path(stills.__file__).with_name("stills_child.py").read_text()
    script = tmp_path / "caged.py"
    script.write_text(source.replace("    main(sys.argv[1])\n", f"    {attempt}\n    print('out')\n"))
    result = subprocess.run([sys.executable, "-I", str(script)], capture_output=True, check=False)
    assert result.returncode != 0
    assert result.stdout == b""
