"""Every file of the corpus that can be converted without a codec keeps every value."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.dicom.convert import Conversion
from app.dicom.header import Header
from app.dicom.part10 import HeaderReader
from app.dicom.transfer_syntaxes import EXPLICIT_LE, is_native
from app.errors import Refused, Unreadable
from tests.testdata.fixtures import CorpusFile

PIECE = 100_000


def header_of(data: bytes) -> Header:
    reader = HeaderReader()
    reader.feed(data)
    return reader.finish()


def convertible(path: Path) -> tuple[bytes, Header] | None:
    data = path.read_bytes()
    try:
        header = header_of(data)
    except Refused:
        return None
    plain = header.transfer_syntax == EXPLICIT_LE or header.broken_off
    return (data, header) if is_native(header.transfer_syntax) and not plain else None


def test_the_metadata_of_the_converted_file_is_the_same(corpus: list[CorpusFile]) -> None:
    changed, syntaxes = [], set()
    for file in corpus:
        if (found := convertible(file.path)) is None:
            continue
        data, header = found
        conversion = Conversion(header.transfer_syntax, header.dataset_offset, header.sop_class, header.sop_instance)
        pieces = [out for at in range(0, len(data), PIECE) for out in conversion.feed(data[at : at + PIECE])]
        converted = header_of(b"".join([*pieces, *conversion.finish()]))
        assert converted.transfer_syntax == EXPLICIT_LE
        syntaxes.add(header.transfer_syntax)
        if converted.json != header.json:
            changed.append(file.name)
    assert changed == []
    assert len(syntaxes) == 3, "implicit, big endian and deflated are there"


def test_a_file_that_ends_inside_an_element_is_not_converted(corpus: list[CorpusFile]) -> None:
    (broken,) = (file for file in corpus if file.name.endswith("/rtplan_truncated.dcm"))
    data = broken.path.read_bytes()
    header = header_of(data)
    assert header.broken_off
    conversion = Conversion(header.transfer_syntax, header.dataset_offset, header.sop_class, header.sop_instance)
    conversion.feed(data)
    with pytest.raises(Unreadable, match="ends inside"):
        conversion.finish()
