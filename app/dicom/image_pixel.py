"""The Image Pixel attributes (PS3.3 C.7.6.3) of a data set that came as metadata and bulk data: derived from compressed
pixels where they are missing, compared where they are there, and checked against the length of uncompressed ones."""

from __future__ import annotations

from app.dicom.bitstream import Description
from app.dicom.json_model import DataSet, Element, Value
from app.errors import Unreadable

SAMPLES_PER_PIXEL = 0x00280002
PHOTOMETRIC_INTERPRETATION = 0x00280004
PLANAR_CONFIGURATION = 0x00280006
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
HIGH_BIT = 0x00280102
PIXEL_REPRESENTATION = 0x00280103
LOSSY_IMAGE_COMPRESSION = 0x00282110
LOSSY_IMAGE_COMPRESSION_RATIO = 0x00282112
LOSSY_IMAGE_COMPRESSION_METHOD = 0x00282114

_NAMES = {
    SAMPLES_PER_PIXEL: "SamplesPerPixel",
    PHOTOMETRIC_INTERPRETATION: "PhotometricInterpretation",
    ROWS: "Rows",
    COLUMNS: "Columns",
    BITS_ALLOCATED: "BitsAllocated",
    BITS_STORED: "BitsStored",
    HIGH_BIT: "HighBit",
    PIXEL_REPRESENTATION: "PixelRepresentation",
}
_SUBSAMPLING = {"YBR_FULL_422": (2, 3), "YBR_PARTIAL_422": (2, 3), "YBR_PARTIAL_420": (1, 2)}
"""Samples that are there for each that SamplesPerPixel counts."""


def value(data_set: DataSet, tag: int) -> Value:
    """The first value, None when there is none."""
    element = data_set.get(tag)
    return element.values[0] if element is not None and element.values else None


def number(data_set: DataSet, tag: int) -> int | None:
    """The first value as an integer; raises `Unreadable` when it is none."""
    found = value(data_set, tag)
    try:
        return int(found) if isinstance(found, (int, float, str)) else None
    except ValueError as error:
        raise Unreadable(f"{tag:08X} is not an integer") from error


def missing(data_set: DataSet) -> str:
    """The keyword of the first Image Pixel attribute that has no value; "" when all have one."""
    return next((name for tag, name in _NAMES.items() if value(data_set, tag) in (None, "")), "")


def complete(data_set: DataSet, description: Description, frames: int, compressed: int) -> None:
    """Sets what is missing from what `frames` frames in `compressed` bytes say; raises `Unreadable` when size or
    samples are there and contradict them. Bits and signedness stay as given: fewer than the bit stream's are legal."""
    for tag, derived in (
        (ROWS, description.rows),
        (COLUMNS, description.columns),
        (SAMPLES_PER_PIXEL, description.samples),
    ):
        if number(data_set, tag) not in (None, derived):
            raise Unreadable(f"{_NAMES[tag]} of the metadata is not that of the compressed pixel data")
        _default(data_set, tag, "US", derived)
    _default(data_set, PHOTOMETRIC_INTERPRETATION, "CS", description.photometric)
    if description.samples > 1:
        _default(data_set, PLANAR_CONFIGURATION, "US", 0)
    _default(data_set, BITS_ALLOCATED, "US", description.allocated)
    _default(data_set, BITS_STORED, "US", description.precision)
    _default(data_set, HIGH_BIT, "US", (number(data_set, BITS_STORED) or 1) - 1)
    _default(data_set, PIXEL_REPRESENTATION, "US", int(description.signed))
    if frames > 1:
        _default(data_set, NUMBER_OF_FRAMES, "IS", str(frames))
    if description.method:
        pixels = description.rows * description.columns * description.samples * frames
        _lossy(data_set, description.method, pixels * description.allocated / 8 / max(compressed, 1))


def _default(data_set: DataSet, tag: int, vr: str, derived: int | str) -> None:
    if value(data_set, tag) in (None, ""):
        data_set[tag] = Element(vr, [derived])


def _lossy(data_set: DataSet, method: str, ratio: float) -> None:
    """Says that the image was lossy compressed, unless it says so already (PS3.3 C.7.6.1.1.5)."""
    if value(data_set, LOSSY_IMAGE_COMPRESSION) != "01":
        data_set[LOSSY_IMAGE_COMPRESSION] = Element("CS", ["01"])
        data_set[LOSSY_IMAGE_COMPRESSION_RATIO] = Element("DS", [f"{ratio:.2f}"])
        data_set[LOSSY_IMAGE_COMPRESSION_METHOD] = Element("CS", [method])


def require_frames(data_set: DataSet, frames: int) -> None:
    """Raises `Unreadable` when the metadata counts other frames than `frames`."""
    if (number(data_set, NUMBER_OF_FRAMES) or 1) != frames and value(data_set, NUMBER_OF_FRAMES) not in (None, ""):
        raise Unreadable(f"NumberOfFrames of the metadata is not the number of frames that came: {frames}")


def require_same_pixels(data_set: DataSet, photometric: str, bits: int) -> None:
    """Raises `Unreadable` when the metadata describe other pixels than decoded ones: samples together, `bits` each."""
    given = str(value(data_set, PHOTOMETRIC_INTERPRETATION))
    same = given == photometric or (given, photometric) == ("MONOCHROME1", "MONOCHROME2")
    if not same or number(data_set, BITS_ALLOCATED) != bits or number(data_set, PLANAR_CONFIGURATION):
        raise Unreadable(f"the metadata describe other pixels than the image has: {photometric} with {bits} bits")


def require_native(data_set: DataSet, given: str, length: int) -> str:
    """The VR of `length` bytes of uncompressed Pixel Data (PS3.5 A.2), `given` when it may be; raises `Unreadable` when
    an Image Pixel attribute is missing or the pixels are fewer than they should be."""
    if absent := missing(data_set):
        raise Unreadable(f"{absent} is missing, and uncompressed pixel data do not tell it")
    bits = number(data_set, BITS_ALLOCATED) or 0
    count = (number(data_set, NUMBER_OF_FRAMES) or 1) * (number(data_set, SAMPLES_PER_PIXEL) or 0)
    samples = count * (number(data_set, ROWS) or 0) * (number(data_set, COLUMNS) or 0)
    there, counted = _SUBSAMPLING.get(str(value(data_set, PHOTOMETRIC_INTERPRETATION)), (1, 1))
    if length * 8 < samples * bits * there // counted:
        raise Unreadable("the pixel data are fewer than Rows, Columns, NumberOfFrames and BitsAllocated tell")
    return "OW" if bits > 8 or given == "OW" else "OB"
