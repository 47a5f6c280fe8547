"""What the Image Pixel module says of the frames of one instance (PS3.3 C.7.6.3), and what a frame is when it has been
decoded. Pure: neither numpy nor a codec, so that the archive's own processes may import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from app.dicom.transfer_syntaxes import EXPLICIT_LE, transfer_syntax
from app.errors import LimitExceeded, Undecodable

MAX_PIXELS = 64 << 20
"""Rows times columns of one frame."""
MAX_BYTES = 2 << 30
"""One decoded frame."""

_FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
"""Float and Double Float Pixel Data, whose names fix the bits of a sample."""
_DEPTHS = (1, 8, 16, 24, 32, 64)
_JPEG2000 = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (90, 91, 92, 93, 201, 202, 203))
_JPEG_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 53, 55))
_JPEG_XL = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (110, 111, 112))
_SUBSAMPLED = {"YBR_FULL_422": (2, 3), "YBR_PARTIAL_422": (2, 3), "YBR_PARTIAL_420": (1, 2)}
"""Samples that are there for each that Samples per Pixel counts, in native pixel data."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The attributes of one frame, by their keywords. `kind` is `integer`, or `float` for Float (32 bits) and Double
    Float (64) Pixel Data."""

    transfer_syntax: str
    rows: int
    columns: int
    samples_per_pixel: int = 1
    photometric_interpretation: str = "MONOCHROME2"
    planar_configuration: int = 0
    bits_allocated: int = 8
    bits_stored: int = 8
    high_bit: int = 7
    pixel_representation: int = 0
    kind: str = "integer"
    number_of_frames: int = 1
    """As the attribute says: there may be fewer."""

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or not 1 <= self.samples_per_pixel <= 255:
            raise Undecodable("the image has no rows, columns or samples")
        if self.bits_allocated not in _DEPTHS or not 1 <= self.bits_stored <= self.bits_allocated:
            raise Undecodable("no image has this many bits allocated and stored")
        if self.rows * self.columns > MAX_PIXELS:
            raise LimitExceeded("frame_pixels", f"a frame of more than {MAX_PIXELS} pixels is not decoded")
        if self.frame_bits > 8 * MAX_BYTES:
            raise LimitExceeded("frame_pixels", f"a frame of more than {MAX_BYTES} bytes is not decoded")

    @property
    def is_subsampled(self) -> bool:
        """Whether native samples are fewer than Samples per Pixel counts (PS3.3 C.7.6.3.1.2)."""
        native = not transfer_syntax(self.transfer_syntax).encapsulated
        return native and self.samples_per_pixel == 3 and self.photometric_interpretation in _SUBSAMPLED

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame."""
        bits = self.rows * self.columns * self.samples_per_pixel * self.bits_allocated
        if self.is_subsampled:
            there, counted = _SUBSAMPLED[self.photometric_interpretation]
            return bits * there // counted
        return bits

    @property
    def frame_length(self) -> int:
        """Bytes of one native frame that begins with a byte."""
        return (self.frame_bits + 7) // 8

    @property
    def decoded(self) -> Picture:
        """The same picture as native little endian octets, samples of a pixel together. Colours that belong to a
        codec become RGB: YBR_RCT and YBR_ICT of JPEG 2000, and whatever lossy JPEG has; others stay what they are."""
        photometric = self.photometric_interpretation
        if self.is_subsampled:
            photometric = "YBR_FULL"
        elif self.samples_per_pixel == 3 and (
            photometric in ("YBR_RCT", "YBR_ICT")
            or (self.transfer_syntax in _JPEG_LOSSY and photometric.startswith("YBR_"))
            or (self.transfer_syntax in _JPEG_XL and photometric == "XYB")
        ):
            photometric = "RGB"
        elif photometric == "YBR_FULL_422" and self.transfer_syntax in _JPEG2000:
            photometric = "YBR_FULL"
        return replace(
            self, transfer_syntax=EXPLICIT_LE, photometric_interpretation=photometric, planar_configuration=0
        )

    def to_arguments(self) -> dict[str, Any]:
        """Its fields, for `Picture(**arguments)` in a caged child."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(one.name for one in fields(Picture))


def from_json(members: Mapping[str, Any], syntax: str, pixel_tag: int = 0x7FE00010) -> Picture:
    """The picture that an instance's DICOM JSON (PS3.18 Annex F) describes. Raises `Undecodable` when an attribute that
    nothing can replace is missing or makes no sense, `LimitExceeded` when a frame is too large."""
    samples = _number(members, "00280002", 1)
    allocated = _FLOAT_BITS.get(pixel_tag) or _number(members, "00280100", 0)
    stored = _number(members, "00280101", 0) or allocated
    photometric = str(_first(members, "00280004") or ("RGB" if samples == 3 else "MONOCHROME2")).strip()
    return Picture(
        transfer_syntax=syntax,
        rows=_number(members, "00280010", 0),
        columns=_number(members, "00280011", 0),
        samples_per_pixel=samples,
        photometric_interpretation=photometric,
        planar_configuration=_number(members, "00280006", 0) if samples > 1 else 0,
        bits_allocated=allocated,
        bits_stored=allocated if pixel_tag in _FLOAT_BITS else stored,
        high_bit=_number(members, "00280102", stored - 1),
        pixel_representation=_number(members, "00280103", 0),
        kind="float" if pixel_tag in _FLOAT_BITS else "integer",
        number_of_frames=max(1, _number(members, "00280008", 1)),
    )


def _first(members: Mapping[str, Any], tag: str) -> Any:
    return ((members.get(tag) or {}).get("Value") or [None])[0]


def _number(members: Mapping[str, Any], tag: str, default: int) -> int:
    found = _first(members, tag)
    return found if isinstance(found, int) else default
