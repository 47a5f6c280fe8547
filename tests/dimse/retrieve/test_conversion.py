"""Data sets from one native transfer syntax to each other, with pydicom as the judge."""

from __future__ import annotations

import io
import itertools
import warnings
import zlib

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from app.dicom.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from app.errors import Refused, TransferSyntaxRefused, Unreadable
from dimse_bridge.conversion.data_sets import DataSetConversion, is_convertible
from tests.unit.dicom.encoded import UNDEFINED, element, implicit, item

NATIVE = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)
KINDS = {IMPLICIT_LE: (True, True), EXPLICIT_LE: (False, True), EXPLICIT_BE: (False, False)}
FILES = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
    "liver_1frame.dcm",
)


def convert(data: bytes, stored: str, wanted: str, step: int = 1 << 20) -> bytes:
    conversion = DataSetConversion(stored, wanted)
    out = [piece for at in range(0, len(data), step) for piece in conversion.feed(data[at : at + step])]
    return b"".join([*out, *conversion.finish()])


def encode(data_set: Dataset, syntax: str) -> bytes:
    raw = b"" if syntax != DEFLATED_LE else encode(data_set, EXPLICIT_LE)
    if raw:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(raw) + packer.flush()
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = KINDS[syntax]
    write_dataset(file, data_set)
    return file.getvalue()


def decode(data: bytes, syntax: str) -> Dataset:
    implicit_vr, little = KINDS[syntax]
    return read_dataset(io.BytesIO(data), implicit_vr, little)


def values(data_set: Dataset) -> list[object]:
    """Tags and values in little endian; group lengths, which are not kept, left out."""
    found: list[object] = []
    for one in data_set:
        if one.tag.element == 0:
            continue
        value = [values(inner) for inner in one.value] if one.VR == "SQ" else one.value
        found.append((int(one.tag), value))
    return found


def rich() -> Dataset:
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    one.SpecificCharacterSet, one.PatientName = "ISO_IR 192", "Ærø^Ωmega"
    inner = Dataset()
    inner.ReferencedFrameNumber = [1, 2]
    inner.add_new(0x00189089, "FD", [0.1, -2.5, 3.0])
    one.ReferencedImageSequence = Sequence([inner, Dataset(), inner])
    one.RequestAttributesSequence = Sequence()
    one.FrameIncrementPointer = [0x00181063, 0x00181065]
    one.PixelRepresentation, one.SmallestImagePixelValue = 1, -5
    one.PatientComments = "x" * 5001
    return one


@pytest.mark.parametrize(("stored", "wanted"), list(itertools.permutations(NATIVE, 2)))
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_every_pair_in_any_portions(stored: str, wanted: str, step: int) -> None:
    converted = convert(encode(rich(), stored), stored, wanted, step)
    assert values(decode(converted, wanted)) == values(decode(encode(rich(), stored), stored))


@pytest.mark.parametrize("wanted", NATIVE)
def test_deflated(wanted: str) -> None:
    converted = convert(encode(rich(), DEFLATED_LE), DEFLATED_LE, wanted, 11)
    assert values(decode(converted, wanted)) == values(rich())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("wanted", NATIVE)
def test_real_files_keep_every_value(name: str, wanted: str) -> None:
    path = str(get_testdata_file(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original = dcmread(path)
        stored = str(original.file_meta.TransferSyntaxUID)
        start = original.file_meta.FileMetaInformationGroupLength + 144
        with open(path, "rb") as file:
            data = file.read()[start:]
        converted = decode(convert(data, stored, wanted), wanted)
        tags = [one.tag for one in original.iterall() if one.tag.element]
        assert [one.tag for one in converted.iterall()] == tags
        for left, right in zip(original.iterall(), converted.iterall(), strict=True):
            if left.tag.element and left.VR not in ("SQ", "UN", "OW", "OB or OW") and right.VR != "UN":
                assert left.value == right.value, left.tag
        if "PixelData" in original:
            converted.file_meta = original.file_meta
            pixels = original.pixel_array
            converted.file_meta.TransferSyntaxUID = UID(wanted)
            assert (converted.pixel_array == pixels).all()


def test_private_attributes_that_came_without_a_vr_leave_as_un() -> None:
    creator = implicit(0x00090010, "GEMS_IDEN_01")
    data = creator + implicit(0x00091001, "GE_GENESIS_FF ") + implicit(0x00091027, b"\1\2\3\4")
    converted = convert(data, IMPLICIT_LE, EXPLICIT_LE)
    assert converted == (
        element(0x00090010, "LO", "GEMS_IDEN_01")
        + element(0x00091001, "UN", b"GE_GENESIS_FF ")
        + element(0x00091027, "UN", b"\1\2\3\4")
    )
    assert convert(converted, EXPLICIT_LE, IMPLICIT_LE) == data


@pytest.mark.parametrize("wanted", [EXPLICIT_LE, EXPLICIT_BE])
def test_private_sequences_without_a_vr_stay_implicit_inside_un(wanted: str) -> None:
    nested = item(implicit(0x00081150, "1.2\0") + implicit(0x00091002, b"\1\2"), undefined=True)
    content = nested + implicit(0xFFFEE0DD)
    data = implicit(0x00090010, "ACME") + implicit(0x00091001, content, UNDEFINED) + implicit(0x00100020, "ID")
    converted = convert(data, IMPLICIT_LE, wanted, 5)
    order = "<" if wanted == EXPLICIT_LE else ">"
    assert converted == (
        element(0x00090010, "LO", "ACME", order)
        + element(0x00091001, "UN", content, order, UNDEFINED)
        + element(0x00100020, "LO", "ID", order)
    )


def test_what_needs_a_codec_is_refused() -> None:
    assert not is_convertible("1.2.840.10008.1.2.4.50", EXPLICIT_LE)
    assert not is_convertible(EXPLICIT_LE, DEFLATED_LE)
    assert is_convertible("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.50")
    with pytest.raises(TransferSyntaxRefused):
        DataSetConversion("1.2.840.10008.1.2.4.50", IMPLICIT_LE)
    with pytest.raises(Refused):
        convert(element(0x7FE00010, "OB", item(b""), length=UNDEFINED), EXPLICIT_LE, IMPLICIT_LE)


def test_a_data_set_that_ends_too_early_is_refused() -> None:
    data = encode(rich(), EXPLICIT_LE)
    with pytest.raises(Unreadable):
        convert(data[:-3], EXPLICIT_LE, IMPLICIT_LE)
