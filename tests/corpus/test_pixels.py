"""Every frame of every file with pixels, decoded by us and by a decoder that shares no code with ours, or at least is
built by others: DCMTK for JPEG and JPEG-LS, pydicom for RLE, GDCM for JPEG 2000, OpenJPH's and libjxl's own tools."""

from __future__ import annotations

import csv
import importlib
import io
import os
import pickle
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from imagecodecs import jpeg2k_decode
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.rle import _rle_decode_frame

from app.dicom.header import BULK_MARK, FRAGMENTED, FRAME_ENTRY, Header
from app.dicom.octets import ItemStripper, shift_bits, swap_words
from app.dicom.part10 import HeaderReader
from app.dicom.transfer_syntaxes import RLE, transfer_syntax
from app.errors import NotAcceptable, Refused, Undecodable
from app.pixels import decode, encode, targets
from app.pixels.picture import Picture, from_json
from tests.support.stored import encode as written
from tests.testdata.fixtures import CorpusFile

gdcm: Any = importlib.import_module("gdcm")
UNDECODABLE = Path(__file__).with_name("undecodable.csv")
MOST_UNDECODABLE = 0.02
Array = NDArray[Any]


def image_of(path: Path) -> tuple[Header, Picture, bytes] | None:
    """What the archive knows of a file with frames that are no video; None for others, and for what is not whole, which
    the other decoders refuse."""
    data = path.read_bytes()
    reader = HeaderReader()
    try:
        reader.feed(data)
        header = reader.finish()
    except Refused:
        return None
    if header.frames.kind == "none" or header.broken_off or transfer_syntax(header.transfer_syntax).video:
        return None
    members = orjson.loads(header.json.replace(BULK_MARK.encode(), b""))
    return header, from_json(members, header.transfer_syntax, header.frames.tag), data


def stored_frames(header: Header, data: bytes) -> Iterator[bytes]:
    """The encoded frames, as the archive hands them to the codecs."""
    frames = header.frames
    row = transfer_syntax(header.transfer_syntax)
    if frames.kind == "encapsulated":
        for at in range(frames.count):
            offset, length = FRAME_ENTRY.unpack_from(frames.table, FRAME_ENTRY.size * at)
            span = data[offset & ~FRAGMENTED :][:length]
            yield b"".join(ItemStripper().feed(span)) if offset & FRAGMENTED else span
        return
    if row.deflated:
        return
    value = data[frames.offset : frames.offset + frames.length]
    value = swap_words(value, frames.word) if row.big_endian and frames.word > 1 else value
    for at in range(frames.count):
        begin = at * frames.frame_bits
        piece = value[begin // 8 : (begin + frames.frame_bits + 7) // 8]
        yield shift_bits(piece, begin % 8, frames.frame_bits) if frames.frame_bits % 8 else piece


def samples(picture: Picture, frames: bytes) -> Array:
    if picture.bits_allocated == 1:
        return np.unpackbits(np.frombuffer(frames, np.uint8), bitorder="little")
    return np.frombuffer(frames, f"<u{picture.bits_allocated // 8}")


# ------------------------------------------------------------------------------------------------------------- oracles


def by_dcmtk(*command: str) -> Callable[[Path, Picture, list[bytes]], Array | None]:
    def decoded(path: Path, picture: Picture, frames: list[bytes]) -> Array | None:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.dcm"
            made = subprocess.run([*command, str(path), str(out)], capture_output=True)
            if made.returncode or not out.exists():
                return None
            one = dcmread(out)
        value = np.frombuffer(one.PixelData, f"<u{one.BitsAllocated // 8}")
        value = value[: len(frames) * picture.rows * picture.columns * picture.samples_per_pixel]
        if picture.samples_per_pixel == 3 and one.PlanarConfiguration:
            value = value.reshape(len(frames), 3, -1).swapaxes(1, 2).ravel()
        return value

    return decoded


def by_gdcm(path: Path, picture: Picture, frames: list[bytes]) -> Array | None:
    """In a process of its own: it does not survive every file."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            with os.fdopen(write, "wb") as out:
                pickle.dump(_gdcm(path), out)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as source:
        given = source.read()
    os.waitpid(child, 0)
    value = pickle.loads(given) if given else None
    return None if value is None else np.frombuffer(value, f"<u{picture.bits_allocated // 8}")


def _gdcm(path: Path) -> bytes | None:
    gdcm.Trace.SetDebug(False)
    gdcm.Trace.SetWarning(False)
    gdcm.Trace.SetError(False)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        return None
    value: bytes = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    return value


def by_pydicom(path: Path, picture: Picture, frames: list[bytes]) -> Array | None:
    found = []
    for frame in frames:
        planes = _rle_decode_frame(
            frame, picture.rows, picture.columns, picture.samples_per_pixel, picture.bits_allocated
        )
        value = np.frombuffer(planes, np.uint8).reshape(picture.samples_per_pixel, -1, picture.bits_allocated // 8)
        found.append(value.swapaxes(0, 1).tobytes())
    return np.frombuffer(b"".join(found), f"<u{picture.bits_allocated // 8}")


def by_tool(*command: str, suffix: str) -> Callable[[Path, Picture, list[bytes]], Array | None]:
    """A codec's own command, which writes PGM, or PPM when there are colours."""

    def decoded(path: Path, picture: Picture, frames: list[bytes]) -> Array | None:
        found = []
        for frame in frames:
            with tempfile.TemporaryDirectory() as folder:
                source, out = (
                    Path(folder) / f"in{suffix}",
                    Path(folder) / ("out.ppm" if picture.samples_per_pixel == 3 else "out.pgm"),
                )
                source.write_bytes(frame)
                line = [part.format(source=source, out=out) for part in command]
                if subprocess.run(line, capture_output=True).returncode:
                    return None
                found.append(_pgm(out.read_bytes()).astype(f"<u{picture.bits_allocated // 8}").tobytes())
        return np.frombuffer(b"".join(found), f"<u{picture.bits_allocated // 8}")

    return decoded


def _pgm(content: bytes) -> Array:
    """The samples of a binary PGM or PPM file, most significant byte first."""
    kind, columns, rows, most = content.split(maxsplit=4)[:4]
    count = int(columns) * int(rows) * {b"P5": 1, b"P6": 3}[kind]
    wide = int(most) > 255
    found = np.frombuffer(content[-count * (1 + wide) :], ">u2" if wide else np.uint8)
    return _narrowed(found, int(most)) if wide else found


def _narrowed(found: Array, most: int) -> Array:
    """djxl 0.7 tells the depth of the picture, and writes samples stretched to 16 bits, as floats of 32 bits give them;
    later ones write them as told."""
    narrow = np.rint(found * (most / 65535))
    is_stretched = bool((np.abs(narrow * (65535 / most) - found) < 1).all())
    return narrow.astype(np.uint16) if is_stretched else found


_J = "1.2.840.10008.1.2.4."
OJPH = by_tool("ojph_expand", "-i", "{source}", "-o", "{out}", suffix=".j2c")


def by_openjph(path: Path, picture: Picture, frames: list[bytes]) -> Array | None:
    """Its own command, or for signed samples, which PGM does not have, OpenJPEG."""
    if not picture.pixel_representation:
        return OJPH(path, picture, frames)
    return np.concatenate([jpeg2k_decode(frame).ravel() for frame in frames]).view(f"<u{picture.bits_allocated // 8}")


ORACLES: dict[str, Callable[[Path, Picture, list[bytes]], Array | None]] = {
    RLE: by_pydicom,
    **{_J + end: by_dcmtk("dcmdjpeg") for end in "50 51 53 55".split()},
    **{_J + end: by_dcmtk("dcmdjpeg", "+cl") for end in "57 70".split()},
    **{_J + end: by_dcmtk("dcmdjpls") for end in "80 81".split()},
    **{_J + end: by_gdcm for end in "90 91 92 93".split()},
    **{_J + end: by_openjph for end in "201 202 203".split()},
    **{_J + end: by_tool("djxl", "{source}", "{out}", suffix=".jxl") for end in "110 111 112".split()},
}


def difference(picture: Picture, ours: Array, theirs: Array) -> int:
    """The largest, in the bits that are stored."""
    if ours.size != theirs.size:
        return 1 << 32
    mask = (1 << picture.bits_stored) - 1
    sign = (1 << (picture.bits_stored - 1)) * picture.pixel_representation  # so that -1 stands beside 0
    apart = np.abs(((ours & mask) ^ sign).astype(np.int64) - ((theirs & mask) ^ sign).astype(np.int64))
    return int(apart.max(initial=0))


# --------------------------------------------------------------------------------------------------------------- tests


def known_undecodable() -> dict[str, str]:
    with UNDECODABLE.open(newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def test_every_frame_is_as_others_decode_it(corpus: list[CorpusFile]) -> None:
    wrong, failed, compared, total = [], [], 0, 0
    for file in corpus:
        if (found := image_of(file.path)) is None:
            continue
        header, picture, data = found
        total += 1
        encoded = list(stored_frames(header, data))
        try:
            ours = [bytes(decode.decode(picture, bytearray(frame))) for frame in encoded]
        except Undecodable:
            failed.append(file.name)
            continue
        assert all(len(frame) == picture.decoded.frame_length for frame in ours), file.name
        if header.frames.kind != "encapsulated" or header.transfer_syntax not in ORACLES:
            continue
        theirs = ORACLES[header.transfer_syntax](file.path, picture, encoded)
        if theirs is None:
            theirs = by_gdcm(file.path, picture, encoded)
        apart = -1 if theirs is None else difference(picture, samples(picture, b"".join(ours)), theirs)
        compared += 1
        if apart not in (0, 1 if transfer_syntax(header.transfer_syntax).lossy else 0):
            wrong.append((file.name, apart))
    assert wrong == [], wrong
    assert sorted(failed) == sorted(known_undecodable())
    assert len(failed) <= MOST_UNDECODABLE * total
    assert compared >= 70, "compressed files of every kind are there"


def test_what_we_cannot_decode_nobody_can(corpus: list[CorpusFile]) -> None:
    by_name = {file.name: file for file in corpus}
    for name in known_undecodable():
        found = image_of(by_name[name].path)
        assert found is not None
        header, picture, data = found
        frames = list(stored_frames(header, data))
        assert by_gdcm(by_name[name].path, picture, frames) is None
        with pytest.raises((OSError, Image.DecompressionBombError)), Image.open(io.BytesIO(frames[0])) as image:
            image.load()


def test_what_we_encode_others_decode(corpus: list[CorpusFile], tmp_path: Path) -> None:
    """One file of each kind of pixels, in each lossless syntax."""
    kinds: set[tuple[object, ...]] = set()
    for file in corpus:
        if (found := image_of(file.path)) is None:
            continue
        header, picture, data = found
        decoded = picture.decoded
        kind = (
            decoded.samples_per_pixel, decoded.bits_allocated, decoded.bits_stored, decoded.pixel_representation,
            decoded.photometric_interpretation,
        )  # fmt: skip
        encoded = next(stored_frames(header, data), b"")
        if kind in kinds or not encoded or header.frames.count > 1 or file.name in known_undecodable():
            continue
        kinds.add(kind)
        native = bytes(decode.decode(picture, bytearray(encoded)))
        for syntax in (one for one in targets.COMPRESSED if targets.holds(decoded, one)):
            check_encoded(tmp_path, decoded, native, syntax, file.name)
    assert len(kinds) >= 10


def check_encoded(folder: Path, picture: Picture, native: bytes, syntax: str, name: str) -> None:
    if transfer_syntax(syntax).lossy and has_more_bits(picture, native):
        with pytest.raises(NotAcceptable):
            encode.encode(picture, native, syntax)
        return
    frame = encode.encode(picture, native, syntax)
    told = targets.encoded(picture, syntax)
    path = folder / "made.dcm"
    path.write_bytes(a_file(told, frame))
    theirs = ORACLES[syntax](path, told, [frame])
    assert theirs is not None, (name, syntax)
    if transfer_syntax(syntax).lossy:
        native = bytes(decode.decode(told, bytearray(frame)))
    # Floats are rounded in another order, which is more than one of 65,536 shades.
    allowed = (1 + (1 << picture.bits_stored) // 16384) * transfer_syntax(syntax).lossy
    assert difference(told, samples(told, native), theirs) <= allowed, (name, syntax, picture)


def has_more_bits(picture: Picture, native: bytes) -> bool:
    """Whether something, an overlay say, stands in bits above those of the samples."""
    unused = picture.bits_allocated - picture.bits_stored
    kind = "<i" if picture.pixel_representation else "<u"
    found = np.frombuffer(native, f"{kind}{picture.bits_allocated // 8}")
    return bool(((found << unused) >> unused != found).any())


def a_file(picture: Picture, frame: bytes) -> bytes:
    """A Part 10 file of one frame."""
    one = Dataset()
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    one.SOPInstanceUID = "1.2.3"
    one.SamplesPerPixel = picture.samples_per_pixel
    one.PhotometricInterpretation = picture.photometric_interpretation.replace("PALETTE COLOR", "MONOCHROME2")
    if picture.samples_per_pixel > 1:
        one.PlanarConfiguration = 0
    one.Rows, one.Columns = picture.rows, picture.columns
    one.BitsAllocated, one.BitsStored, one.HighBit = picture.bits_allocated, picture.bits_stored, picture.high_bit
    one.PixelRepresentation = picture.pixel_representation
    one.add_new(0x7FE00010, "OB", encapsulate([frame], has_bot=False))
    one["PixelData"].is_undefined_length = True
    return written(one, picture.transfer_syntax)
