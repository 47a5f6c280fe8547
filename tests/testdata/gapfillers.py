"""Files for transfer syntaxes and character sets that no package carries, by Debian's codecs where installed."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import UID

Add = Callable[[str, str, bytes], None]

ROOT = "1.2.826.0.1.3680043.8.498.7331."
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
VIDEO_ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
_J = "1.2.840.10008.1.2.4."
_X264 = ("-c:v", "libx264", "-profile:v", "high", "-level", "4.1", "-pix_fmt", "yuv420p")

STILLS = (
    # syntax, name, encoder with its arguments (IN and OUT are replaced), suffix, colour, photometric interpretation
    (_J + "201", "htj2k_lossless", "ojph_compress -i IN -o OUT -reversible true", "j2c", False, "MONOCHROME2"),
    (
        _J + "202",
        "htj2k_lossless_rpcl",
        "ojph_compress -i IN -o OUT -reversible true -prog_order RPCL -colour_trans true",
        "j2c",
        True,
        "YBR_RCT",
    ),
    (_J + "203", "htj2k", "ojph_compress -i IN -o OUT -reversible false -qstep 0.01", "j2c", False, "MONOCHROME2"),
    (_J + "110", "jpegxl_lossless", "cjxl IN OUT -d 0", "jxl", True, "RGB"),
    (_J + "112", "jpegxl", "cjxl IN OUT -d 1", "jxl", True, "RGB"),
)
VIDEOS = (
    # syntax, name, arguments of ffmpeg, suffix, bits stored
    (_J + "100", "mpeg2_main_main", ("-c:v", "mpeg2video", "-pix_fmt", "yuv420p", "-f", "mpegts"), "ts", 8),
    (_J + "102", "mpeg4_avc_high41", _X264, "mp4", 8),
    (_J + "103", "mpeg4_avc_bd", (*_X264, "-f", "mpegts"), "ts", 8),
    (_J + "107", "hevc_main51", ("-c:v", "libx265", "-pix_fmt", "yuv420p"), "mp4", 8),
    (_J + "108", "hevc_main10_51", ("-c:v", "libx265", "-pix_fmt", "yuv420p10le"), "mp4", 10),
)
NAMES = {
    # Specific Character Set (PS3.3 C.12.1.1.2) and a name in that script
    "": "Plain^Ascii",
    "ISO_IR 100": "Äneas^Rüdiger",
    "ISO_IR 101": "Wałęsa^Łukasz",
    "ISO_IR 109": "Ĉarlo^Ĵeĥo",
    "ISO_IR 110": "Āboliņš^Ģirts",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 148": "Çavuşoğlu^Şükrü",
    "ISO_IR 203": "Œuvre^Žižka",
    "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "ISO_IR 166": "นามสกุล^ชื่อ",
    "ISO_IR 192": "Wang^XiaoDong=王^小東=",
    "GB18030": "Wang^XiaoDong=王^小东=",
    "GBK": "Wang^XiaoDong=王^小东=",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "\\ISO 2022 IR 58": "Zhang^XiaoDong=张^小东=",
    "\\ISO 2022 IR 159": "Test^Sup=丂^丂=",
    "ISO 2022 IR 6\\ISO 2022 IR 100": "Müller^Jürgen",
    "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126": "Dionysios=Διονυσιος=Люкceмбypг",
}


def generate(add: Add) -> None:
    """Hands every file that can be made to `add` as (source, name, bytes)."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (*_stills(Path(folder)), *_videos(Path(folder))):
            add("gap", name, data)
    for name, data in _charsets():
        add("charset", name, data)
    for name, data in _structured_reports():
        add("gap", name, data)


def _image(number: int, sop_class: str, syntax: str, photometric: str, rows: int = 128, columns: int = 160) -> Dataset:
    instance = f"{ROOT}4.{number}"
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.ImplementationClassUID = UID(ROOT + "1")
    ds.preamble = bytes(128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, instance
    ds.StudyInstanceUID, ds.SeriesInstanceUID = ROOT + "2.1", f"{ROOT}3.{number}"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Gap^Filler", "GAP-1", "", ""
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20240229", "235959", "G1", "GAPACC1"
    ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", "OT", number, 1
    ds.ConversionType = "SYN"
    ds.Rows, ds.Columns, ds.PhotometricInterpretation = rows, columns, photometric
    colour = photometric != "MONOCHROME2"
    ds.SamplesPerPixel = 3 if colour else 1
    if colour:
        ds.PlanarConfiguration = 0
    _bits(ds, 8)
    return ds


def _bits(ds: Dataset, bits: int) -> None:
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16 if bits > 8 else 8, bits, bits - 1, 0


def _encapsulated(ds: Dataset, stream: bytes, offset_table: bool) -> bytes:
    ds.PixelData = encapsulate([stream], has_bot=offset_table)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    out = io.BytesIO()
    # forced, since pydicom knows no JPEG XL UIDs
    pydicom.dcmwrite(out, ds, implicit_vr=False, little_endian=True, force_encoding=True)
    return out.getvalue()


def _run(command: list[str], out: Path) -> bytes:
    """What an encoder writes to `out`; empty when it is not installed or fails."""
    if not shutil.which(command[0]):
        return b""
    subprocess.run(command, capture_output=True, check=False)
    return out.read_bytes() if out.exists() else b""


def _stills(folder: Path) -> Iterator[tuple[str, bytes]]:
    y, x = np.mgrid[0:128, 0:160]
    grey, colour = folder / "grey.pgm", folder / "colour.ppm"
    grey.write_bytes(b"P5\n160 128\n4095\n" + ((x * 20 + y * 7) % 4096).astype(">u2").tobytes())
    planes = np.stack([x * 255 // 160, y * 255 // 128, (x + y) % 256], -1)
    colour.write_bytes(b"P6\n160 128\n255\n" + planes.astype("u1").tobytes())
    for number, (syntax, name, command, suffix, is_colour, photometric) in enumerate(STILLS, 1):
        out = folder / f"{name}.{suffix}"
        names = {"IN": str(colour if is_colour else grey), "OUT": str(out)}
        stream = _run([names.get(word, word) for word in command.split()], out)
        if stream:
            ds = _image(number, SECONDARY_CAPTURE, syntax, photometric)
            _bits(ds, 8 if is_colour else 12)
            yield name + ".dcm", _encapsulated(ds, stream, offset_table=True)


def _videos(folder: Path) -> Iterator[tuple[str, bytes]]:
    start = "ffmpeg -loglevel error -y -f lavfi -i testsrc=size=160x128:rate=25:duration=1 -fflags +bitexact".split()
    for number, (syntax, name, arguments, suffix, bits) in enumerate(VIDEOS, len(STILLS) + 1):
        out = folder / f"{name}.{suffix}"
        stream = _run([*start, *arguments, str(out)], out)
        if stream:
            ds = _image(number, VIDEO_ENDOSCOPIC, syntax, "YBR_PARTIAL_420")
            _bits(ds, bits)
            ds.NumberOfFrames, ds.Modality, ds.CineRate, ds.FrameTime = 25, "ES", 25, "40"
            ds.FrameIncrementPointer = 0x00181063
            yield name + ".dcm", _encapsulated(ds, stream, offset_table=False)


def _charsets() -> Iterator[tuple[str, bytes]]:
    for index, (charset, name) in enumerate(NAMES.items()):
        ds = _image(100 + index, SECONDARY_CAPTURE, EXPLICIT_LE, "MONOCHROME2", rows=4, columns=4)
        ds.SpecificCharacterSet = charset.split("\\") if "\\" in charset else charset
        if not charset:
            del ds.SpecificCharacterSet
        ds.PatientName, ds.PatientID = name, f"CS-{index:02d}"
        ds.StudyInstanceUID = f"{ROOT}2.{100 + index}"
        ds.StudyDescription = name.replace("^", " ").replace("=", "/")
        if charset.endswith("IR 58"):
            _escape_each_component(ds)
        ds.PixelData = bytes(16)
        ds["PixelData"].VR = "OB"
        out = io.BytesIO()
        ds.save_as(out, enforce_file_format=True)
        term = (charset or "default").replace("\\", "__").replace(" ", "_")
        yield f"cs_{index:02d}_{term}.dcm", out.getvalue()


def _escape_each_component(ds: Dataset) -> None:
    """By hand: in GB 2312 each name component needs its own escape sequence (PS3.5 Annex K)."""
    escape = b"\x1b$)A"
    name = b"Zhang^XiaoDong=" + escape + "张".encode("gb2312") + b"^" + escape + "小东".encode("gb2312") + b"="
    ds[0x00100010] = RawDataElement(Tag(0x00100010), "PN", len(name), name, 0, False, True)
    ds.StudyDescription = "charset"


def _structured_reports() -> Iterator[tuple[str, bytes]]:
    """Deflated and big-endian variants of a structured report, which are rarely found."""
    variants = (("sr_deflated.dcm", EXPLICIT_LE + ".99"), ("sr_bigendian.dcm", "1.2.840.10008.1.2.2"))
    for number, (name, syntax) in enumerate(variants, 1):
        source = Path(pydicom.__file__).parent / "data" / "test_files" / "test-SR.dcm"
        ds = pydicom.dcmread(source)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}5.{number}")
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        list(ds.iterall())  # decode each value before its byte order changes
        out = io.BytesIO()
        pydicom.dcmwrite(out, ds, implicit_vr=False, little_endian=number == 1, force_encoding=True)
        yield name, out.getvalue()
