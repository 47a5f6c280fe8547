"""Identifiers as bytes, by pydicom: the other side of what the bridge reads and writes."""

from __future__ import annotations

import io
import zlib

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from app.dicom.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, transfer_syntax

SYNTAXES = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED_LE)
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"


def encode(ds: Dataset, syntax: str = IMPLICIT_LE) -> bytes:
    """The data set in a native transfer syntax."""
    row = transfer_syntax(syntax)
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = not row.explicit, not row.big_endian
    write_dataset(out, ds)
    encoded = out.getvalue()
    if not row.deflated:
        return encoded
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(encoded) + stream.flush()


def decode(encoded: bytes, syntax: str = IMPLICIT_LE) -> Dataset:
    """What `encode` made, or what the bridge answered."""
    row = transfer_syntax(syntax)
    if row.deflated:
        encoded = zlib.decompress(encoded, -zlib.MAX_WBITS)
    ds = read_dataset(io.BytesIO(encoded), not row.explicit, not row.big_endian)
    ds.decode()
    return ds


def identifier(level: str = "STUDY", /, **keys: object) -> Dataset:
    """A request at `level`; keyword arguments are keys with their values, None without."""
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds
