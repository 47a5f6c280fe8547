"""What C-STORE needs before the first byte goes on: the file meta, and of what the data set says it is."""

from __future__ import annotations

import io
import zlib

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from app.dicom.implementation import IMPLEMENTATION_CLASS_UID
from app.dicom.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dimse_bridge.services.data_set_head import identity_of
from dimse_bridge.services.file_meta import file_meta

CT = "1.2.840.10008.5.1.4.1.1.2"


def encoded(data_set: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = syntax != EXPLICIT_BE
    buffer.is_implicit_VR = syntax == IMPLICIT_LE
    write_dataset(buffer, data_set)
    raw: bytes = buffer.getvalue()
    if syntax != DEFLATED_LE:
        return raw
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(raw) + deflate.flush()


def data_set() -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.InstanceCreationDate = "20200101"
    made.SOPClassUID = CT
    made.SOPInstanceUID = "1.2.3"
    made.PatientName = "Doe^John"
    return made


@pytest.mark.parametrize("instance", ["1.2.3", "1.2.34", "9" * 64])
@pytest.mark.parametrize("source", ["CT1", "CT12", "SIXTEEN_LETTERS_"])
def test_the_file_meta_is_what_pydicom_reads(instance: str, source: str) -> None:
    raw = file_meta(CT, instance, EXPLICIT_LE, source)
    read = pydicom.dcmread(io.BytesIO(raw + encoded(data_set(), EXPLICIT_LE)))
    meta = read.file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, instance)
    assert (meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle) == (EXPLICIT_LE, source)
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert 144 + meta.FileMetaInformationGroupLength == len(raw)
    assert read.PatientName == "Doe^John"


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE])
def test_identity_is_read_in_every_encoding(syntax: str) -> None:
    raw = encoded(data_set(), syntax)
    assert identity_of(raw, syntax) == (CT, "1.2.3")
    assert identity_of(raw[:20], syntax)[1] == ""


def test_what_is_missing_is_empty() -> None:
    made = data_set()
    del made.SOPClassUID
    assert identity_of(encoded(made, EXPLICIT_LE), EXPLICIT_LE) == ("", "1.2.3")
    assert identity_of(b"", EXPLICIT_LE) == ("", "")


def test_an_element_of_undefined_length_before_is_not_guessed_over() -> None:
    made = data_set()
    made.LanguageCodeSequence = [Dataset()]
    made["LanguageCodeSequence"].is_undefined_length = True
    assert identity_of(encoded(made, EXPLICIT_LE), EXPLICIT_LE) == ("", "")


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE, "1.2.3"]))
def test_any_bytes_have_an_identity_or_none(head: bytes, syntax: str) -> None:
    found = identity_of(head, syntax)
    assert all(isinstance(uid, str) for uid in found)
