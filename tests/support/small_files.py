"""Small DICOM files made for a test, each with UIDs of its own."""

from __future__ import annotations

import io
import itertools
import os

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

_ROOT = f"1.2.826.0.1.3680043.10.1432.{os.getpid()}"
_numbers = itertools.count(1)


def new_uid() -> str:
    """A UID that no other test has."""
    return f"{_ROOT}.{next(_numbers)}"


def data_set(**attributes: object) -> Dataset:
    """A 4x4 image of secondary capture with new UIDs; `attributes` by keyword replace or add."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = new_uid(), new_uid(), new_uid()
    ds.PatientName, ds.PatientID, ds.StudyDate, ds.Modality = "Doe^Jane", "P1", "20240102", "OT"
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = bytes(range(16))
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def encode(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """`ds` as a Part 10 file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if "PixelData" in ds:
        ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def path_of(ds: Dataset) -> str:
    """Its resource below the DICOMweb root."""
    return f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def multipart(files: list[bytes], boundary: str = "b0undary") -> tuple[bytes, dict[str, str]]:
    """A Store request of `files`: body and headers."""
    pieces = [
        b"--" + boundary.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files
    ]
    body = b"".join(pieces) + b"--" + boundary.encode() + b"--\r\n"
    return body, {"Content-Type": f'multipart/related; type="application/dicom"; boundary="{boundary}"'}
