"""Small instances of any SOP class in any transfer syntax, and the two requests that store them and read them back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import httpx
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

HERE = Path(__file__).parent
ROOT = "1.2.826.0.1.3680043.8.498.7332"
IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
NATIVE = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, EXPLICIT_LE + ".99")
CT = "1.2.840.10008.5.1.4.1.1.2"
BOUNDARY = "fileroom-requirements"


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one of the lists beside this module."""
    with (HERE / name).open(newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


def make(study: str, number: int, sop_class: str = CT, syntax: str = EXPLICIT_LE, /, **attributes: object) -> Dataset:
    """A data set of 4 by 4 pixels; `attributes` are keywords with values. `study` and `number` make its UIDs."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.{study}", f"{ROOT}.{study}.1"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.{study}.1.{number}")
    ds.PatientName, ds.PatientID, ds.StudyDate, ds.Modality = "Requirement^List", f"REQ-{study}", "20240229", "OT"
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    pixels = bytes(range(16))
    ds.PixelData = pixels if syntax in NATIVE else encapsulate([pixels])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = syntax not in NATIVE
    return ds


def encode(ds: Dataset) -> bytes:
    """The data set as a PS3.10 file; forced, since pydicom does not know every transfer syntax."""
    syntax = str(ds.file_meta.TransferSyntaxUID)
    out = io.BytesIO()
    ds.preamble = bytes(128)
    implicit, little = syntax == IMPLICIT_LE, syntax != EXPLICIT_BE
    pydicom.dcmwrite(out, ds, implicit_vr=implicit, little_endian=little, force_encoding=True)
    return out.getvalue()


def store(client: httpx.Client, files: Sequence[bytes]) -> httpx.Response:
    """One Store request with every file as a part."""
    head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(head + file for file in files) + f"\r\n--{BOUNDARY}--\r\n".encode()
    media = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    return client.post("/studies", content=body, headers={"Content-Type": media})


def read_back(client: httpx.Client, ds: Dataset) -> bytes:
    """The stored instance, in the transfer syntax it was sent in."""
    path = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    accept = f"application/dicom; transfer-syntax={ds.file_meta.TransferSyntaxUID}"
    answer = client.get(path, headers={"Accept": accept})
    answer.raise_for_status()
    return answer.content
