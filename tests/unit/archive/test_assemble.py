"""Metadata with bulk data parts, judged by dciodvfy, pydicom and the decoders of others (PS3.18 10.5.1, 10.5.2)."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pydicom
import pytest
from PIL import Image, ImageDraw
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import generate_uid

from app.archive.assemble import DICOM_JSON, DICOM_XML, Assembly
from app.dicom.limits import DEFAULT, Limits
from app.dicom.xml_model import to_xml
from app.errors import BadRequest, LimitExceeded, Refused, TransferSyntaxRefused, Unreadable, UnsupportedMediaType

Json = dict[str, Any]
Judge = Callable[[bytes], list[str]]
Parts = list[tuple[str, str, bytes]]
"""Content-Type, Content-Location and content of each bulk data part."""

J = "1.2.840.10008.1.2.4."


@pytest.fixture
def dciodvfy(tmp_path: Path) -> Judge:
    """Judges a file: the errors that dciodvfy finds."""
    assert shutil.which("dciodvfy"), "dicom3tools is not installed"

    def judge(content: bytes) -> list[str]:
        path = tmp_path / "judged.dcm"
        path.write_bytes(content)
        result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        return [line for line in result.stderr.splitlines() if line.startswith("Error")]

    return judge


def _attribute(vr: str, *values: object) -> Json:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def _metadata(sop_class: str, modality: str, **more: Json) -> Json:
    """What every composite object has, and `more` by tag."""
    return {
        "00080016": _attribute("UI", sop_class),
        "00080018": _attribute("UI", generate_uid(None)),
        "00080020": _attribute("DA", "20240131"),
        "00080030": _attribute("TM", "101112"),
        "00080050": _attribute("SH"),
        "00080060": _attribute("CS", modality),
        "00080070": _attribute("LO", "Fileroom"),
        "00080090": _attribute("PN"),
        "00100010": _attribute("PN", {"Alphabetic": "Æsir^Ødin", "Ideographic": "山田^太郎"}),
        "00100020": _attribute("LO", "4711"),
        "00100030": _attribute("DA"),
        "00100040": _attribute("CS"),
        "0020000D": _attribute("UI", generate_uid(None)),
        "0020000E": _attribute("UI", generate_uid(None)),
        "00200010": _attribute("SH"),
        "00200011": _attribute("IS", 1),
        "00200013": _attribute("IS", 1),
        "00200060": _attribute("CS"),
        **{tag.lstrip("_"): value for tag, value in more.items()},
    }


def _secondary_capture(**more: Json) -> Json:
    return _metadata(
        "1.2.840.10008.5.1.4.1.1.7",
        "OT",
        _00080008=_attribute("CS", "DERIVED", "SECONDARY"),
        _00080064=_attribute("CS", "WSD"),
        _00200020=_attribute("CS"),
        _7FE00010={"vr": "OB", "BulkDataURI": "bulk/1"},
        **more,
    )


def _assemble(
    metadata: Json | list[Json],
    parts: Parts,
    spool: Path,
    *,
    limits: Limits = DEFAULT,
    base: str = "http://h/studies",
    xml: bool = False,
) -> list[bytes | Refused]:
    data_sets = metadata if isinstance(metadata, list) else [metadata]
    with Assembly(limits, spool, base) as assembly:
        documents = [to_xml(data_set) for data_set in data_sets] if xml else [orjson.dumps(data_sets)]
        for document in documents:
            assembly.part(DICOM_XML if xml else DICOM_JSON, {}, "")
            assembly.data(document)
            assembly.end()
        for content_type, location, content in parts:
            media_type, _, syntax = content_type.partition("; transfer-syntax=")
            assembly.part(media_type, {"transfer-syntax": syntax} if syntax else {}, location)
            for at in range(0, len(content), 65536):
                assembly.data(content[at : at + 65536])
            assembly.end()
        results: list[bytes | Refused] = []
        for assembled in assembly.instances():
            content_or_refusal = assembled.content
            if isinstance(content_or_refusal, Refused):
                results.append(content_or_refusal)
            else:
                results.append(b"".join(content_or_refusal))
        return results


def _file(metadata: Json, parts: Parts, spool: Path, *, xml: bool = False) -> bytes:
    (result,) = _assemble(metadata, parts, spool, xml=xml)
    if isinstance(result, Refused):
        raise result
    return result


def _read(content: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(content))


def _photograph(mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (53, 37))
    draw = ImageDraw.Draw(image)
    for step in range(10):
        colour = (step * 25, 255 - step * 20, step * 10) if mode == "RGB" else step * 25
        draw.ellipse((step * 4, step * 3, step * 4 + 12, step * 3 + 9), fill=colour)
    return image


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("xml", [False, True], ids=["json", "xml"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}], ids=["444", "422"])
def test_secondary_capture_from_jpeg(mode: str, options: Json, xml: bool, tmp_path: Path, dciodvfy: Judge) -> None:
    jpeg = _encoded(_photograph(mode), "JPEG", quality=90, **options)
    content = _file(_secondary_capture(), [("image/jpeg", "bulk/1", jpeg)], tmp_path, xml=xml)
    assert dciodvfy(content) == []
    data_set = _read(content)
    assert data_set.file_meta.TransferSyntaxUID == J + "50"
    assert (data_set.Rows, data_set.Columns, data_set.SamplesPerPixel) == (37, 53, 3 if mode == "RGB" else 1)
    assert (data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation) == (8, 8, 7, 0)
    assert data_set.PhotometricInterpretation == ("MONOCHROME2" if mode == "L" else "YBR_FULL_422")
    assert (data_set.LossyImageCompression, data_set.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(data_set.LossyImageCompressionRatio) == pytest.approx(
        37 * 53 * data_set.SamplesPerPixel / len(jpeg), abs=0.01
    )
    assert str(data_set.PatientName) == "Æsir^Ødin=山田^太郎"
    assert data_set.SpecificCharacterSet == "ISO_IR 192"
    (frame,) = generate_frames(data_set.PixelData, number_of_frames=1)
    assert frame.rstrip(b"\0") == jpeg.rstrip(b"\0")
    decoded = np.asarray(Image.open(io.BytesIO(jpeg)))
    assert np.array_equal(data_set.pixel_array, decoded if mode == "L" else np.asarray(Image.open(io.BytesIO(frame))))


@pytest.mark.parametrize(
    ("irreversible", "media", "syntax", "photometric"),
    [(False, "image/jp2", J + "90", "YBR_RCT"), (True, "image/jp2", J + "91", "YBR_ICT")],
)
@pytest.mark.parametrize("boxed", [False, True], ids=["codestream", "jp2-file"])
def test_secondary_capture_from_jpeg2000(
    irreversible: bool, media: str, syntax: str, photometric: str, boxed: bool, tmp_path: Path, dciodvfy: Judge
) -> None:
    image = _photograph()
    encoded = _encoded(image, "JPEG2000", irreversible=irreversible, no_jp2=not boxed, mct=1)
    content = _file(_secondary_capture(), [(media, "bulk/1", encoded)], tmp_path)
    assert dciodvfy(content) == []
    data_set = _read(content)
    assert data_set.file_meta.TransferSyntaxUID == syntax
    assert data_set.PhotometricInterpretation == photometric
    assert ("LossyImageCompression" in data_set) is irreversible
    (frame,) = generate_frames(data_set.PixelData, number_of_frames=1)
    assert frame.startswith(b"\xff\x4f\xff\x51")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(frame))), np.asarray(Image.open(io.BytesIO(encoded))))


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls"),
        ("JPEGLSNearLossless_16.dcm", "image/jls"),
        ("JPGExtended.dcm", "image/jpeg"),
        ("MR_small_jp2klossless.dcm", "image/jp2"),
        ("JPEG2000.dcm", "image/jp2"),
    ],
)
def test_real_bit_streams_tell_what_the_metadata_left_out(name: str, media: str, tmp_path: Path) -> None:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    original = pydicom.dcmread(path)
    (frame,) = generate_frames(original.PixelData, number_of_frames=1)
    metadata = _secondary_capture()
    if original.PixelRepresentation:
        metadata["00280103"] = _attribute("US", 1)  # a JPEG-LS stream does not tell the sign
    derived = _read(_file(metadata, [(media, "bulk/1", frame)], tmp_path))
    assert derived.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"):
        assert derived[keyword].value == original[keyword].value, keyword
    assert derived.PhotometricInterpretation == original.PhotometricInterpretation
    assert list(generate_frames(derived.PixelData, number_of_frames=1)) == [frame]


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("GIF", "RGB")])
def test_secondary_capture_from_consumer_images(kind: str, mode: str, tmp_path: Path, dciodvfy: Judge) -> None:
    image = _photograph(mode).quantize(32).convert(mode)
    encoded = _encoded(image, kind)
    content = _file(_secondary_capture(), [(f"image/{kind.lower()}", "bulk/1", encoded)], tmp_path)
    assert dciodvfy(content) == []
    data_set = _read(content)
    assert data_set.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert np.array_equal(data_set.pixel_array, np.asarray(image))
    assert "LossyImageCompression" not in data_set


@pytest.mark.parametrize(
    "change",
    [
        {"00280004": _attribute("CS", "YBR_FULL")},
        {"00280100": _attribute("US", 16)},
        {"00280006": _attribute("US", 1)},
        {"00280010": _attribute("US", 38)},
        {"00280008": _attribute("IS", 3)},
    ],
)
def test_consumer_images_that_the_metadata_contradict(change: Json, tmp_path: Path) -> None:
    part = ("image/png", "bulk/1", _encoded(_photograph(), "PNG"))
    (refused,) = _assemble({**_secondary_capture(), **change}, [part], tmp_path)
    assert isinstance(refused, Unreadable)


def _ct(pixels: np.ndarray[Any, Any], **more: Json) -> Json:
    return _metadata(
        "1.2.840.10008.5.1.4.1.1.2",
        "CT",
        _00080008=_attribute("CS", "ORIGINAL", "PRIMARY", "AXIAL"),
        _00180060=_attribute("DS", 120),
        _00185100=_attribute("CS", "HFS"),
        _00180050=_attribute("DS", 2.5),
        _00200012=_attribute("IS", 1),
        _00200032=_attribute("DS", -158.135803, -179.035797, -75.699997),
        _00200037=_attribute("DS", 1, 0, 0, 0, 1, 0),
        _00200052=_attribute("UI", generate_uid(None)),
        _00201040=_attribute("LO"),
        _00280002=_attribute("US", 1),
        _00280004=_attribute("CS", "MONOCHROME2"),
        _00280010=_attribute("US", pixels.shape[0]),
        _00280011=_attribute("US", pixels.shape[1]),
        _00280030=_attribute("DS", 0.661468, 0.661468),
        _00280100=_attribute("US", 16),
        _00280101=_attribute("US", 16),
        _00280102=_attribute("US", 15),
        _00280103=_attribute("US", 1),
        _00281052=_attribute("DS", -1024),
        _00281053=_attribute("DS", 1),
        **{"_7FE00010": {"vr": "OB", "BulkDataURI": "http://h/b?x=1"}, **more},
    )


@pytest.mark.parametrize("xml", [False, True], ids=["json", "xml"])
@pytest.mark.parametrize("inline", [False, True], ids=["bulk", "inline"])
def test_ct_from_native_pixels(inline: bool, xml: bool, tmp_path: Path, dciodvfy: Judge) -> None:
    pixels = np.random.default_rng(1).integers(-1024, 3071, (61, 47), "<i2")
    raw = pixels.tobytes()
    metadata = _ct(pixels)
    parts: Parts = [("application/octet-stream", "http://h/b?x=1", raw)]
    if inline:
        metadata["7FE00010"] = {
            "vr": "OW",
            "InlineBinary": base64.b64encode(raw).decode(),
        }
        parts = []
    content = _file(metadata, parts, tmp_path, xml=xml)
    assert dciodvfy(content) == []
    data_set = _read(content)
    assert data_set.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert data_set["PixelData"].VR == "OW"
    assert np.array_equal(data_set.pixel_array, pixels)
    assert data_set.ImagePositionPatient == [-158.135803, -179.035797, -75.699997]


def test_encapsulated_pdf(tmp_path: Path, dciodvfy: Judge) -> None:
    pdf = b"%PDF-1.4\n" + bytes(range(256)) * 40
    metadata = _metadata(
        "1.2.840.10008.5.1.4.1.1.104.1",
        "DOC",
        _00080023=_attribute("DA", "20240131"),
        _00080033=_attribute("TM", "101112"),
        _0008002A=_attribute("DT", "20240131101112"),
        _00080064=_attribute("CS", "WSD"),
        _00280301=_attribute("CS", "NO"),
        _00420010=_attribute("ST", "Report\r\nof two lines"),
        _0040A043=_attribute("SQ"),
        _00420011={"vr": "OB", "BulkDataURI": "/documents/1.pdf"},
    )
    content = _file(metadata, [("application/pdf", "/documents/1.pdf", pdf)], tmp_path)
    assert dciodvfy(content) == []
    data_set = _read(content)
    assert data_set.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert data_set.EncapsulatedDocumentLength == len(pdf)
    assert data_set.EncapsulatedDocument[: len(pdf)] == pdf


def _video(spool: Path, *arguments: str, suffix: str) -> bytes:
    assert shutil.which("ffmpeg"), "ffmpeg is not installed"
    path = spool / f"video.{suffix}"
    source = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=1", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *arguments, str(path)], check=True)
    return path.read_bytes()


_SKIN = {
    "00080100": _attribute("SH", "39937001"),
    "00080102": _attribute("SH", "SCT"),
    "00080104": _attribute("LO", "Skin"),
}
_VIDEO_METADATA: Json = {
    "_00082218": _attribute("SQ", _SKIN),
    "_00080008": _attribute("CS", "ORIGINAL", "PRIMARY"),
    "_00080023": _attribute("DA", "20240131"),
    "_00080033": _attribute("TM", "101112"),
    "_00181063": _attribute("DS", 40),
    "_00280009": _attribute("AT", "00181063"),
    "_00200020": _attribute("CS"),
    "_00400555": _attribute("SQ"),
    "_7FE00010": {"vr": "OB", "BulkDataURI": "bulk/1"},
}


@pytest.mark.parametrize(
    ("arguments", "suffix", "media", "syntax"),
    [
        (["-c:v", "libx264", "-profile:v", "high", "-level", "4.1"], "mp4", "video/mp4", "102"),
        (["-c:v", "libx264", "-profile:v", "high", "-level", "4.2"], "mp4", "video/mp4", "104"),
        (["-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1"], "mp4", "video/mp4", "107"),
        (["-c:v", "mpeg2video"], "m2v", "video/mpeg2", "100"),
    ],
)
def test_video(arguments: list[str], suffix: str, media: str, syntax: str, tmp_path: Path, dciodvfy: Judge) -> None:
    stream = _video(tmp_path, *arguments, suffix=suffix)
    metadata = _metadata("1.2.840.10008.5.1.4.1.1.77.1.4.1", "XC", **_VIDEO_METADATA)
    content = _file(metadata, [(media, "bulk/1", stream)], tmp_path)
    known = content.replace(b"1.2.4.107", b"1.2.4.102")  # dciodvfy knows no transfer syntax of H.265
    assert dciodvfy(known) == []
    data_set = _read(content)
    assert data_set.file_meta.TransferSyntaxUID == J + syntax
    assert (data_set.Rows, data_set.Columns, data_set.NumberOfFrames) == (240, 320, 25)
    assert data_set.PhotometricInterpretation == "YBR_PARTIAL_420"
    assert data_set.LossyImageCompression == "01"
    (fragment,) = pydicom.encaps.generate_fragments(data_set.PixelData[8:])
    assert fragment[: len(stream)] == stream
    assert len(fragment) == len(stream) + len(stream) % 2


def test_frames_in_parts_of_their_own(tmp_path: Path) -> None:
    frames = [_encoded(_photograph("L").rotate(90 * turn), "JPEG", quality=80 + turn) for turn in (0, 2)]
    metadata = _secondary_capture()
    parts: Parts = [("image/jpeg", "bulk/1", frame) for frame in frames]
    data_set = _read(_file(metadata, parts, tmp_path))
    assert data_set.NumberOfFrames == 2
    got = list(generate_frames(data_set.PixelData, number_of_frames=2))
    assert [frame[: len(sent)] for frame, sent in zip(got, frames, strict=True)] == frames
    offsets = pydicom.encaps.parse_basic_offsets(data_set.PixelData)
    assert offsets == [0, 8 + len(frames[0]) + len(frames[0]) % 2]


def test_rle_needs_metadata(tmp_path: Path) -> None:
    path = get_testdata_file("SC_rgb_rle_2frame.dcm")
    assert isinstance(path, str)
    original = pydicom.dcmread(path)
    frames = list(generate_frames(original.PixelData, number_of_frames=2))
    parts: Parts = [("image/dicom-rle", "bulk/1", frame) for frame in frames]
    (refusal,) = _assemble(_secondary_capture(), parts, tmp_path)
    assert isinstance(refusal, Unreadable)
    assert "SamplesPerPixel" in refusal.detail
    members = original.to_json_dict(bulk_data_threshold=64, bulk_data_element_handler=lambda element: "bulk/1")
    data_set = _read(_file(members, parts, tmp_path))
    assert np.array_equal(data_set.pixel_array, original.pixel_array)


def test_parts_may_be_shared_nested_and_come_in_any_order(tmp_path: Path) -> None:
    waveform = {"54001010": {"vr": "OW", "BulkDataURI": "w"}, "00080005": _attribute("CS", "ISO_IR 100")}
    first = _secondary_capture(_54000100={"vr": "SQ", "Value": [waveform]})
    second = _secondary_capture()
    jpeg = _encoded(_photograph(), "JPEG")
    with Assembly(DEFAULT, tmp_path, "http://h/studies") as assembly:
        for content_type, location, content in (
            ("image/jpeg", "http://h/bulk/1", jpeg),
            (DICOM_JSON, "", orjson.dumps([first, second])),
            ("application/octet-stream", "w", b"abc"),
        ):
            assembly.part(content_type, {}, location)
            assembly.data(content)
            assembly.end()
        files = [
            b"".join(assembled.content)
            for assembled in assembly.instances()
            if not isinstance(assembled.content, Refused)
        ]
    assert len(files) == 2
    item = _read(files[0])[0x5400, 0x0100].value[0]
    assert item[0x5400, 0x1010].value == b"abc\0"
    assert "SpecificCharacterSet" not in item
    assert _read(files[1]).Rows == 37


@pytest.mark.parametrize(
    ("change", "parts", "error", "told"),
    [
        ({}, [], Unreadable, "7FE00010"),
        ({}, [("image/jpeg", "bulk/2", b"x")], Unreadable, "7FE00010"),
        ({}, [("image/jpeg", "bulk/1", b"")], Unreadable, "empty"),
        ({}, [("image/jpeg", "bulk/1", b"not a JPEG")], Unreadable, "JPEG"),
        ({}, [("image/jpeg", "bulk/1", b"\xff\xd8\xff\xe0\x00\x10JFIF")], Unreadable, "broken"),
        ({}, [("image/bmp", "bulk/1", b"x")], UnsupportedMediaType, "image/bmp"),
        ({}, [("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.90", "bulk/1", b"x")], TransferSyntaxRefused, ""),
        ({}, [("application/octet-stream; transfer-syntax=1.2", "bulk/1", b"x")], TransferSyntaxRefused, ""),
        ({}, [("application/octet-stream", "bulk/1", bytes(100))], Unreadable, "SamplesPerPixel"),
        ({}, [("video/mp4", "bulk/1", bytes(100))], Unreadable, "MP4"),
        (
            {"00080018": _attribute("UI")},
            [("image/jpeg", "bulk/1", _encoded(_photograph(), "JPEG"))],
            Unreadable,
            "SOP",
        ),
        (
            {"00280010": _attribute("US", 36)},
            [("image/jpeg", "bulk/1", _encoded(_photograph(), "JPEG"))],
            Unreadable,
            "Rows",
        ),
        (
            {"00280008": _attribute("IS", 2)},
            [("image/jpeg", "bulk/1", _encoded(_photograph(), "JPEG"))],
            Unreadable,
            "Frames",
        ),
        ({}, [("image/jls", "bulk/1", _encoded(_photograph(), "JPEG"))], UnsupportedMediaType, "image/jls"),
        (
            {},
            [
                ("image/jpeg", "bulk/1", _encoded(_photograph(), "JPEG")),
                ("image/jpeg", "bulk/1", _encoded(_photograph("L"), "JPEG")),
            ],
            Unreadable,
            "differ",
        ),
        (
            {"7FE00010": {"vr": "OB"}, "00420011": {"vr": "OB", "BulkDataURI": "d"}},
            [("a/b", "d", b"1"), ("a/b", "d", b"2")],
            Unreadable,
            "00420011",
        ),
    ],
)
def test_each_instance_fails_alone(change: Json, parts: Parts, error: type[Refused], told: str, tmp_path: Path) -> None:
    good = _secondary_capture()
    good["7FE00010"] = {"vr": "OB", "BulkDataURI": "good"}
    bad = {**_secondary_capture(), **change}
    parts = [*parts, ("image/jpeg", "good", _encoded(_photograph(), "JPEG"))]
    refused, stored = _assemble([bad, good], parts, tmp_path)
    assert isinstance(refused, error)
    assert told in refused.detail
    assert isinstance(stored, bytes)
    assert _read(stored).Rows == 37


def test_pixels_that_are_too_few(tmp_path: Path) -> None:
    pixels = np.zeros((10, 10), "<i2")
    parts: Parts = [("application/octet-stream", "http://h/b?x=1", pixels.tobytes()[:-1])]
    (refused,) = _assemble(_ct(pixels), parts, tmp_path)
    assert isinstance(refused, Unreadable)
    assert "fewer" in refused.detail


def test_refusals_of_the_whole_request(tmp_path: Path) -> None:
    with Assembly(DEFAULT, tmp_path) as assembly:
        with pytest.raises(BadRequest):
            assembly.part("image/jpeg", {}, "")
        with pytest.raises(BadRequest):
            list(assembly.instances())
    with Assembly(DEFAULT, tmp_path) as assembly:
        assembly.part(DICOM_JSON, {}, "")
        assembly.data(b"[{")
        with pytest.raises(BadRequest):
            list(assembly.instances())
    with pytest.raises(BadRequest):
        _assemble([], [], tmp_path)
    with pytest.raises(LimitExceeded):
        _assemble(_secondary_capture(), [], tmp_path, limits=Limits(json_metadata=100))


def test_G16_memory_does_not_depend_on_the_size_of_the_bulk_data(tmp_path: Path) -> None:
    chunk, times = bytes(1 << 20), 96
    pixels = np.zeros((1 << 10, 1 << 9), "<i2")
    metadata = {**_ct(pixels), "00280008": _attribute("IS", times)}
    tracemalloc.start()
    with Assembly(DEFAULT, tmp_path) as assembly:
        assembly.part(DICOM_JSON, {}, "")
        assembly.data(orjson.dumps([metadata]))
        assembly.end()
        assembly.part("application/octet-stream", {}, "http://h/b?x=1")
        for _ in range(times):
            assembly.data(chunk)
        assembly.end()
        (assembled,) = assembly.instances()
        assert not isinstance(assembled.content, Refused)
        length = sum(len(piece) for piece in assembled.content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length > times << 20
    assert peak < 8 << 20


def test_the_spool_leaves_no_file(tmp_path: Path) -> None:
    _file(_secondary_capture(), [("image/jpeg", "bulk/1", _encoded(_photograph(), "JPEG"))], tmp_path)
    assert list(tmp_path.iterdir()) == []
