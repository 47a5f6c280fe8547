"""Messages read by places: separators, escape sequences, character sets; any bytes give a message or a refusal."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.hl7.feed import Verdict, acknowledgement
from app.hl7.mapping import ORDER, PATIENT, Mapped
from app.hl7.message import Message, NotUnderstood, place, read, read_header
from app.hl7.orders import read_orders
from tests.support.hl7 import imaging_order, message, order

STATION = Mapped("ScheduledStationAETitle", ("IPC-9.1", "OBR-21"), "texts", in_step=True)


def value(read_message: Message, where: str) -> str:
    segment = read_message.first(where[:3])
    assert segment is not None
    return segment.value(place(where))


def test_values_are_read_by_place() -> None:
    found = read(message("ADT^A08", "PID|1||P1^^^HOSP&1.2&ISO^MR~X9||Doe^Jane"))
    assert (value(found, "PID-3.1"), value(found, "PID-3.4.1"), value(found, "PID-3.4.2")) == ("P1", "HOSP", "1.2")
    assert (value(found, "PID-3"), value(found, "PID-5.2"), value(found, "PID-30.4")) == ("P1", "Jane", "")
    assert found.header.kind == "ADT^A08"
    assert found.header.control_id == "CTL-1"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"A\T\B \F\ \S\ \R\ \E\ ", "A&B | ^ ~ \\"),
        (r"x\X41C4\y", "xAÄy"),
        (r"\H\bold\N\ end", "bold end"),
        (r"one\.br\two", "one\r\ntwo"),
        (r"a\.sp99999999999\b\Zx\c", "abc"),
        (r"a\X4\b\C2842\c", "abc"),
        ("open \\ended", "open \\ended"),
    ],
)
def test_escape_sequences(written: str, meant: str) -> None:
    assert value(read(message("ADT^A08", f"PID|1||{written}")), "PID-3") == meant


def test_other_separators() -> None:
    data = b"MSH#*:!%#A#B###2024##ORM*O01#7#P#2.3\rPID#1##P1*X:P2#|^~#Doe*Jane%x"
    found = read(data)
    assert (value(found, "PID-3"), value(found, "PID-4"), value(found, "PID-5.2.2")) == ("P1", "|^~", "x")
    assert found.header.kind == "ORM^O01"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_ends_of_segments(end: str) -> None:
    data = message("ADT^A08", "PID|1||P1").replace(b"\r", end.encode())
    assert value(read(data), "PID-3") == "P1"


@pytest.mark.parametrize(
    ("named", "text", "codec"),
    [
        ("8859/1", "Rüdiger", "latin-1"),
        ("UNICODE UTF-8", "Łukasz", "utf-8"),
        ("~ISO IR87", "山田", "iso2022_jp"),
        ("ISO IR87", "山田", "iso2022_jp"),
        ("GB 18030-2000", "王", "gb18030"),
        ("8859/5", "Люк", "iso8859_5"),
        ("", "Łukasz", "utf-8"),
    ],
)
def test_character_sets(named: str, text: str, codec: str) -> None:
    data = message("ADT^A08", character_set=named) + f"PID|1||P1||{text}".encode(codec)
    assert value(read(data), "PID-5") == text


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 100),
        (b"MSH", 100),
        (b"MSH|", 100),
        (b"MSH||||||||||", 100),
        (b"MSHA^~\\&A", 100),
        (b"EVN|A08\rMSH|^~\\&|", 100),
        (message("ADT^A08", character_set="UNICODE UTF-16"), 103),
        (message("ADT^A08") + b"PID|1||\xff", 102),
        (message("ADT^A08") + b"NTE\r" * 3000, 100),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, code: int) -> None:
    with pytest.raises(NotUnderstood) as refused:
        read(data)
    assert refused.value.code == code


def test_a_bomb_of_spaces_stays_small() -> None:
    found = read(message("ADT^A08", "PID|1||" + r"\.sp9\\.sp999999999\ "[:-1] * 200))
    assert len(value(found, "PID-3")) < 10_000


def attempt(data: bytes) -> None:
    """Everything that is done with a message before the catalog is asked."""
    try:
        header = read_header(data)
    except NotUnderstood:
        header = None
    acknowledged = acknowledgement(header, Verdict("AE", 102, "because"))
    assert b"\rMSA" in acknowledged
    with suppress(NotUnderstood):
        read_orders(read(data, "8859/1"), STATION)


@given(st.binary(max_size=400))
def test_any_bytes_give_a_message_or_a_refusal(data: bytes) -> None:
    attempt(data)
    attempt(b"MSH|^~\\&|" + data)


@given(st.data())
def test_damaged_orders_give_a_message_or_a_refusal(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from((order(), imaging_order()))))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from((b"", b"|", b"^", b"&", b"~", b"\\", b"\r", b"\0", b'""', b"\xff", b"IPC|", b"\rOBR|"))
        )
    attempt(bytes(damaged))


def test_the_table_names_places_and_attributes() -> None:
    from pydicom.datadict import tag_for_keyword

    for row in (*ORDER, *PATIENT):
        suffixes = ("Date", "Time") if row.kind == "moment" else ("",)
        assert all(tag_for_keyword(row.keyword + suffix) for suffix in suffixes), row.keyword
        assert all(map(place, row.places))
    with pytest.raises(ValueError, match="names no field"):
        place("OBR21")


def test_orders_are_told_apart() -> None:
    (first,) = read_orders(read(order()), STATION)
    assert (first.deed, first.placer, first.filler, first.accession) == ("new", "PL-1", "FL-1", "ACC-1")
    assert len(first.steps) == 1
    (second,) = read_orders(read(imaging_order()), STATION)
    assert [step.step["00080060"]["Value"] for step in second.steps] == [["CT"], ["PT"]]
    both = message("ORM^O01", "PID|1||P1", "ORC|NW|1", "OBR|1", "OBR|2", "ORC|CA|2")
    assert [(one.deed, len(one.steps)) for one in read_orders(read(both), STATION)] == [("new", 2), ("cancel", 0)]
    with pytest.raises(NotUnderstood, match="ORC-1"):
        read_orders(read(message("ORM^O01", "PID|1||P1", "ORC|QQ|1")), STATION)
