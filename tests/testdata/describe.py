"""Describes the files of the corpus in a CSV file, as pydicom reads them."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

FIELDS = (
    "tier source path bytes sha256 readable sop_class_uid sop_class transfer_syntax_uid transfer_syntax modality "
    "photometric rows columns frames bits_allocated charset patient_id study_uid series_uid sop_uid shares_sop_uid "
    "unusual"
).split()
_KEYWORDS = {
    "sop_class_uid": "SOPClassUID",
    "modality": "Modality",
    "photometric": "PhotometricInterpretation",
    "rows": "Rows",
    "columns": "Columns",
    "frames": "NumberOfFrames",
    "bits_allocated": "BitsAllocated",
    "patient_id": "PatientID",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "sop_uid": "SOPInstanceUID",
}
_STRICT_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")
_PYDICOM_RAISES = (
    InvalidDicomError,
    ValueError,
    NotImplementedError,
    LookupError,
    AttributeError,
    OSError,
    TypeError,
)
Row = dict[str, str]


def write_catalogue(folder: Path, catalogue: Path) -> None:
    """Writes one row a file."""
    rows = []
    for tier in ("open", "generated"):
        for path in sorted((folder / tier).rglob("*")):
            if path.is_file():
                source = path.relative_to(folder / tier).parts[0]
                rows.append({"tier": tier, "source": source, "path": str(path.relative_to(folder)), **describe(path)})
    shared = Counter(row["sop_uid"] for row in rows if row.get("sop_uid"))
    for row in rows:
        count = shared[row.get("sop_uid", "")]
        row["shares_sop_uid"] = str(count) if count > 1 else ""
    with catalogue.open("w", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: re.sub(r"[\x00-\x1f\x7f]", " ", value) for key, value in row.items()})


def describe(path: Path) -> Row:
    """What pydicom says of one file, and what is unusual about it."""
    data = path.read_bytes()
    row = {"bytes": str(len(data)), "sha256": hashlib.sha256(data).hexdigest(), "readable": "yes"}
    unusual = _preamble(data)
    try:
        ds = pydicom.dcmread(io.BytesIO(data), force=True)
        if not len(ds):  # as it reads what ends inside compressed pixel data
            ds = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
        ds.decode()
    except _PYDICOM_RAISES as error:
        row["readable"] = "no"
        unusual.append(f"pydicom: {type(error).__name__}: {str(error)[:80]}")
        return {**row, "unusual": "; ".join(unusual)}
    row.update({field: _text(ds, keyword) for field, keyword in _KEYWORDS.items()})
    syntax = str(ds.file_meta.get("TransferSyntaxUID", "")) if hasattr(ds, "file_meta") else ""
    row.update(transfer_syntax_uid=syntax, transfer_syntax=UID(syntax).name if syntax else "")
    row["sop_class"] = UID(row["sop_class_uid"]).name if row["sop_class_uid"] else ""
    row["charset"] = _text(ds, "SpecificCharacterSet")
    row["unusual"] = "; ".join([*unusual, *_oddities(ds, row)])
    return row


def _preamble(data: bytes) -> list[str]:
    if data[128:132] != b"DICM":
        return ["no preamble"]
    return ["preamble used"] if data[:128].strip(b"\0") else []


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    if value is None:
        return ""
    return value if isinstance(value, str) else "\\".join(map(str, value)) if isinstance(value, list) else str(value)


def _oddities(ds: Dataset, row: Row) -> list[str]:
    meta = ds.file_meta if hasattr(ds, "file_meta") else Dataset()
    found = []
    if str(meta.get("MediaStorageSOPClassUID", "")) == "1.2.840.10008.1.3.10":
        found.append("DICOMDIR")
    elif str(meta.get("MediaStorageSOPInstanceUID", row["sop_uid"])) != row["sop_uid"]:
        found.append("meta SOP Instance UID differs from data set")
    if not row["transfer_syntax_uid"]:
        found.append("no transfer syntax")
    for level in ("study_uid", "series_uid", "sop_uid"):
        if not row[level]:
            found.append(f"no {level}")
        elif not _STRICT_UID.fullmatch(row[level]) or len(row[level]) > 64:
            found.append(f"{level} not valid")
    return found
