"""Identifiers are read alike in every native transfer syntax; any bytes give a value or `Refused`."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from app.dicom.limits import Limits
from app.dicom.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from app.errors import LimitExceeded, Refused, Unreadable
from dimse_bridge.identifiers.request import Identifier, Key, read_identifier
from tests.dimse.find.encoding import SYNTAXES, encode, identifier

UNDEFINED = b"\xff\xff\xff\xff"
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"


def step(**keys: object) -> Dataset:
    ds = Dataset()
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_keys_are_the_same_in_every_syntax(syntax: str) -> None:
    ds = identifier(
        "IMAGE",
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^*",
        StudyDate="20200101-20201231",
        ModalitiesInStudy=["CT", "MR"],
        StudyInstanceUID=["1.2.3", "1.2.4"],
        SeriesNumber=7,
        Rows=512,
        FrameIncrementPointer=0x00181063,
        PatientWeight=None,
        RequestAttributesSequence=[step(RequestedProcedureID="RP*", ScheduledProcedureStepID=None)],
        ReferencedStudySequence=[],
        ProcedureCodeSequence=[Dataset()],
    )
    found = read_identifier(encode(ds, syntax), syntax)
    assert found.level == "IMAGE"
    assert found.character_set == "ISO_IR 100"
    texts = {key.tag: key.text for key in found.keys}
    assert texts[0x00100010] == "Müller^*"
    assert texts[0x00080020] == "20200101-20201231"
    assert texts[0x00080061] == "CT\\MR"
    assert texts[0x0020000D] == "1.2.3\\1.2.4"
    assert (texts[0x00200011], texts[0x00280010], texts[0x00280009], texts[0x00101030]) == ("7", "512", "00181063", "")
    by_tag = {key.tag: key for key in found.keys}
    assert by_tag[0x00400275].items == ((Key(0x00400009, "SH"), Key(0x00401001, "SH", "RP*")),)
    assert by_tag[0x00081110].items == ()
    assert by_tag[0x00081032].items == ((),)
    assert [key.tag for key in found.keys] == sorted(texts)


def test_an_encapsulated_syntax_means_explicit_little_endian() -> None:
    """C-GET may be negotiated in any of them."""
    encoded = encode(identifier("SERIES"), EXPLICIT_LE)
    assert read_identifier(encoded, "1.2.840.10008.1.2.4.70").level == "SERIES"


def element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


LEVEL = element(0x00080052, b"STUDY ")


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (element(0x00080000, b"\x0e\0\0\0") + LEVEL, ""),
        (element(0x00100010, b"A") + element(0x00100010, b"B^ \0") + LEVEL, "B^"),
        (LEVEL + element(0x00000002, b"1.2") + element(0x00020010, b"1.2"), ""),
        (element(0x00100010, b"\xff*") + LEVEL, "\xff*"),
        (element(0x00080005, b"ISO_IR 192") + element(0x00100010, "名*".encode()) + LEVEL, "名*"),
    ],
    ids=["group length", "twice and padded", "foreign groups", "undeclared characters", "UTF-8"],
)
def test_oddities_that_leave_no_doubt_are_forgiven(encoded: bytes, text: str) -> None:
    found = read_identifier(encoded, IMPLICIT_LE)
    assert found.level == "STUDY"
    assert found.text(0x00100010) == text
    assert all(key.tag >> 16 > 2 and key.tag & 0xFFFF for key in found.keys)


def test_sequences_of_undefined_length_and_implicit_elements_in_explicit_data() -> None:
    inner = ITEM + UNDEFINED + element(0x00401001, b"RP") + ITEM_END
    sequence = struct.pack("<HH", 0x0040, 0x0275) + UNDEFINED + inner + SEQUENCE_END
    found = read_identifier(LEVEL + sequence, IMPLICIT_LE)
    assert found.keys[-1].items == ((Key(0x00401001, "SH", "RP"),),)
    explicit = struct.pack("<HH", 0x0040, 0x0275) + b"SQ\0\0" + UNDEFINED + ITEM + UNDEFINED
    explicit += b"\x40\x00\x01\x10SH\x02\x00RP" + SEQUENCE_END
    assert read_identifier(explicit, EXPLICIT_LE).keys[0].items == ((Key(0x00401001, "SH", "RP"),),)
    assert read_identifier(element(0x00100020, b"\x01\x02"), EXPLICIT_LE).keys[0].vr == "LO"


@pytest.mark.parametrize(
    "encoded",
    [
        LEVEL[:-1],
        b"\x08\0",
        struct.pack("<HHI", 0x0008, 0x0052, 1 << 31) + b"STUDY",
        struct.pack("<HHI", 0x0008, 0x0052, 0xFFFFFFFF),
        struct.pack("<HHI", 0x0040, 0x0275, 0xFFFFFFFF) + ITEM + UNDEFINED,
        struct.pack("<HHI", 0x0040, 0x0275, 16) + element(0x00401001, b"RP"),
        ITEM_END + LEVEL,
    ],
)
def test_what_contradicts_itself_is_refused(encoded: bytes) -> None:
    with pytest.raises(Unreadable):
        read_identifier(encoded, IMPLICIT_LE)


def test_limits() -> None:
    nested = b""
    for _ in range(9):
        nested = element(0x00400275, ITEM + struct.pack("<I", len(nested)) + nested)
    with pytest.raises(LimitExceeded, match="nested"):
        read_identifier(nested, IMPLICIT_LE)
    many = b"".join(element(0x00110000 + at, b"") for at in range(0x10, 1100))
    with pytest.raises(LimitExceeded, match="elements"):
        read_identifier(many, IMPLICIT_LE)
    with pytest.raises(LimitExceeded, match="longer"):
        read_identifier(LEVEL, IMPLICIT_LE, Limits(part=4))
    with pytest.raises(LimitExceeded, match="inflat"):
        read_identifier(encode(identifier(PatientComments="x" * 2_000_000), DEFLATED_LE), DEFLATED_LE)


REQUEST = encode(
    identifier(
        SpecificCharacterSet="\\ISO 2022 IR 87",
        PatientName="山田*",
        StudyInstanceUID=["1.2.3", "1.2.4"],
        RequestAttributesSequence=[step(RequestedProcedureID="RP*")],
    )
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SYNTAXES), st.data())
def test_any_bytes_give_a_value_or_refused(syntax: str, data: st.DataObject) -> None:
    encoded = bytearray(REQUEST)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(REQUEST) - 1), st.integers(0, 255)), max_size=6)):
        encoded[at] = value
    raw = data.draw(st.one_of(st.just(bytes(encoded)), st.binary(max_size=200)))
    try:
        found = read_identifier(raw, syntax)
    except Refused:
        return
    assert isinstance(found, Identifier)
    assert all(isinstance(key.text, str) for key in found.keys)


def test_big_endian_numbers() -> None:
    encoded = encode(identifier(Rows=512), EXPLICIT_BE)
    assert read_identifier(encoded, EXPLICIT_BE).text(0x00280010) == "512"
