"""Every codec with every kind of pixels that it can hold: what is encoded comes back bit by bit. Independent decoders
read it in `tests/corpus/test_pixels.py`."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.rle import _rle_decode_frame
from pydicom.uid import UID, SecondaryCaptureImageStorage, generate_uid

from app.dicom.bitstream import describe
from app.dicom.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE, RLE, TRANSFER_SYNTAXES
from app.errors import LimitExceeded, NotAcceptable, Undecodable
from app.pixels import decode, encode, targets
from app.pixels.picture import Picture, from_json

SIZES = ((1, 1), (7, 5), (33, 64), (1, 300), (64, 2))
KINDS = [
    (allocated, stored, signed, samples)
    for allocated, stored in ((8, 8), (8, 6), (16, 16), (16, 12), (16, 9), (32, 32), (32, 24))
    for signed, samples in product((0, 1), (1, 3))
    if not (signed and samples == 3)
]
LOSSLESS = [syntax for syntax in targets.COMPRESSED if not TRANSFER_SYNTAXES[syntax].lossy]
LOSSY = [syntax for syntax in targets.LOSSY if syntax != targets.JPEG_BASELINE]


def a_picture(rows: int, columns: int, kind: tuple[int, int, int, int], colours: str = "RGB") -> Picture:
    allocated, stored, signed, samples = kind
    photometric = colours if samples == 3 else "MONOCHROME2"
    return Picture(
        EXPLICIT_LE, rows, columns, samples, photometric, 0, allocated, stored, stored - 1, signed, "integer"
    )


def noise(picture: Picture, bits: int = 0) -> NDArray[Any]:
    bits = bits or picture.bits_stored
    low, high = (-(1 << bits - 1), 1 << bits - 1) if picture.pixel_representation else (0, 1 << bits)
    kind = "i" if picture.pixel_representation else "u"
    shape = (picture.rows, picture.columns, picture.samples_per_pixel)
    values = np.random.default_rng(7).integers(low, high, shape, np.int64)
    return values.astype(f"<{kind}{picture.bits_allocated // 8}")


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("kind", KINDS)
def test_lossless_is_lossless(syntax: str, kind: tuple[int, int, int, int]) -> None:
    held = 0
    for (rows, columns), colours in product(SIZES, ("RGB", "YBR_FULL")):
        picture = a_picture(rows, columns, kind, colours)
        if targets.holds(picture, syntax):
            held += 1
            octets = noise(picture).tobytes()
            made = encode.encode(picture, octets, syntax)
            assert bytes(decode.decode(targets.encoded(picture, syntax), bytearray(made))) == octets
    allocated, signed = kind[0], kind[2]
    if syntax == targets.JPEG_XL:
        assert bool(held) == (allocated <= 16 and not signed)
        return
    assert bool(held) == (allocated <= 16 or syntax == RLE or (syntax == targets.JPEG_2000 and kind[1::2] == (24, 1)))


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("signed", [0, 1])
def test_what_stands_in_unused_high_bits_is_kept(syntax: str, signed: int) -> None:
    picture = a_picture(19, 23, (16, 12, signed, 1))
    if signed and syntax == targets.JPEG_XL:
        return
    octets = noise(picture, 16).tobytes()
    made = encode.encode(picture, octets, syntax)
    assert bytes(decode.decode(targets.encoded(picture, syntax), bytearray(made))) == octets


@pytest.mark.parametrize("syntax", [targets.JPEG_LOSSLESS, targets.JPEG_LS, targets.JPEG_2000])
def test_the_stream_has_as_many_bits_as_are_stored(syntax: str) -> None:
    picture = a_picture(64, 64, (16, 12, 0, 1))
    smooth = (np.arange(64 * 64) // 2).astype("<u2").tobytes()
    made = encode.encode(picture, smooth, syntax)
    found = describe(lambda at, length: made[at : at + length])
    assert (found.transfer_syntax, found.precision) == (syntax, 12)


def test_pydicom_reads_our_rle() -> None:
    for kind in ((8, 8, 0, 3), (16, 12, 1, 1), (32, 32, 0, 1)):
        picture = a_picture(20, 31, kind)
        array = noise(picture)
        made = encode.encode(picture, array.tobytes(), RLE)
        planes = _rle_decode_frame(made, 20, 31, kind[3], kind[0])
        values = np.frombuffer(planes, array.dtype).reshape(kind[3], 20, 31)
        assert np.array_equal(np.moveaxis(values, 0, 2), array)
        assert len(made) % 2 == 0


@pytest.mark.parametrize("colours", ["RGB", "YBR_FULL"])
def test_baseline_loses_little(colours: str) -> None:
    picture = a_picture(32, 48, (8, 8, 0, 3), colours)
    y, x = np.mgrid[0:32, 0:48]
    array = np.stack([x * 5, y * 7, x + y], 2).astype(np.uint8)
    octets = array.tobytes()
    made = encode.encode(picture, octets, targets.JPEG_BASELINE, 95)
    told = targets.encoded(picture, targets.JPEG_BASELINE)
    assert (told.photometric_interpretation, told.decoded.photometric_interpretation) == ("YBR_FULL_422", "RGB")
    back = np.frombuffer(decode.decode(told, bytearray(made)), np.uint8).reshape(array.shape).astype(int)
    if colours == "RGB":
        assert np.abs(back - array).mean() < 4
    assert len(encode.encode(picture, octets, targets.JPEG_BASELINE, 30)) < len(made)


LOSSY_KINDS = [(8, 8, 0, 1), (8, 8, 0, 3), (8, 6, 1, 1), (16, 12, 0, 1), (16, 12, 1, 1), (16, 16, 1, 1), (16, 10, 0, 1)]


def smooth(picture: Picture) -> NDArray[Any]:
    """Waves of 4,096 values at most, around zero when they are signed."""
    y, x = np.mgrid[0 : picture.rows, 0 : picture.columns]
    half = (1 << min(picture.bits_stored, 12) - 1) - 1
    waves = [np.sin((x + 5 * sample) / 11) * np.cos(y / 9) for sample in range(picture.samples_per_pixel)]
    shades: NDArray[Any] = np.rint(np.stack(waves, 2) * half) + (0 if picture.pixel_representation else half)
    made: NDArray[Any] = shades.astype(f"<{'i' if picture.pixel_representation else 'u'}{picture.bits_allocated // 8}")
    return made


def by_another(picture: Picture, made: bytes, folder: Path) -> NDArray[Any]:
    """The frame as DCMTK or OpenJPEG decode it."""
    if picture.transfer_syntax in (targets.JPEG_2000_LOSSY, targets.HTJ2K_LOSSY):
        return np.asarray(imagecodecs.jpeg2k_decode(made))
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = UID(picture.transfer_syntax)
    one.SOPClassUID, one.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    one.Rows, one.Columns, one.SamplesPerPixel = picture.rows, picture.columns, picture.samples_per_pixel
    one.BitsAllocated, one.BitsStored, one.HighBit = picture.bits_allocated, picture.bits_stored, picture.high_bit
    one.PixelRepresentation, one.PlanarConfiguration = picture.pixel_representation, 0
    one.PhotometricInterpretation = picture.photometric_interpretation
    one.PixelData = encapsulate([made])
    one["PixelData"].is_undefined_length = True
    one.save_as(folder / "coded.dcm", enforce_file_format=True)
    tool = "dcmdjpls" if picture.transfer_syntax == targets.JPEG_LS_NEAR else "dcmdjpeg"
    subprocess.run([tool, str(folder / "coded.dcm"), str(folder / "plain.dcm")], check=True, capture_output=True)
    return np.asarray(dcmread(folder / "plain.dcm").pixel_array)


@pytest.mark.parametrize("syntax", LOSSY)
@pytest.mark.parametrize("kind", LOSSY_KINDS)
def test_what_is_asked_with_loss_loses_little(syntax: str, kind: tuple[int, int, int, int], tmp_path: Path) -> None:
    picture = a_picture(96, 128, kind)
    if not targets.holds(picture, syntax):
        return
    array = smooth(picture)
    made = encode.encode(picture, array.tobytes(), syntax)
    told = targets.encoded(picture, syntax)
    assert len(made) < array.nbytes / 2
    back = np.frombuffer(decode.decode(told, made), array.dtype).reshape(array.shape).astype(int)
    wrong = np.abs(back - array)
    span = int(array.max()) - int(array.min())
    assert wrong.any()
    assert wrong.mean() <= max(span / 200, 0.8)
    if syntax == targets.JPEG_LS_NEAR:
        assert wrong.max() <= max(span // 1024, 1)
    if syntax != targets.JPEG_XL_LOSSY:
        other = by_another(told, made, tmp_path).reshape(array.shape)
        assert np.abs(other - back).max() <= 2


@pytest.mark.parametrize(("syntax", "bits"), [(targets.JPEG_EXTENDED, 12), (targets.HTJ2K_LOSSY, 16)])
def test_bits_stored_are_those_of_the_stream(syntax: str, bits: int) -> None:
    told = targets.encoded(a_picture(4, 4, (16, 10, 0, 1)), syntax)
    assert (told.bits_stored, told.high_bit) == (bits, bits - 1)


def test_bits_that_are_no_part_of_the_value_are_not_lost_silently() -> None:
    picture = a_picture(16, 16, (16, 12, 0, 1))
    overlaid = (noise(picture) | 0x8000).tobytes()
    for syntax in LOSSY:
        if targets.holds(picture, syntax):
            with pytest.raises(NotAcceptable, match="more bits"):
                encode.encode(picture, overlaid, syntax)
    palette = replace(a_picture(16, 16, (8, 8, 0, 1)), photometric_interpretation="PALETTE COLOR")
    assert not any(targets.holds(palette, syntax) for syntax in targets.LOSSY)


def test_jpeg_xl_is_what_its_own_decoder_reads(tmp_path: Path) -> None:
    """By djxl of libjxl, where it is installed; else the stream is looked at."""
    djxl = shutil.which("djxl")
    for kind in LOSSY_KINDS[:2]:
        picture = a_picture(31, 47, kind)
        array = noise(picture)
        made = encode.encode(picture, array.tobytes(), targets.JPEG_XL)
        assert made[:2] == b"\xff\x0a" or made[4:8] == b"JXL "
        if djxl:
            (tmp_path / "image.jxl").write_bytes(made)
            suffix = "ppm" if kind[3] == 3 else "pgm"
            command = [djxl, str(tmp_path / "image.jxl"), str(tmp_path / f"image.{suffix}")]
            subprocess.run(command, check=True, capture_output=True)
            assert (tmp_path / f"image.{suffix}").read_bytes()[-array.nbytes :] == array.tobytes()


def test_what_a_syntax_cannot_hold_is_refused() -> None:
    floats = replace(a_picture(4, 4, (32, 32, 0, 1)), kind="float")
    bitmap = Picture(EXPLICIT_LE, 4, 4, bits_allocated=1, bits_stored=1, high_bit=0)
    for syntax in targets.COMPRESSED:
        assert not targets.holds(floats, syntax)
        assert not targets.holds(bitmap, syntax)
    assert targets.holds(floats, IMPLICIT_LE)
    assert not targets.holds(a_picture(4, 4, (16, 12, 0, 1)), targets.JPEG_BASELINE)
    with pytest.raises(NotAcceptable):
        encode.encode(bitmap, b"\0\0", "1.2.840.10008.1.2.4.91")
    assert not targets.holds(a_picture(4, 4, (16, 12, 1, 1)), targets.JPEG_EXTENDED)
    assert not targets.holds(a_picture(4, 4, (16, 16, 0, 1)), targets.JPEG_EXTENDED)


def test_the_table_of_targets_is_that_of_the_codecs() -> None:
    assert set(targets.DECODED) == set(decode.DECODERS)
    assert set(targets.COMPRESSED) | set(targets.NATIVE) <= set(encode.ENCODERS)


# ------------------------------------------------------------------------------------------------------ native frames


def test_planes_are_put_together() -> None:
    picture = replace(a_picture(3, 4, (16, 16, 0, 3)), planar_configuration=1)
    planes = np.arange(36, dtype="<u2").reshape(3, 12)
    assert bytes(decode.decode(picture, bytearray(planes.tobytes()))) == planes.T.tobytes()
    assert picture.decoded.planar_configuration == 0


def test_shared_colour_differences_are_given_to_each_pixel() -> None:
    picture = replace(a_picture(1, 4, (8, 8, 0, 3)), photometric_interpretation="YBR_FULL_422")
    assert picture.frame_length == 8
    out = bytes(decode.decode(picture, bytearray((1, 2, 90, 91, 3, 4, 92, 93))))
    assert out == bytes((1, 90, 91, 2, 90, 91, 3, 92, 93, 4, 92, 93))
    assert picture.decoded.photometric_interpretation == "YBR_FULL"
    assert picture.decoded.frame_length == 12


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"])
@pytest.mark.parametrize("bits", [1, 8, 16, 32])
def test_frames_encapsulated_without_a_codec(syntax: str, bits: int) -> None:
    picture = Picture(syntax, 5, 7, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1)
    octets = bytearray(np.random.default_rng(3).integers(0, 256, picture.frame_length, np.uint8).tobytes())
    if bits == 1:
        octets[-1] &= 0b111
    encoded = encode.ENCODERS[syntax](picture.decoded, bytes(octets), 0)
    assert bytes(decode.decode(picture, bytearray(encoded) + b"\0")) == bytes(octets)


# ---------------------------------------------------------------------------------------------------- what is refused


def a_stream(syntax: str) -> tuple[Picture, bytes]:
    picture = a_picture(64, 64, (16, 12, 0, 1) if syntax == targets.JPEG_EXTENDED else (8, 8, 0, 1))
    return targets.encoded(picture, syntax), encode.encode(picture, noise(picture).tobytes(), syntax)


@pytest.mark.parametrize("syntax", targets.COMPRESSED)
def test_G32_streams_cut_short_or_changed_are_undecodable_or_wrong_pixels(syntax: str) -> None:
    picture, made = a_stream(syntax)
    rng = np.random.default_rng(5)
    streams = [made[:at] for at in (0, 1, 3, 20, 64, len(made) // 2)]
    for _ in range(40):
        changed = bytearray(made)
        changed[int(rng.integers(0, min(200, len(made))))] = int(rng.integers(0, 256))
        streams.append(bytes(changed))
    for stream in streams:
        try:
            out = decode.decode(picture, bytearray(stream))
        except Undecodable:
            continue
        assert len(out) == picture.frame_length


@pytest.mark.parametrize("syntax", [targets.JPEG_LS, targets.JPEG_2000, targets.HTJ2K, targets.JPEG_LOSSLESS])
def test_G32_a_stream_of_another_size_is_not_decoded(syntax: str) -> None:
    picture, made = a_stream(syntax)
    for told in (replace(picture, rows=63), replace(picture, columns=65), replace(picture, samples_per_pixel=3)):
        with pytest.raises(Undecodable, match="another size"):
            decode.decode(told, bytearray(made))


def test_more_bits_than_are_allocated_are_undecodable() -> None:
    picture = a_picture(16, 16, (16, 16, 0, 1))
    made = encode.encode(picture, noise(picture).tobytes(), targets.JPEG_2000)
    told = replace(picture, transfer_syntax=targets.JPEG_2000, bits_allocated=8, bits_stored=8)
    with pytest.raises(Undecodable):
        decode.decode(told, bytearray(made))


def test_G32_an_rle_bomb_is_bounded() -> None:
    picture = replace(a_picture(64, 64, (8, 8, 0, 1)), transfer_syntax=RLE)
    bomb = bytearray((1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\x81\0" * (1 << 20))
    with pytest.raises(Undecodable):
        decode.decode(picture, bomb)


def test_G32_a_deflate_bomb_is_bounded() -> None:
    picture = replace(a_picture(64, 64, (8, 8, 0, 1)), transfer_syntax="1.2.840.10008.1.2.8.1")
    bomb = encode.ENCODERS["1.2.840.10008.1.2.8.1"](picture, bytes(64 << 20), 0)
    assert len(decode.decode(picture, bytearray(bomb))) == 4096


def test_an_unknown_or_video_syntax_is_undecodable() -> None:
    for syntax in ("1.2.3.4", "1.2.840.10008.1.2.4.102"):
        with pytest.raises(Undecodable):
            decode.decode(replace(a_picture(4, 4, (8, 8, 0, 1)), transfer_syntax=syntax), bytearray(10))


# ------------------------------------------------------------------------------------------------------- the attributes


def members(**changed: Any) -> dict[str, Any]:
    values = {
        "00280002": 1, "00280004": "MONOCHROME2", "00280010": 4, "00280011": 5,
        "00280100": 16, "00280101": 12, "00280102": 11, "00280103": 1,
    } | changed  # fmt: skip
    return {tag: {"Value": [value]} for tag, value in values.items() if value is not None}


def test_a_picture_of_the_attributes() -> None:
    assert from_json(members(), EXPLICIT_LE) == Picture(
        EXPLICIT_LE, 4, 5, 1, "MONOCHROME2", 0, 16, 12, 11, 1, "integer"
    )
    assert from_json(members(**{"00280101": None, "00280102": None}), EXPLICIT_LE).bits_stored == 16
    assert from_json(members(**{"00280100": None}), EXPLICIT_LE, 0x7FE00008).kind == "float"
    assert from_json(members(**{"00280100": None}), EXPLICIT_LE, 0x7FE00009).bits_allocated == 64


@pytest.mark.parametrize(
    "changed",
    [{"00280010": None}, {"00280011": 0}, {"00280100": 0}, {"00280100": 7}, {"00280101": 17}, {"00280002": 0},
     {"00280010": "four"}, {"00280010": -1}],
)  # fmt: skip
def test_attributes_without_sense_are_undecodable(changed: dict[str, Any]) -> None:
    with pytest.raises(Undecodable):
        from_json(members(**changed), EXPLICIT_LE)


def test_G31_dimensions_that_overflow_are_over_the_limit() -> None:
    for changed in ({"00280010": 65535, "00280011": 65535}, {"00280010": 8192, "00280011": 8192, "00280002": 255}):
        with pytest.raises(LimitExceeded) as caught:
            from_json(members(**changed), EXPLICIT_LE)
        assert caught.value.limit == "frame_pixels"
