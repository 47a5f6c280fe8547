"""Strategies for data sets of every VR, nested and with private blocks, and their encoding by pydicom."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
SYNTAXES = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
META = b"\x02\0\x10\0UI\x14\0001.2.840.10008.1.2.1\0"
OPENINGS = (
    b"",
    b"\0" * 128 + b"DICM",
    b"\0" * 128 + b"DICM" + META,
    b"\0" * 128 + b"DICM" + META + b"\x08\0\x18\0UI\x04\x001.2\0\x20\0\x0d\0UI\x04\x001.3\0\x20\0\x0e\0UI\x04\x001.4\0",
    b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
    b"\x08\0\x05\0\x0a\0\0\0ISO_IR 192",
)
CHARSETS: dict[str, str] = {
    "": "abcXYZ 012",
    "ISO_IR 100": "äöüÄÖÜßé abc",
    "ISO_IR 101": "łőŘ abc",
    "ISO_IR 144": "Люкс abc",
    "ISO_IR 126": "Διον abc",
    "ISO_IR 192": "äл王홍 abc😀",
    "GB18030": "王小东 abc丂",
    "GBK": "王小东 abc丂",
    "\\ISO 2022 IR 87": "山田太郎 abc",
    "\\ISO 2022 IR 149": "홍길동 abc",
}

_ascii = st.text("ABCxyz 019.-^_", max_size=12)
_code = st.text("ABC 019_", max_size=12)
_date = st.dates().map(lambda date: date.strftime("%Y%m%d").zfill(8))
_time = st.times().map(lambda time: time.strftime("%H%M%S.%f"))
_uid = st.lists(st.integers(0, 99999), min_size=1, max_size=6).map(lambda parts: ".".join(map(str, parts)))
_decimal = st.floats(-1e6, 1e6, allow_nan=False).map(lambda number: f"{number:.6g}"[:16])


def _integers(bits: int, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1) if signed else 0, (1 << bits - signed) - 1)


def _bytes(word: int) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=40).map(lambda raw: raw * 2 * word if len(raw) < 20 else raw[:16])


def _several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, min_size=2, max_size=4))


TEXTS = ("PN", "LO", "SH", "UC", "LT", "ST", "UT")
ELEMENTS: dict[int, tuple[str, st.SearchStrategy[Any]]] = {
    0x00080008: ("CS", _several(_code)),
    0x00080012: ("DA", st.one_of(_date, _ascii)),
    0x00080013: ("TM", _time),
    0x0008002A: ("DT", st.builds(lambda a, b: a + b, _date, _time)),
    0x00080054: ("AE", _several(_ascii)),
    0x00080082: ("SQ", st.none()),
    0x00081140: ("SQ", st.none()),
    0x0008114A: ("SQ", st.none()),
    0x00080120: ("UR", _ascii),
    0x00080119: ("UC", st.none()),
    0x00081030: ("LO", st.none()),
    0x00100010: ("PN", st.none()),
    0x00101010: ("AS", st.integers(0, 999).map(lambda number: f"{number:03}Y")),
    0x00104000: ("LT", st.none()),
    0x00081190: ("UR", _ascii),
    0x00180015: ("CS", _code),
    0x00189810: ("US or SS", _integers(15, False)),
    0x00186016: ("UL", _several(_integers(32, False))),
    0x00186020: ("SL", _several(_integers(32, True))),
    0x00189219: ("SS", _several(_integers(16, True))),
    0x00200013: ("IS", _several(_integers(31, True))),
    0x00200037: ("DS", _several(_decimal)),
    0x00209165: ("AT", _several(_integers(32, False))),
    0x00280010: ("US", _integers(16, False)),
    0x00280103: ("US", st.integers(0, 1)),
    0x00280106: ("US or SS", _integers(15, False)),
    0x00283002: ("US or SS", st.lists(_integers(15, False), min_size=3, max_size=3)),
    0x00189073: ("FD", _several(st.floats(width=64))),
    0x00189160: ("FL", _several(st.floats(width=32))),
    0x00080301: ("US", _integers(16, False)),
    0x00091001: ("UN", _bytes(1)),
    0x00091002: ("LO", st.none()),
    0x00091003: ("OB", _bytes(1)),
    0x00091004: ("OW", _bytes(2)),
    0x00091005: ("OF", _bytes(4)),
    0x00091006: ("OD", _bytes(8)),
    0x00091007: ("OL", _bytes(4)),
    0x00091008: ("OV", _bytes(8)),
    0x00091009: ("SV", _several(_integers(64, True))),
    0x0009100A: ("UV", _several(_integers(64, False))),
    0x0009100B: ("UT", st.none()),
    0x0009100C: ("ST", st.none()),
    0x0009100D: ("SH", st.none()),
    0x60000010: ("US", _integers(16, False)),
    0x60003000: ("OW", _bytes(2)),
}
"""Tag → VR and values; those without are made by the data set's character set or depth."""


def _texts(vr: str, text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    if vr == "PN":
        return _several(st.builds(lambda *groups: "=".join(groups), text, text, text))
    return _several(text) if vr in ("LO", "SH", "UC") else text


@st.composite
def datasets(draw: Callable[[st.SearchStrategy[Any]], Any], depth: int = 0, alphabet: str = "") -> Dataset:
    """A data set with the three identifiers, and up to a dozen other elements."""
    dataset = Dataset()
    if depth == 0:
        charset = draw(st.sampled_from(list(CHARSETS)))
        alphabet = CHARSETS[charset]
        if charset:
            dataset.SpecificCharacterSet = charset.split("\\") if "\\" in charset else charset
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = draw(_uid), draw(_uid)
        dataset.SOPInstanceUID, dataset.SOPClassUID = draw(_uid), "1.2.840.10008.5.1.4.1.1.7"
    elif draw(st.booleans()):
        dataset.StudyInstanceUID = draw(_uid)
    text = st.text(alphabet, max_size=20)
    for tag in draw(st.lists(st.sampled_from(list(ELEMENTS)), unique=True, max_size=14)):
        vr, values = ELEMENTS[tag]
        if vr == "SQ":
            items = st.lists(datasets(depth + 1, alphabet), max_size=2) if depth < 3 else st.just([])
            dataset.add_new(tag, vr, draw(items))
            dataset[tag].is_undefined_length = draw(st.booleans())
            for item in dataset[tag].value:
                item.is_undefined_length_sequence_item = draw(st.booleans())
        else:
            signed_or_not = draw(st.sampled_from(["US", "SS"])) if vr == "US or SS" else vr
            dataset.add_new(tag, signed_or_not, draw(_texts(vr, text) if vr in TEXTS else values))
    if any(element.tag.group == 9 for element in dataset):
        dataset.add_new(0x00090010, "LO", "FILEROOM TEST")
    return dataset


def encode(dataset: Dataset, syntax: str) -> bytes:
    """`dataset` as a Part 10 file in `syntax`."""
    buffer = BytesIO()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2.3")
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta = meta
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(buffer, dataset, enforce_file_format=True, implicit_vr=None)
    return buffer.getvalue()
