"""Part 10 files of DICOM JSON: pydicom reads back what it gave, DCMTK reads them, long and odd values are right."""

from __future__ import annotations

import base64
import io
import shutil
import struct
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest
from pydicom.data import get_testdata_file

from app.dicom.encode import PIXEL_DATA, part10
from app.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.dicom.json_model import DataSet, Element, Parsed, Span, parse
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from app.dicom.uid import is_uid
from app.errors import LimitExceeded, Unreadable

FILES = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "rtplan.dcm",
    "rtstruct.dcm",
    "rtdose.dcm",
    "reportsi.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
    "examples_palette.dcm",
    "examples_overlay.dcm",
    "liver_1frame.dcm",
    "image_dfl.dcm",
)
UIDS: DataSet = {0x00080016: Element("UI", ["1.2"]), 0x00080018: Element("UI", ["1.2.3"])}


def _written(data_set: DataSet, spool: bytes = b"", syntax: str = EXPLICIT_LE) -> bytes:
    return b"".join(
        segment if isinstance(segment, bytes) else spool[segment.offset : segment.offset + segment.length]
        for segment in part10({**UIDS, **data_set}, syntax)
    )


def _read(content: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(content))


def _json_object(data_set: pydicom.Dataset) -> dict[str, Any]:
    """DICOM JSON by pydicom, without what a file written anew may change: group lengths, character set, blanks."""
    members: dict[str, Any] = orjson.loads(data_set.to_json(bulk_data_threshold=1 << 30))
    return _normal({tag: members[tag] for tag in members if not tag.endswith("0000")})


def _normal(members: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for tag, attribute in members.items():
        if tag == "00080005":
            continue
        values = list(attribute.get("Value", ()))
        if attribute["vr"] == "SQ":
            values = [_normal(item) for item in values]
        elif attribute["vr"] in ("DS", "IS"):
            values = [value if value is None else float(f"{float(value):.9g}") for value in values]
        else:
            values = [(value.rstrip() or None) if isinstance(value, str) else value for value in values]
        while values and values[-1] is None:
            values.pop()
        binary = base64.b64decode(attribute.get("InlineBinary", ""))
        result[tag] = (attribute["vr"], values, binary + b"\0" * (len(binary) % 2))
    return result


@pytest.mark.parametrize("name", FILES)
def test_same_as_before(name: str, tmp_path: Path) -> None:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    original = pydicom.dcmread(path, force=True)
    (parsed,) = parse(orjson.dumps([orjson.loads(original.to_json(bulk_data_threshold=1 << 30))]))
    assert isinstance(parsed, Parsed)
    content = _written(parsed.data_set)
    again = _read(content)
    assert _json_object(again) == _json_object(original)
    written = tmp_path / "written.dcm"
    written.write_bytes(content)
    assert shutil.which("dcmdump"), "dcmtk is not installed"
    result = subprocess.run(["dcmdump", "--quiet", str(written)], capture_output=True, text=True, check=True)
    assert result.stderr == ""


def test_file_meta() -> None:
    meta = _read(_written({})).file_meta
    assert is_uid(IMPLEMENTATION_CLASS_UID)
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == ("1.2", "1.2.3")
    assert meta.TransferSyntaxUID == EXPLICIT_LE
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    offset = 132 + 12 + meta.FileMetaInformationGroupLength
    assert _written({})[offset : offset + 4] == b"\x08\0\x05\0"


@pytest.mark.parametrize("absent", [0x00080016, 0x00080018])
@pytest.mark.parametrize("element", [None, Element("UI"), Element("UI", ["1.2/../3"])])
def test_no_file_without_uids(absent: int, element: Element | None) -> None:
    data_set = {tag: value for tag, value in UIDS.items() if tag != absent}
    if element is not None:
        data_set[absent] = element
    with pytest.raises(Unreadable):
        part10(data_set, EXPLICIT_LE)


def test_text_is_utf8_at_every_level() -> None:
    item: DataSet = {0x00080005: Element("CS", ["ISO_IR 100"]), 0x00080104: Element("LO", ["Ærø", None, "日本"])}
    content = _written({0x00080005: Element("CS", ["ISO_IR 100"]), 0x00400555: Element("SQ", [item])})
    data_set = _read(content)
    assert data_set.SpecificCharacterSet == "ISO_IR 192"
    (read,) = data_set.AcquisitionContextSequence
    assert "SpecificCharacterSet" not in read
    assert list(read.CodeMeaning) == ["Ærø", "", "日本"]


def test_odd_lengths_are_padded_by_vr() -> None:
    content = _written(
        {
            0x00080060: Element("CS", ["ODD"]),
            0x0020000D: Element("UI", ["1.2.3"]),
            0x00420011: Element("OB", binary=b"abc"),
        }
    )
    assert b"CS\4\0ODD " in content
    assert b"UI\6\x001.2.3\0" in content
    assert b"OB\0\0\4\0\0\0abc\0" in content


def test_value_too_long_for_its_vr_becomes_un() -> None:
    values = [f"{number}.5" for number in range(20000)]
    content = _written({0x30060050: Element("DS", list(values))})
    assert b"\x06\x30\x50\x00UN\0\0" in content
    assert _read(content)[0x3006, 0x0050].value == "\\".join(values).encode() + b" "


def test_long_nested_bulk_has_explicit_lengths() -> None:
    inner: DataSet = {0x54001010: Element("OW", bulk=(Span(2, 3), Span(10, 2)))}
    content = _written({0x54000100: Element("SQ", [inner, {}])}, spool=b"..abc.....de")
    sequence = _read(content).WaveformSequence
    assert sequence[0].WaveformData == b"abcde\0"
    assert len(sequence) == 2
    assert b"SQ\0\0" + struct.pack("<I", 8 + 18 + 8) in content


def test_frames_are_encapsulated_with_offsets() -> None:
    data_set: DataSet = {PIXEL_DATA: Element("OW", bulk=(Span(0, 3), Span(3, 4), Span(7, 1)))}
    pixel_data = _read(_written(data_set, b"abcdefgh", "1.2.840.10008.1.2.4.50"))["PixelData"]
    assert pixel_data.VR == "OB"
    assert pixel_data.value == (
        b"\xfe\xff\0\xe0\x0c\0\0\0" + struct.pack("<III", 0, 12, 24) + b"\xfe\xff\0\xe0\4\0\0\0abc\0"
        b"\xfe\xff\0\xe0\4\0\0\0defg\xfe\xff\0\xe0\2\0\0\0h\0"
    )


def test_offsets_over_32_bits_go_to_the_extended_table() -> None:
    frames = tuple(Span(0, 0x7FFFFFFE) for _ in range(4))
    segments = part10({**UIDS, PIXEL_DATA: Element("OB", bulk=frames)}, "1.2.840.10008.1.2.4.90")
    head = b"".join(takewhile(lambda segment: isinstance(segment, bytes), segments))  # type: ignore[arg-type]
    at = head.index(b"\xe0\x7f\1\0OV\0\0")
    assert struct.unpack("<I4Q", head[at + 8 : at + 44]) == (32, *(number * (0x7FFFFFFE + 8) for number in range(4)))
    assert struct.unpack("<I4Q", head[at + 52 : at + 88]) == (32, *([0x7FFFFFFE] * 4))
    assert head[at + 88 :].startswith(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0")


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, "1.2.840.10008.1.2.4.90"])
def test_value_too_long_for_dicom(syntax: str) -> None:
    with pytest.raises(LimitExceeded):
        part10({**UIDS, PIXEL_DATA: Element("OB", bulk=(Span(0, 0xFFFFFFFF),))}, syntax)
