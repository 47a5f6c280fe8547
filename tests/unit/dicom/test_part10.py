"""The header reader on files byte by byte: how they begin, what is kept, refused, reported, and where it lies."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest

from app.dicom.header import BulkPlace, FrameIndex, Header
from app.dicom.part10 import HeaderReader
from app.errors import Refused, Unreadable
from tests.unit.dicom.encoded import (
    BIG,
    CLASS,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    element,
    fragments,
    identified,
    image,
    implicit,
    item,
    part10,
    read,
)

NAME = 0x00100010


def members(header: Header) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(header.json, strict=False)
    return found


def value(header: Header, tag: int) -> Any:
    return members(header)[f"{tag:08X}"]


def warned(header: Header) -> list[tuple[str, str]]:
    return [(warning.path, warning.message) for warning in header.warnings]


def implicit_identified(*more: bytes) -> bytes:
    own = (
        implicit(0x00080016, CLASS + "\0"),
        implicit(0x00080018, "1.2.3.4\0"),
        implicit(0x0020000D, "1.2\0"),
        implicit(0x0020000E, "1.2.3\0"),
    )
    return b"".join(sorted([*own, *more], key=lambda raw: struct.unpack_from("<HH", raw)))


# ------------------------------------------------------------------ how files begin


def test_identifiers_are_known_as_soon_as_they_have_passed() -> None:
    data = part10(image(element(0x7FE00010, "OW", bytes(1000)), rows=20, columns=25, bits=16))
    reader = HeaderReader()
    end = data.index(b"1.2.3\0") + 6
    reader.feed(data[: end - 1])
    early = reader.identifiers
    assert early is None
    assert reader.dataset_offset == data.index(element(0x00080016, "UI", CLASS + "\0"))
    reader.feed(data[end - 1 : end])
    assert reader.identifiers == ("1.2", "1.2.3", "1.2.3.4")
    reader.feed(data[end:])
    header = reader.finish()
    assert (header.study, header.series, header.sop_instance, header.sop_class) == ("1.2", "1.2.3", "1.2.3.4", CLASS)
    assert (header.transfer_syntax, header.dataset_offset) == (EXPLICIT, reader.dataset_offset)
    assert header.warnings == ()


@pytest.mark.parametrize("prefix", [b"", b"DICM", b"\0" * 128 + b"DICM"], ids=["bare", "DICM", "preamble"])
@pytest.mark.parametrize(
    ("dataset", "syntax"),
    [
        (identified(element(NAME, "PN", "A^B")), EXPLICIT),
        (implicit_identified(implicit(NAME, "A^B ")), IMPLICIT),
        (identified(element(NAME, "PN", "A^B", ">"), order=">"), BIG),
    ],
    ids=["explicit", "implicit", "big"],
)
def test_encoding_is_found_without_transfer_syntax(prefix: bytes, dataset: bytes, syntax: str) -> None:
    header = read(prefix + dataset)
    assert (header.transfer_syntax, header.dataset_offset) == (syntax, len(prefix))
    assert value(header, NAME) == {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}
    assert warned(header) == [("00020010", "no transfer syntax, taken from the encoding of the data set")]


def test_file_meta_without_preamble() -> None:
    header = read(part10(identified())[132:])
    assert (header.transfer_syntax, header.warnings) == (EXPLICIT, ())


def test_group_length_of_the_file_meta_is_not_believed() -> None:
    whole = part10(identified())
    wrong = whole.replace(element(0x00020000, "UL", whole[140:144]), element(0x00020000, "UL", b"\xff\0\0\0"))
    assert warned(read(wrong)) == [("00020000", "File Meta Information Group Length is wrong")]
    assert read(whole[:132] + whole[144:]).warnings == ()


def test_file_meta_in_implicit_vr() -> None:
    meta = implicit(0x00020010, IMPLICIT + "\0")
    assert read(b"\0" * 128 + b"DICM" + meta + implicit_identified()).transfer_syntax == IMPLICIT


@pytest.mark.parametrize(
    ("declared", "dataset", "actual"),
    [(IMPLICIT, identified(), EXPLICIT), (EXPLICIT, implicit_identified(), IMPLICIT), (BIG, identified(), EXPLICIT)],
)
def test_the_bytes_win_over_a_wrong_transfer_syntax(declared: str, dataset: bytes, actual: str) -> None:
    header = read(part10(dataset, declared))
    assert header.transfer_syntax == actual
    assert warned(header) == [("00020010", "the data set has another encoding than the transfer syntax says")]


def test_the_data_set_wins_over_the_file_meta() -> None:
    meta = element(0x00020002, "UI", "1.2.9\0") + element(0x00020003, "UI", "1.2.3.9\0")
    header = read(part10(identified(), EXPLICIT, meta))
    assert (header.sop_class, header.sop_instance) == (CLASS, "1.2.3.4")
    assert [path for path, _ in warned(header)] == ["00020002", "00020003"]


def test_a_missing_sop_class_is_taken_from_the_file_meta() -> None:
    dataset = identified().replace(element(0x00080016, "UI", CLASS + "\0"), b"")
    assert read(part10(dataset, EXPLICIT, element(0x00020002, "UI", CLASS + "\0"))).sop_class == CLASS
    header = read(part10(dataset))
    assert (header.sop_class, warned(header)) == ("", [("00080016", "missing or no UID")])


@pytest.mark.parametrize(
    "data", [b"", b"DICM", b"\0" * 132, b"\0" * 128 + b"DICM", b"<html>" * 99, b"PK\x03\x04" * 99, b"\x89PNG" * 99]
)
def test_what_is_not_dicom_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read(data)


# ---------------------------------------------------------------- what identifies


@pytest.mark.parametrize("uid", ["1.2\0", "1.2 ", " 1.2", "1.2\0\0\0", "001.02\0"])
def test_padded_identifiers_are_normalised(uid: str) -> None:
    dataset = identified().replace(element(0x0020000D, "UI", "1.2\0"), element(0x0020000D, "UI", uid))
    assert read(part10(dataset)).study == uid.strip("\0 ")


@pytest.mark.parametrize("uid", ["", "1.2.x\0", "../../etc", "1..2", "1.2\\1.3", "9" * 66])
@pytest.mark.parametrize("tag", [0x0020000D, 0x0020000E, 0x00080018])
def test_an_identifier_that_is_no_uid_is_refused(tag: int, uid: str) -> None:
    good = {0x0020000D: "1.2\0", 0x0020000E: "1.2.3\0", 0x00080018: "1.2.3.4\0"}[tag]
    dataset = identified()
    for changed in (element(tag, "UI", uid), b""):
        with pytest.raises(Unreadable, match="Instance UID"):
            read(part10(dataset.replace(element(tag, "UI", good), changed)))


def test_identifiers_inside_sequences_do_not_count() -> None:
    inner = element(0x0020000D, "UI", "1.2\0") + element(0x00080018, "UI", "9.9\0")
    sequence = element(0x00081110, "SQ", item(inner))
    for _ in range(2):
        assert read(part10(identified(sequence))).study == "1.2"
        without = identified().replace(element(0x0020000D, "UI", "1.2\0"), b"")
        with pytest.raises(Unreadable, match="Study Instance UID is missing"):
            read(part10(sequence + without))


def test_an_identifier_that_stands_twice() -> None:
    assert read(part10(identified(element(0x0020000D, "UI", "1.2 ")))).study == "1.2"
    with pytest.raises(Unreadable, match="stands twice"):
        read(part10(identified(element(0x0020000D, "UI", "1.3\0"))))


# -------------------------------------------------------------------- the JSON


def test_levels_and_values() -> None:
    header = read(
        part10(
            identified(
                element(0x00080005, "CS", "ISO_IR 100"),
                element(0x00080020, "DA", "20240131"),
                element(0x00080060, "CS", "CT"),
                element(NAME, "PN", b"M\xfcller^J=\xc4"),
                element(0x00100020, "LO", " 7 "),
                element(0x00200013, "IS", " 12 "),
                element(0x00280008, "IS", "3 "),
            )
        )
    )

    def tags(part: bytes) -> list[str]:
        return list(json.loads(b"{" + part + b"}"))

    assert tags(header.study_json) == ["00080005", "00080020", "00100010", "00100020", "0020000D"]
    assert tags(header.series_json) == ["00080060", "0020000E"]
    assert tags(header.instance_json) == ["00080016", "00080018", "00200013", "00280008"]
    assert header.values[NAME] == "Müller^J=Ä"
    assert header.values[0x00100020] == "7"
    assert (header.values[0x00200013], header.values[0x00280008], header.values[0x00080060]) == ("12", "3", "CT")


@pytest.mark.parametrize(
    ("vr", "raw", "expected"),
    [
        ("DS", b"1.250000", [1.25]),
        ("DS", b"+.5\\007\\-1E3 ", [0.5, 7, -1000]),
        ("DS", b"1\\\\2 ", [1, None, 2]),
        ("DS", b"1,5 ", ["1,5"]),
        ("DS", b"1e999 ", ["1e999"]),
        ("DS", b"1" * 40, ["1" * 40]),
        ("IS", b"12\\x ", [12, "x"]),
        ("IS", b"1.5 ", [1.5]),
        ("FL", struct.pack("<3f", float("nan"), float("inf"), -float("inf")), ["NaN", "Infinity", "-Infinity"]),
        ("FD", struct.pack("<d", 0.1), [0.1]),
        ("SV", struct.pack("<2q", -1, -(1 << 60)), [-1, str(-(1 << 60))]),
        ("UV", struct.pack("<2Q", 1, (1 << 64) - 1), [1, str((1 << 64) - 1)]),
        ("AT", struct.pack("<4H", 0x10, 0x20, 0x7FE0, 0x10), ["00100020", "7FE00010"]),
        ("CS", b"A\\\\B ", ["A", None, "B"]),
        ("LO", b" a \\b \0", [" a", "b"]),
        ("LT", b" a\\b\r\n ", [" a\\b\r\n"]),
        ("AE", b" AE1 \\ AE2", ["AE1", "AE2"]),
        ("UR", b"http://x/\\y ", ["http://x/\\y"]),
        ("PN", b"A^B=\\=C ", [{"Alphabetic": "A^B"}, {"Ideographic": "C"}]),
        ("PN", b"A^B\\\\=", [{"Alphabetic": "A^B"}, None, None]),
        ("LO", b"\x01\x02\"\x7f", ["\x01\x02\"\x7f"]),
    ],
)  # fmt: skip
def test_values_in_json(vr: str, raw: bytes, expected: list[Any]) -> None:
    header = read(part10(identified(element(0x00111001, vr, raw))))
    assert value(header, 0x00111001) == {"vr": vr, "Value": expected}
    assert b"\x01" not in header.json


@pytest.mark.parametrize("vr", ["LO", "PN", "US", "OB", "SQ", "DS", "UN", "AT", "UT", "FD"])
def test_an_empty_value_is_no_value(vr: str) -> None:
    assert value(read(part10(identified(element(0x00111001, vr)))), 0x00111001) == {"vr": vr}


def test_an_empty_item_is_an_empty_object() -> None:
    for undefined in (False, True):
        sequence = element(0x00081140, "SQ", item(b"", undefined))
        assert value(read(part10(identified(sequence))), 0x00081140) == {"vr": "SQ", "Value": [{}]}


def test_binary_values_are_little_endian() -> None:
    words = element(0x00111001, "OW", b"\1\2\3\4", ">"), element(0x00111002, "OB", b"\1\2", ">")
    header = read(part10(identified(*words, order=">"), BIG))
    assert value(header, 0x00111001) == {"vr": "OW", "InlineBinary": "AgEEAw=="}
    assert value(header, 0x00111002) == {"vr": "OB", "InlineBinary": "AQI="}


def test_group_lengths_and_other_layers_are_left_out() -> None:
    extra = element(0x00080000, "UL", bytes(4)), element(0x00100000, "UL", bytes(4)), element(0x00020013, "SH", "X ")
    assert list(members(read(part10(identified(*extra))))) == ["00080016", "00080018", "0020000D", "0020000E"]


def test_command_elements_before_a_bare_data_set() -> None:
    command = implicit(0x00000000, struct.pack("<I", 20)) + implicit(0x00000002, CLASS + "\0")
    assert read(command + implicit_identified()).study == "1.2"


def test_elements_out_of_order_are_put_in_order() -> None:
    header = read(part10(identified() + element(0x00080060, "CS", "CT") + element(0x00080060, "CS", "MR")))
    assert list(members(header)) == ["00080016", "00080018", "00080060", "0020000D", "0020000E"]
    assert value(header, 0x00080060)["Value"] == ["MR"]
    assert warned(header) == [("", "elements out of order")]


def test_a_character_set_in_an_item_ends_with_the_item() -> None:
    inner = element(0x00080005, "CS", "ISO_IR 144") + element(NAME, "PN", b"\xbb\xee")
    sequence = element(0x00081140, "SQ", item(inner))
    outer = element(0x00080005, "CS", "ISO_IR 100"), element(NAME, "PN", b"\xe4\xe4")
    header = read(part10(identified(*outer, sequence)))
    assert value(header, 0x00081140)["Value"][0]["00100010"]["Value"] == [{"Alphabetic": "Лю"}]
    assert value(header, NAME)["Value"] == [{"Alphabetic": "ää"}]


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        (element(0x00080020, "DA", "20241301"), "00080020", "not a date"),
        (element(0x00080030, "TM", "250000"), "00080030", "not a time"),
        (element(0x00280030, "DS", "x\\1 "), "00280030", "not a decimal string"),
        (element(NAME, "PN", b"abc"), "00100010", "odd length"),
        (element(NAME, "PN", b"\xe4\xe4"), "00100010", "bytes outside the declared character set"),
        (element(0x00080005, "CS", "KOI8-R"), "00080005", "unknown character set, read as ISO_IR 6"),
        (element(0x00280010, "US", b"\1\2\3\4\5\6\7"), "00280010", "length does not fit US, kept as UN"),
        (element(0x00111001, "ZZ", b"ab"), "00111001", "unknown VR, kept as UN"),
    ],
)
def test_odd_values_are_kept_and_reported(content: bytes, path: str, message: str) -> None:
    assert warned(read(part10(identified(content)))) == [(path, message)]
    nested = part10(identified(element(0x00081140, "SQ", item(b"") + item(content))))
    for _ in range(2):
        assert warned(read(nested)) == [(f"00081140/2/{path}", message)]


# ------------------------------------------------------------------ VRs


def test_implicit_vr_comes_from_the_dictionary() -> None:
    header = read(
        part10(
            implicit_identified(
                implicit(0x00091001, b"ab"),
                implicit(0x00190010, "SIEMENS CSA HEADER"),
                implicit(0x00290010, "SIEMENS CSA HEADER"),
                implicit(0x00291008, "IMAGE NUM 4 "),
                implicit(0x00291099, b"\1\2"),
                implicit(0x00281101, struct.pack("<3H", 65535, 0, 16)),
                implicit(0x00280103, struct.pack("<H", 1)),
                implicit(0x00280106, struct.pack("<h", -5)),
                implicit(0x60003000, b"\1\2"),
                implicit(0x00189810, struct.pack("<h", -7)),
            ),
            IMPLICIT,
        )
    )
    assert value(header, 0x00091001)["vr"] == "UN"
    assert value(header, 0x00290010)["vr"] == "LO"
    assert value(header, 0x00291008) == {"vr": "CS", "Value": ["IMAGE NUM 4"]}
    assert value(header, 0x00291099)["vr"] == "UN"
    assert value(header, 0x00280106) == {"vr": "SS", "Value": [-5]}
    assert value(header, 0x00281101) == {"vr": "SS", "Value": [65535, 0, 16]}
    assert value(header, 0x00189810) == {"vr": "SS", "Value": [-7]}
    assert value(header, 0x60003000)["vr"] == "OW"


def test_the_nearest_pixel_representation_decides() -> None:
    number = implicit(0x00280106, struct.pack("<h", -5))
    unsigned = implicit(0x00280103, struct.pack("<H", 0))
    signed = implicit(0x00280103, struct.pack("<H", 1))
    inner = implicit(0x00082112, item(number)) + unsigned
    header = read(part10(implicit_identified(implicit(0x00081140, item(inner) + item(number)), signed), IMPLICIT))
    first, second = value(header, 0x00081140)["Value"]
    assert first["00082112"]["Value"][0]["00280106"] == {"vr": "US", "Value": [65531]}
    assert second["00280106"] == {"vr": "SS", "Value": [-5]}


def test_un_gets_the_vr_that_is_known() -> None:
    sequence = implicit(0x00080100, "CODE") + implicit(0x00080102, "DCM ")
    header = read(
        part10(
            identified(
                element(0x00080070, "UN", "Maker "),
                element(0x00081140, "UN", item(sequence)),
                element(0x00290010, "LO", "SIEMENS CSA HEADER"),
                element(0x00291008, "UN", "IMAGE NUM 4 "),
                element(0x00291099, "UN", b"\1\2"),
            )
        )
    )
    assert value(header, 0x00080070) == {"vr": "LO", "Value": ["Maker"]}
    assert value(header, 0x00081140)["Value"][0]["00080102"] == {"vr": "SH", "Value": ["DCM"]}
    assert value(header, 0x00291008) == {"vr": "CS", "Value": ["IMAGE NUM 4"]}
    assert value(header, 0x00291099) == {"vr": "UN", "InlineBinary": "AQI="}


def test_un_of_undefined_length_is_a_sequence_in_implicit_vr() -> None:
    """PS3.5 6.2.2, Note 4."""
    content = item(implicit(0x00080100, "CODE"), True) + implicit(0xFFFEE0DD)
    header = read(part10(identified(element(0x00111001, "UN", content, length=UNDEFINED))))
    assert value(header, 0x00111001) == {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["CODE"]}}]}


def test_a_missing_item_delimiter_is_forgiven() -> None:
    content = implicit(0xFFFEE000, element(0x00080100, "SH", "CODE"), UNDEFINED) + implicit(0xFFFEE0DD)
    header = read(part10(identified(element(0x00081140, "SQ", content, length=UNDEFINED))))
    assert value(header, 0x00081140)["Value"] == [{"00080100": {"vr": "SH", "Value": ["CODE"]}}]


def test_a_newer_vr_has_a_long_length() -> None:
    newer = struct.pack("<HH2sHI", 0x0011, 0x1001, b"ZZ", 0, 4) + b"abcd"
    header = read(part10(identified(newer)))
    assert value(header, 0x00111001) == {"vr": "UN", "InlineBinary": "YWJjZA=="}


# ---------------------------------------------------------------- bulk places


def test_long_values_get_an_address() -> None:
    private = element(0x00291010, "OB", b"\7" * 1025)
    icon = element(0x00280010, "US", b"\2\0") + element(0x7FE00010, "OW", b"\1\2" * 600)
    data = part10(image(private, element(0x00880200, "SQ", item(icon)), element(0x7FE00010, "OW", b"\3\4")))
    header = read(data)
    assert header.bulk == (
        BulkPlace("00291010", "OB", data.index(b"\7" * 1025), 1025),
        BulkPlace("00880200/1/7FE00010", "OW", data.index(b"\1\2" * 600), 1200),
        BulkPlace("7FE00010", "OW", len(data) - 2, 2),
    )
    assert value(header, 0x00291010) == {"vr": "OB", "BulkDataURI": "\x0100291010"}
    assert value(header, 0x00880200)["Value"][0]["7FE00010"]["BulkDataURI"] == "\x0100880200/1/7FE00010"
    assert value(header, 0x7FE00010) == {"vr": "OW", "BulkDataURI": "\x017FE00010"}
    assert header.frames.offset == len(data) - 2


def test_encapsulated_values_inside_sequences_are_not_the_image() -> None:
    icon = fragments(b"\xff\xd8\xff\xe0")
    data = part10(image(element(0x00880200, "SQ", item(icon)), fragments(b"\xff\xd8\xff\xee")), JPEG)
    header = read(data)
    stream = item(b"") + item(b"\xff\xd8\xff\xe0")
    assert header.bulk[0] == BulkPlace("00880200/1/7FE00010", "OB", data.index(stream), len(stream))
    assert header.bulk[1].length == -1
    assert header.frames.count == 1


def test_offsets_of_a_deflated_data_set_count_in_the_inflated_one() -> None:
    dataset = image(element(0x7FE00010, "OB", bytes(6)))
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = part10(squeezed.compress(dataset) + squeezed.flush(), DEFLATED)
    header = read(data)
    assert header.frames.offset == dataset.index(element(0x7FE00010, "OB", bytes(6))) + 12
    assert header.dataset_offset == data.index(zlib.compress(dataset, 9)[2:12])
    assert read(data, portion=1) == header


def test_a_deflated_data_set_may_lie() -> None:
    dataset = identified()
    assert read(part10(dataset, DEFLATED)).transfer_syntax == EXPLICIT
    assert read(part10(zlib.compress(dataset), DEFLATED)).study == "1.2"
    squeezed = zlib.compress(dataset)[2:-4]
    with pytest.raises(Unreadable, match="ends"):
        read(part10(squeezed[:-60], DEFLATED))
    with pytest.raises(Refused):
        read(part10(b"\xff\xff" + squeezed, DEFLATED))


# ------------------------------------------------------------------- the end


INSIDE = "the data set ends inside an element"


@pytest.mark.parametrize("cut", [*range(1, 14), *range(15, 30)])
def test_what_came_of_a_data_set_that_ends_inside_an_element_is_read(cut: int) -> None:
    whole = part10(identified(element(0x00400007, "LO", "0123456789"), element(0x00409999, "OB", b"\1\2")))
    header = read(whole[:-cut])
    assert header.broken_off
    assert (header.study, header.series, header.sop_instance) == ("1.2", "1.2.3", "1.2.3.4")
    tag = "" if cut in (11, 12, 13, 29) else "00409999" if cut < 14 else "00400007"
    assert warned(header) == [(tag, INSIDE)]
    assert ("00400007" in members(header), "00409999" in members(header)) == (cut < 14, False)
    assert read(whole[:-cut], portion=1) == header == read(whole[:-cut], portion=7)
    assert not read(whole).broken_off


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_data_set_that_ends_before_it_has_told_what_it_is_is_refused(cut: int) -> None:
    with pytest.raises(Unreadable):
        read(part10(identified())[:-cut])


def test_as_much_of_native_pixel_data_as_came_is_there() -> None:
    data = part10(image(element(0x7FE00010, "OW", bytes(range(18))), frames=3))
    for cut, frames in ((1, 2), (6, 2), (7, 1), (13, 0), (17, 0)):
        header = read(data[:-cut])
        assert header.frames == FrameIndex("native", frames, len(data) - 18, 18 - cut, 48, 2)
        assert header.bulk == (BulkPlace("7FE00010", "OW", len(data) - 18, 18 - cut),)
        assert value(header, 0x7FE00010) == {"vr": "OW", "BulkDataURI": "\x017FE00010"}
        assert warned(header)[0] == ("7FE00010", INSIDE)
        assert read(data[:-cut], portion=1) == header
    for cut in (18, 20):
        header = read(data[:-cut])
        assert (header.frames.kind, header.bulk, header.broken_off) == ("none", (), True)
        assert members(header).get("7FE00010") == ({"vr": "OW"} if cut == 18 else None)


def test_a_long_value_ends_where_the_data_set_does() -> None:
    data = part10(identified(element(0x00420011, "OB", b"%PDF" * 1000)))
    header = read(data[:-100])
    assert header.bulk == (BulkPlace("00420011", "OB", len(data) - 4000, 3900),)
    assert value(header, 0x00420011) == {"vr": "OB", "BulkDataURI": "\x0100420011"}
    assert read(data[:-100], portion=100) == header
    assert value(read(data[:-4000]), 0x00420011) == {"vr": "OB"}


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("long", [True, False])
def test_sequences_hold_what_came_of_them(undefined: bool, long: bool) -> None:
    filler = element(0x00081032, "SQ", item(element(0x00080104, "LO", "x" * 60) * (100 if long else 1)))
    inner = item(element(0x00080100, "SH", "ONE "), undefined)
    inner += item(element(0x00080100, "SH", "TWO ") + element(0x00080104, "LO", "meaning "), undefined)
    if undefined:
        inner += implicit(0xFFFEE0DD)
    sequence = filler + element(0x00081140, "SQ", inner, length=UNDEFINED if undefined else None)
    data = part10(identified() + element(0x00409096, "SQ", item(sequence)))
    two = data.index(b"TWO ")
    for end, codes in ((two - 8, ["ONE"]), (two, ["ONE", ""]), (two + 4, ["ONE", "TWO"]), (two + 15, ["ONE", "TWO"])):
        header = read(data[:end])
        found = value(header, 0x00409096)["Value"][0]["00081140"]["Value"]
        assert ["".join(one.get("00080100", {}).get("Value", [])) for one in found] == codes
        assert all("00080104" not in one for one in found)
        assert warned(header)[0] == ("00409096", INSIDE)
        assert read(data[:end], portion=1) == header == read(data[:end], portion=9)
    assert read(data) == read(data, portion=3), "what was cut is not remembered"
    assert not read(data).broken_off


def test_encapsulated_values_of_a_sequence_end_where_the_data_set_does() -> None:
    data = part10(image(element(0x00880200, "SQ", item(fragments(b"\xff\xd8\xff\xe0" * 9)), length=200)), JPEG)
    begin = data.index(item(b""))
    header = read(data[:-10])
    assert header.bulk[0] == BulkPlace("00880200/1/7FE00010", "OB", begin, len(data) - 10 - begin)
    assert read(data[:-10], portion=1) == header


def test_a_deflated_data_set_that_ends_early_is_read_as_far_as_it_inflates() -> None:
    values = [element(0x00400007 + 2 * number, "LO", f"{number * number * 7919:010}") for number in range(400)]
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = part10(squeezed.compress(identified(*values)) + squeezed.flush(), DEFLATED)
    header = read(data[:-300])
    assert header.broken_off
    assert warned(header)[0][1] in (INSIDE, "the deflated data set ends too early")
    assert 40 < len(members(header)) < 400
    assert members(header).items() <= members(read(data)).items()
    assert read(data[:-300], portion=1) == header
    assert read(data[:-1]).broken_off, "the end of the stream is missing"
    assert warned(read(data[:-1]))[-1:] == [("", "the deflated data set ends too early")]


def test_a_few_bytes_after_the_pixel_data_are_forgiven() -> None:
    data = part10(image(element(0x7FE00010, "OB", bytes(6)))) + b"\r\n"
    assert warned(read(data)) == [("", "bytes after the data set")]
    assert warned(read(part10(identified()) + b"\r\n")) == [("", INSIDE)]


@pytest.mark.parametrize("padding", [1, 7, 8, 9, 512])
def test_zeros_after_the_data_set_are_forgiven(padding: int) -> None:
    data = part10(identified()) + bytes(padding)
    assert warned(read(data)) == [("", "zero bytes after the data set")]
    assert read(data, portion=3) == read(data)


@pytest.mark.parametrize(
    "content",
    [
        item(element(0x00080100, "SH", "CODE", length=400)),
        implicit(0xFFFEE000, b"", 50),
        element(0x00080100, "SH", "CODE"),
        item(element(0x00080100, "SH", "CODE") + b"abc"),
        item(b"") + b"abc",
        implicit(0xFFFEE0DD) + item(b""),
        item(implicit(0xFFFEE00D) + element(0x00080100, "SH", "CODE")),
        implicit(0xFFFEE000, element(0x00080100, "SH", "CODE"), UNDEFINED),
        item(element(0x00291010, "OB", b"no fragments", length=UNDEFINED)),
        item(element(0x00291010, "OB", b"abc" * 500) + element(0x00291011, "OB", b"", length=9)),
    ],
)
def test_a_sequence_that_contradicts_itself_is_kept_as_bytes(content: bytes) -> None:
    data = part10(identified(element(0x00081140, "SQ", content)))
    header = read(data)
    assert warned(header) == [("00081140", "a sequence that contradicts itself, kept as UN")]
    assert header.bulk == (BulkPlace("00081140", "UN", data.index(content), len(content)),)
    assert value(header, 0x00081140) == {"vr": "UN", "BulkDataURI": "\x0100081140"}
    assert read(data, portion=1) == header == read(data, portion=5)
    outer = element(0x00082112, "SQ", item(b"") + item(element(0x00081140, "SQ", content)), length=UNDEFINED)
    assert read(part10(identified(outer + implicit(0xFFFEE0DD)))).bulk[0].path == "00082112/2/00081140"


@pytest.mark.parametrize(
    "content",
    [
        element(0x00081140, "SQ", item(element(0x00080100, "SH", "CODE", length=400)), length=UNDEFINED),
        element(0x00081140, "SQ", element(0x00080100, "SH", "CODE"), length=UNDEFINED),
        element(0x00081140, "UT", b"", length=UNDEFINED),
        element(0x00291010, "OB", b"no fragments", length=UNDEFINED),
    ],
)
def test_structures_without_end_that_contradict_themselves_are_refused(content: bytes) -> None:
    with pytest.raises(Unreadable):
        read(part10(identified(content)))


def test_stray_delimiters_are_passed_over() -> None:
    header = read(part10(identified() + implicit(0xFFFEE00D) + implicit(0xFFFEE0DD)))
    assert [message for _, message in warned(header)] == ["a delimitation item outside of any sequence"] * 2
