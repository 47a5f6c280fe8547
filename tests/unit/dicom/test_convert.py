"""Files converted to Explicit VR Little Endian without a codec, with pydicom as the judge."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app.dicom.convert import Conversion, rewrite_meta
from app.dicom.dictionary import standard_vr
from app.dicom.limits import Limits
from app.dicom.part10 import HeaderReader
from app.errors import LimitExceeded, Refused, Unreadable
from tests.support.stored import encode, image, reencode

FILES = Path(pydicom.data.__file__).parent / "test_files"
NATIVE = (ImplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.10008.1.2.1.99")


def stored(data: bytes) -> tuple[str, int, str, str]:
    reader = HeaderReader()
    reader.feed(data)
    header = reader.finish()
    return header.transfer_syntax, header.dataset_offset, header.sop_class, header.sop_instance


def convert(data: bytes, step: int = 1 << 20, facts: tuple[str, int, str, str] | None = None) -> bytes:
    conversion = Conversion(*(facts or stored(data)))
    out = [piece for at in range(0, len(data), step) for piece in conversion.feed(data[at : at + step])]
    return b"".join([*out, *conversion.finish()])


def native_files() -> list[Path]:
    found = []
    for path in sorted(FILES.glob("*.dcm")):
        try:
            facts = stored(path.read_bytes())
        except Refused:
            continue
        if facts[0] in NATIVE and not path.stem.endswith("_truncated"):
            found.append(path)
    return found


def same(one: Dataset, other: Dataset) -> None:
    """Same elements and values, whatever the VR of what was UN and the length of sequences."""
    tags = [element.tag for element in one if element.tag.element]
    assert tags == [element.tag for element in other]
    for tag in tags:
        left, right = one[tag], other[tag]
        if left.VR == "SQ" or right.VR == "SQ":
            assert len(left.value) == len(right.value)
            for item, twin in zip(left.value, right.value, strict=True):
                same(item, twin)
        elif left.VR == "OW":
            assert little(one, left.value) == right.value
        elif right.VR != "UN" and left.VR != "UN":
            assert left.value == right.value, tag


def little(data_set: Dataset, value: bytes) -> bytes:
    if data_set.original_encoding[1]:
        return value
    return b"".join(value[at : at + 2][::-1] for at in range(0, len(value), 2))


@pytest.mark.parametrize("path", native_files(), ids=lambda path: path.stem)
def test_real_files(path: Path) -> None:
    data = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = dcmread(io.BytesIO(convert(data)))
        original = dcmread(io.BytesIO(data), force=True)
        assert converted.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert converted.file_meta.FileMetaInformationGroupLength > 0
        same(original, converted)


def rich(pixel_representation: int = 1) -> Dataset:
    one = image(rows=5, columns=7, frames=3)
    one.PixelRepresentation = pixel_representation
    one.SmallestImagePixelValue = 65000 if not pixel_representation else -5
    one.LUTDescriptor = [256, 0, 16]
    item = Dataset()
    item.PatientName = "Inner^Name"
    deeper = Dataset()
    deeper.FrameReferenceTime = 1.5
    deeper.FrameTime = "33"
    deeper.ReferencedFrameNumber = [1, 2]
    item.ReferencedImageSequence = Sequence([deeper, Dataset(), deeper])
    one.ReferencedStudySequence = Sequence([item])
    one.RequestAttributesSequence = Sequence()
    one.FrameIncrementPointer = [0x00181063, 0x00181065]
    one.add_new(0x00080001, "UL", 0)
    block = one.private_block(0x0043, "ACME 1.0", create=True)
    block.add_new(1, "UN", b"\x01\x02\x03\x04")
    one.PatientComments = "x" * 5001
    one.RedPaletteColorLookupTableData = bytes(range(256)) * 2
    one.RedPaletteColorLookupTableDescriptor = [256, 0, 16]
    one.add_new(0x00189074, "DT", "20240101")
    one.add_new(0x00189075, "CS", "NONE")
    one.add_new(0x00189089, "FD", [0.1, -2.5, 3.0])
    one.add_new(0x00660016, "OF", struct.pack("<4f", 1, 2, 3, 4))
    del one[0x00080001]
    return one


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_every_kind_of_element_in_any_portions(syntax: str, step: int) -> None:
    original = rich()
    if syntax == ExplicitVRBigEndian:
        original.RedPaletteColorLookupTableData = bytes(range(1, 256)) + b"\0" + bytes(range(256))
    reference = encode(original)
    data = reencode(original, syntax)
    assert convert(data, step) == convert(data)
    converted = dcmread(io.BytesIO(convert(data, step)))
    expected = dcmread(io.BytesIO(reference))
    for element in expected:
        if element.tag not in (0x00660016, 0x7FE00010, 0x00281201):
            assert converted[element.tag] == element or converted[element.tag].VR == "UN", element
    if syntax == ImplicitVRLittleEndian:
        assert converted.PixelData == expected.PixelData
    else:
        assert converted.PixelData == little(dcmread(io.BytesIO(data)), dcmread(io.BytesIO(data)).PixelData)


@pytest.mark.parametrize(("representation", "vr"), [(0, "US"), (1, "SS")])
def test_signed_or_not_by_pixel_representation(representation: int, vr: str) -> None:
    converted = dcmread(io.BytesIO(convert(reencode(rich(representation), ImplicitVRLittleEndian))))
    assert (vr, representation) == (converted[0x00280106].VR, converted.PixelRepresentation)
    assert converted.SmallestImagePixelValue == (65000 if not representation else -5)


def test_a_long_value_of_a_short_vr_becomes_un() -> None:
    one = image()
    one.PatientComments = "y" * 70_000
    converted = convert(reencode(one, ImplicitVRLittleEndian))
    assert struct.pack("<HH2sHI", 0x0010, 0x4000, b"UN", 0, 70_000) in converted
    assert dcmread(io.BytesIO(converted)).PatientComments == b"y" * 70_000


def test_known_private_elements_get_their_vr_and_others_un() -> None:
    one = image()
    one.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x02, "SL", 7)
    one.private_block(0x0021, "NOBODY KNOWS", create=True).add_new(0x02, "SL", 7)
    converted = convert(reencode(one, ImplicitVRLittleEndian))
    assert struct.pack("<HH2sH", 0x0019, 0x1002, b"SL", 4) in converted
    assert struct.pack("<HH2sHI", 0x0021, 0x1002, b"UN", 0, 4) in converted
    assert struct.pack("<HH2sH", 0x0021, 0x0010, b"LO", 12) in converted


def test_undefined_lengths_and_a_private_sequence() -> None:
    item = struct.pack("<HHI", 0x0010, 0x0020, 4) + b"ID  "
    data_set = b"".join(
        (
            struct.pack("<HHI", 0x0008, 0x1140, 0xFFFFFFFF),
            struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + item + struct.pack("<HHI", 0xFFFE, 0xE00D, 0),
            struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item,
            struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
            struct.pack("<HHI", 0x0009, 0x0010, 4) + b"ACME",
            struct.pack("<HHI", 0x0009, 0x1001, 0xFFFFFFFF),
            struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
            struct.pack("<HHI", 0x0010, 0x0020, 4) + b"TOP ",
            bytes(20),
        )
    )
    for step in (1, 3, 1000):
        converted = dcmread(io.BytesIO(convert(data_set, step, (ImplicitVRLittleEndian, 0, "1.2", "3.4"))))
        assert converted.file_meta.MediaStorageSOPInstanceUID == "3.4"
        assert [one.PatientID for one in converted.ReferencedImageSequence] == ["ID", "ID"]
        assert converted[0x00091001].value[0].PatientID == "ID"
        assert converted.PatientID == "TOP"


def test_group_lengths_are_left_out() -> None:
    data_set = struct.pack("<HHII", 0x0008, 0x0000, 4, 999) + struct.pack("<HHI", 0x0008, 0x0060, 2) + b"CT"
    converted = convert(data_set, facts=(ImplicitVRLittleEndian, 0, "1.2", "3.4"))
    assert converted.endswith(struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT")
    assert b"\x08\0\0\0UL" not in converted


def test_implicit_items_inside_a_big_endian_un() -> None:
    inner = struct.pack("<HHI", 0x0010, 0x0020, 4) + b"ID  "
    data_set = b"".join(
        (
            struct.pack(">HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF),
            struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
            struct.pack(">HH2sH", 0x0010, 0x0020, b"LO", 4) + b"TOP ",
        )
    )
    converted = dcmread(io.BytesIO(convert(data_set, facts=(ExplicitVRBigEndian, 0, "1.2", "3.4"))))
    assert converted[0x00091001].value[0].PatientID == "ID"
    assert converted.PatientID == "TOP"


def test_the_file_meta_keeps_what_it_said() -> None:
    data = reencode(image(), ImplicitVRLittleEndian)
    converted = dcmread(io.BytesIO(convert(b"\x7fELF" + data[4:])))
    original = dcmread(io.BytesIO(data))
    assert (converted.preamble or b"").startswith(b"\x7fELF")
    assert converted.file_meta.ImplementationClassUID == original.file_meta.ImplementationClassUID
    assert converted.file_meta.MediaStorageSOPClassUID == original.file_meta.MediaStorageSOPClassUID


def test_a_prefix_without_preamble_gets_one() -> None:
    meta = rewrite_meta(b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", 18) + b"1.2.840.10008.1.2\0", "1", "2")
    assert meta.startswith(bytes(128) + b"DICM\x02\0\0\0UL")
    assert meta.endswith(b"1.2.840.10008.1.2.1\0")


def test_memory_does_not_depend_on_the_length_of_a_value() -> None:
    head = struct.pack("<HHI", 0x7FE0, 0x0010, 1 << 31)
    conversion = Conversion(ImplicitVRLittleEndian, 0, "1.2", "3.4")
    conversion.feed(head)
    piece = bytes(1 << 20)
    for _ in range(64):
        assert sum(map(len, conversion.feed(piece))) == len(piece)


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<HHI", 0x0010, 0x0020, 40) + b"short",
        struct.pack("<HHI", 0x0008, 0x1140, 0xFFFFFFFF),
        struct.pack("<HHI", 0x0008, 0x1140, 8) + struct.pack("<HHI", 0x0010, 0x0020, 0),
        struct.pack("<HHI", 0x0008, 0x1140, 8) + struct.pack("<HHI", 0xFFFE, 0xE000, 100),
        struct.pack("<HHI", 0x0008, 0x1140, 24)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 8)
        + struct.pack("<HHI", 0x0010, 0x0020, 100),
        struct.pack("<HHI", 0x7FE0, 0x0010, 0xFFFFFFFF),
        b"\x10\0\x20",
    ],
)
def test_what_is_damaged_is_refused(tail: bytes) -> None:
    with pytest.raises(Unreadable):
        convert(tail, facts=(ImplicitVRLittleEndian, 0, "1.2", "3.4"))


def test_depth_has_a_limit() -> None:
    nest = struct.pack("<HHI", 0x0008, 0x1140, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    conversion = Conversion(ImplicitVRLittleEndian, 0, "1.2", "3.4", Limits(sequence_depth=5))
    with pytest.raises(LimitExceeded):
        conversion.feed(nest * 10)


@given(st.binary(max_size=400), st.sampled_from([ImplicitVRLittleEndian, ExplicitVRBigEndian]), st.integers(1, 400))
@settings(max_examples=300)
def test_any_bytes_are_converted_or_refused(data: bytes, syntax: str, step: int) -> None:
    try:
        convert(data, step, (syntax, 0, "1.2", "3.4"))
    except Refused:
        return


def test_the_dictionary_is_the_one_of_the_reader() -> None:
    assert standard_vr(0x00280106) == "US or SS"
