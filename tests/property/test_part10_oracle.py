"""The header reader against pydicom: the whole corpus of real files, and data sets that hypothesis makes up."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from app.dicom.header import FRAGMENTED, FRAME_ENTRY, Header
from app.dicom.part10 import HeaderReader
from app.dicom.prepared import MEMORIES
from app.dicom.transfer_syntaxes import DEFLATED_LE as DEFLATED
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import Refused, Unreadable
from tests.property import datasets
from tests.property.annex_f import compare, read, read_without_identifiers, theirs
from tests.testdata.collect import MARK, corpus_folder
from tests.testdata.fixtures import CorpusFile, corpus_files

REFUSED = {
    "pydicom/test_files/no_meta.dcm": "begins one byte before its first element",
    "test_conversion_error_logs_filename_and_error_type/bad.dcm": "not DICOM",
    "pydicom-data/bad_sequence.dcm": "the SOP Instance UID is not one",
}
"""What cannot be read at all, by the end of its name, and why. Nothing is left to another parser: every other file is
read by the reader itself."""
BROKEN_OFF = {
    "pydicom/test_files/MR_truncated.dcm": "",
    "pydicom/test_files/rtplan_truncated.dcm": "300A00B0/1/300A0111/1/300A012C",
    "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm": "",
}
"""Files that end inside an element → the value of which pydicom gives a part where the reader gives nothing."""
NO_DELIMITER = "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm"
"""A file of which pydicom reads nothing, since the end of its fragments is missing: it gets one."""
KEPT_AS_BYTES = {"dicomdirtests/DICOMDIR-nooffset": "00041220"}
"""Sequences that contradict themselves: pydicom reads past their ends, the reader keeps them as UN and warns."""
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
CONTROL = re.compile(rb"[\x00-\x1f]")
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def files() -> list[CorpusFile]:
    folder = corpus_folder()
    if not (folder / MARK).exists():
        pytest.fail("no corpus: run `make corpus`")
    return corpus_files(folder)


def reason(file: CorpusFile) -> str | None:
    return next((why for name, why in REFUSED.items() if file.name.endswith(name)), None)


def broken_off(file: CorpusFile) -> str | None:
    return next((path for name, path in BROKEN_OFF.items() if file.name.endswith(name)), None)


def test_every_file_of_the_corpus_reads_as_pydicom_reads_it(files: list[CorpusFile]) -> None:
    wrong: dict[str, object] = {}
    refused = set()
    for file in files:
        data = file.path.read_bytes()
        try:
            header = read_without_identifiers(data)
        except Refused as error:
            refused.add(file.name)
            if reason(file) is None:
                wrong[file.name] = error.detail
            continue
        if header.broken_off != (broken_off(file) is not None):
            wrong[file.name] = header.warnings[:1]
        found = compare(data + SEQUENCE_END if file.name.endswith(NO_DELIMITER) else data, header)
        if broken_off(file) and [difference.partition(":")[0] for difference in found] == [broken_off(file)]:
            continue
        if found and not any(file.name.endswith(name) and found[0][:8] == tag for name, tag in KEPT_AS_BYTES.items()):
            wrong[file.name] = found[:5]
    assert wrong == {}
    assert [name for name in REFUSED if not any(other.endswith(name) for other in refused)] == []


def test_only_missing_identifiers_refuse_a_file(files: list[CorpusFile]) -> None:
    wrong = []
    for file in files:
        data = file.path.read_bytes()
        try:
            read(data)
        except Unreadable as error:
            if reason(file):
                continue
            _, dataset = theirs(data)
            uids = [dataset.get(name) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
            if all(uids):
                wrong.append(f"{file.name}: {error.detail}")
    assert wrong == []


def test_any_portions_of_a_real_file_give_the_same_header(files: list[CorpusFile]) -> None:
    dice = random.Random(2)
    for file in files:
        data = file.path.read_bytes()
        if len(data) > 200_000 or reason(file):
            continue
        whole = read_without_identifiers(data)
        reader = HeaderReader()
        for size in (1, 7, 61):
            again = _attempt(data, itertools.repeat(dice.randint(size, 3 * size)))
            assert again is None or again == whole, file.name
        del reader


def _attempt(data: bytes, portions: Iterator[int] | None = None) -> Header | None:
    try:
        return read(data, portions)
    except Refused:
        return None


def frame_bytes(header: Header, data: bytes) -> list[bytes]:
    """Every frame as the index places it, fragments joined."""
    index = header.frames
    if index.kind == "native":
        size = index.frame_bits // 8
        return [data[index.offset + n * size : index.offset + (n + 1) * size] for n in range(index.count)]
    out = []
    for offset, length in FRAME_ENTRY.iter_unpack(index.table):
        if not offset & FRAGMENTED:
            out.append(data[offset : offset + length])
            continue
        pos, frame = offset & ~FRAGMENTED, b""
        end = pos + length
        while pos < end:
            size = int.from_bytes(data[pos + 4 : pos + 8], "little")
            frame += data[pos + 8 : pos + 8 + size]
            pos += 8 + size
        out.append(frame)
    return out


def without_wrong_table(header: Header, dataset: Dataset) -> bytes:
    """Encapsulated pixel data; pydicom believes an offset table even where it points between fragments."""
    pixels: bytes = dataset.PixelData
    if not any("offset table" in warning.message for warning in header.warnings):
        return pixels
    return pixels[:4] + bytes(4) + pixels[8 + int.from_bytes(pixels[4:8], "little") :]


def test_frames_of_the_corpus_are_those_that_pydicom_finds(files: list[CorpusFile]) -> None:
    seen = 0
    for file in files:
        data = file.path.read_bytes()
        header = _attempt(data)
        if header is None or header.frames.kind == "none" or header.transfer_syntax.endswith(".99"):
            continue
        _, dataset = theirs(data + SEQUENCE_END if file.name.endswith(NO_DELIMITER) else data)
        mine = frame_bytes(header, data)
        number = str(dataset.get("NumberOfFrames", ""))
        video = transfer_syntax(header.transfer_syntax).video
        count = int(number) if number.isdecimal() and not video else 1
        if file.name.endswith("/MR_truncated.dcm"):
            count = 0
        assert len(mine) == header.frames.count == count, file.name
        if header.frames.kind == "native":
            bits = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated
            if dataset.PhotometricInterpretation == "YBR_FULL_422":
                bits = bits * 2 // 3
            assert header.frames.frame_bits == bits, file.name
            assert bits % 8 or b"".join(mine) == dataset.PixelData[: len(mine) * bits // 8], file.name
        else:
            assert mine == list(generate_frames(without_wrong_table(header, dataset), number_of_frames=count)), (
                file.name
            )
        seen += 1
    assert seen > 100


def portions(seed: int, most: int = 90) -> Iterator[int]:
    dice = random.Random(seed)
    return iter(lambda: dice.randint(1, most), 0)


@QUICK
@given(datasets.datasets(), st.sampled_from(datasets.SYNTAXES), st.integers(0, 99))
def test_made_up_data_sets_read_as_pydicom_reads_them(dataset: Dataset, syntax: str, seed: int) -> None:
    data = datasets.encode(dataset, syntax)
    MEMORIES.clear()
    header = read(data)
    assert compare(data, header) == []
    assert header.transfer_syntax == syntax
    assert_well_formed(header)
    assert read(data) == header
    assert read(data, portions(seed)) == header
    MEMORIES.clear()
    assert read(data, portions(seed, 9)) == header


def assert_well_formed(header: Header) -> None:
    """Valid JSON in ascending order, without control characters but for the mark of bulk data."""
    text = header.json.replace(b'"BulkDataURI":"\x01', b'"BulkDataURI":"')
    assert not CONTROL.search(text)
    members = json.loads(text)
    assert list(members) == sorted(members)
    for part in (header.study_json, header.series_json, header.instance_json):
        plain = part.replace(b'"BulkDataURI":"\x01', b'"BulkDataURI":"')
        assert json.loads(b"{" + plain + b"}").items() <= members.items()


@QUICK
@given(datasets.datasets(), st.sampled_from(datasets.SYNTAXES), st.data())
def test_damaged_bytes_give_a_header_or_a_refusal(dataset: Dataset, syntax: str, data: st.DataObject) -> None:
    good = bytearray(datasets.encode(dataset, syntax))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    bad = bytes(good[: data.draw(st.integers(0, len(good)))]) if data.draw(st.booleans()) else bytes(good)
    seed = data.draw(st.integers(0, 99))
    MEMORIES.clear()
    whole = _attempt(bad)
    assert _attempt(bad, portions(seed)) == whole
    if whole is not None:
        assert_well_formed(whole)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), st.sampled_from(datasets.OPENINGS))
def test_any_bytes_give_a_header_or_a_refusal(noise: bytes, opening: bytes) -> None:
    _attempt(opening + noise)


def assert_is_a_beginning(part: dict[str, object], whole: dict[str, object], last: str) -> None:
    """Every element of `part` stands in `whole`; only in the element `last` some of it may be missing."""
    for tag, one in part.items():
        other = whole[tag]
        if one == other:
            continue
        assert tag == last
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        assert one["vr"] == other["vr"]
        items, others = one.get("Value", []), other.get("Value", [])
        assert len(items) <= len(others)
        for number, (item, twin) in enumerate(zip(items, others, strict=False), 1):
            assert_is_a_beginning(item, twin, max(item, default="") if number == len(items) else "")


def elements(header: Header) -> dict[str, object]:
    found: dict[str, object] = json.loads(header.json, strict=False)
    return found


@QUICK
@given(datasets.datasets(), st.sampled_from(datasets.SYNTAXES), st.data())
def test_of_a_data_set_that_ends_anywhere_its_beginning_is_read(
    dataset: Dataset, syntax: str, data: st.DataObject
) -> None:
    whole = datasets.encode(dataset, syntax)
    all_of_it = read(whole)
    end = data.draw(st.integers(all_of_it.dataset_offset, len(whole) - 1))
    MEMORIES.clear()
    header = _attempt(whole[:end])
    MEMORIES.clear()
    assert _attempt(whole[:end], portions(data.draw(st.integers(0, 99)))) == header
    if header is None:
        return
    assert_well_formed(header)
    part = elements(header)
    assert_is_a_beginning(part, elements(all_of_it), max(part))
    assert all(place.offset + place.length <= end for place in header.bulk if syntax != DEFLATED)
    again = read(whole)
    assert again == all_of_it, "what was cut is not remembered"


def test_of_real_files_that_end_anywhere_the_beginning_is_read(files: list[CorpusFile]) -> None:
    dice = random.Random(5)
    read_so = 0
    for file in files:
        data = file.path.read_bytes()
        whole = _attempt(data)
        if whole is None or len(data) > 200_000 or whole.broken_off:
            continue
        for _ in range(4):
            end = dice.randint(whole.dataset_offset, len(data) - 1)
            header = _attempt(data[:end])
            if header is None:
                continue
            assert _attempt(data[:end], itertools.repeat(dice.randint(50, 5000))) == header, (file.name, end)
            part = elements(header)
            if "elements out of order" not in {warning.message for warning in whole.warnings}:
                assert_is_a_beginning(part, elements(whole), max(part))
            assert header.frames.count <= whole.frames.count
            read_so += header.broken_off
    assert read_so > 500
