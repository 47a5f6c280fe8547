"""Range, If-Range and If-None-Match headers ↔ what they mean."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicomweb.ranges import matches, parse_range, range_applies
from app.errors import RangeNotSatisfiable

LENGTH = 1000


@pytest.mark.parametrize(
    ("header", "spans"),
    [
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-999", [(500, 1000)]),
        ("bytes=500-", [(500, 1000)]),
        ("bytes=-500", [(500, 1000)]),
        ("bytes=-2000", [(0, 1000)]),
        ("bytes=0-0,-1", [(0, 1), (999, 1000)]),
        ("bytes= 0-0 ,\t500-600", [(0, 1), (500, 601)]),
        ("bytes=990-5000", [(990, 1000)]),
        ("BYTES=0-1", [(0, 2)]),
        ("bytes=0-1,,3-4", [(0, 2), (3, 5)]),
        ("bytes=0-9,2000-", [(0, 10)]),
        ("bytes=500-600,0-9", [(500, 601), (0, 10)]),
        ("bytes=0-", [(0, 1000)]),
        (
            ",".join(["bytes=0-1"] + [f"{at}-{at}" for at in range(10, 17)]),
            [(0, 2)] + [(at, at + 1) for at in range(10, 17)],
        ),
    ],
)
def test_satisfiable(header: str, spans: list[tuple[int, int]]) -> None:
    assert [tuple(span) for span in parse_range(header, LENGTH) or ()] == spans


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=,", "items=0-1", "bytes=a-b", "bytes=5-2", "bytes=-", "bytes=--1", "bytes=1--2",
        "bytes=+1-2", "bytes=0x1-2", "bytes=\u0661-\u0662", "bytes=1-2-3", "bytes=0-999,0-999", "bytes=0-,0-",
        "bytes=" + "9" * 30 + "-", "bytes=" + ",".join(f"{at}-{at}" for at in range(9)), "bytes=" + "0-0," * 500,
    ],
)  # fmt: skip
def test_ignored(header: str) -> None:
    assert parse_range(header, LENGTH) is None


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=1000-,2000-3000"])
def test_not_satisfiable(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, LENGTH)


def test_nothing_can_be_had_of_nothing() -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=0-", 0)
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=-5", 0)


def test_content_range() -> None:
    spans = parse_range("bytes=1-2", LENGTH)
    assert spans is not None
    assert spans[0].content_range(LENGTH) == "bytes 1-2/1000"


@given(st.text(alphabet="bytes=0123456789-, ", max_size=200) | st.text(max_size=50), st.integers(0, 5000))
def test_any_text_gives_spans_inside_the_value(header: str, length: int) -> None:
    try:
        spans = parse_range(header, length) or []
    except RangeNotSatisfiable:
        return
    assert len(spans) <= 8
    assert all(0 <= span.start < span.end <= length for span in spans)
    assert sum(span.end - span.start for span in spans) <= length


def test_parsing_is_linear() -> None:
    begin = time.perf_counter()
    for header in ("bytes=" + "0-" * 100_000, "bytes=" + "," * 200_000, "bytes=" + "9" * 200_000 + "-"):
        parse_range(header, LENGTH)
    assert time.perf_counter() - begin < 0.2


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ('"a"', True), ('"b"', False), ('"b", "a"', True), ('W/"a"', True), ("*", True), (" * ", True), ('"A"', False),
        ("a", False), ("", False), ('"b" , W/"a"', True),
    ],
)  # fmt: skip
def test_if_none_match(header: str, known: bool) -> None:
    assert matches(header, '"a"') is known


@pytest.mark.parametrize(
    ("header", "applies"),
    [("", True), ('"a"', True), ('W/"a"', False), ('"b"', False), ("Tue, 01 Jan 2030 00:00:00 GMT", False)],
)
def test_if_range(header: str, applies: bool) -> None:
    assert range_applies(header, '"a"') is applies
