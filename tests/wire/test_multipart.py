"""multipart/related on the wire: Content-Type, delimiters, headers, limits (RFC 2046 5.1, PS3.18 8.6)."""

from __future__ import annotations

import pytest

from app.dicom.limits import DEFAULT, Limits
from app.dicomweb.multipart import (
    Event,
    MultipartReader,
    boundary_of,
    parse_content_type,
)
from app.errors import BadRequest, LimitExceeded, UnsupportedMediaType

PART = b"--B\r\nContent-Type: application/dicom\r\n\r\nabc\r\n"


def _events(body: bytes, limits: Limits = DEFAULT) -> list[Event]:
    reader = MultipartReader(b"B", limits)
    events = reader.feed(body)
    reader.finish()
    return events


@pytest.mark.parametrize(
    ("value", "type_", "params"),
    [
        ("application/dicom", "application/dicom", {}),
        (' Application/DICOM+json ; Charset="utf-8" ', "application/dicom+json", {"charset": "utf-8"}),
        (
            'multipart/related; type="application/dicom"; boundary="a b"; transfer-syntax=1.2.840.10008.1.2.4.50',
            "multipart/related",
            {"type": "application/dicom", "boundary": "a b", "transfer-syntax": "1.2.840.10008.1.2.4.50"},
        ),
        (
            "multipart/related;type=application/dicom;boundary=--=_x?;",
            "multipart/related",
            {"type": "application/dicom", "boundary": "--=_x?"},
        ),
        ('a/b; c="d\\"e\\\\;f"', "a/b", {"c": 'd"e\\;f'}),
        ("a/b; c=1; C=1", "a/b", {"c": "1"}),
        ('a/b; start=""', "a/b", {"start": ""}),
    ],
)
def test_content_types(value: str, type_: str, params: dict[str, str]) -> None:
    content_type = parse_content_type(value)
    assert (content_type.type, dict(content_type.params)) == (type_, params)


@pytest.mark.parametrize("value", ["dicom", "a/b c", "a/b; c", 'a/b; c="d', "a/b; c=1; c=2", "a/b; =x", "a/b,c/d"])
def test_malformed_content_types(value: str) -> None:
    with pytest.raises(BadRequest):
        parse_content_type(value)


def test_no_content_type() -> None:
    with pytest.raises(UnsupportedMediaType):
        parse_content_type(" ")


@pytest.mark.parametrize(
    "value", ["multipart/related", 'multipart/related; boundary=""', "multipart/related; boundary=ü"]
)
def test_no_boundary(value: str) -> None:
    with pytest.raises(BadRequest):
        boundary_of(parse_content_type(value))


@pytest.mark.parametrize("boundary", [b"", b"a ", b"a\r\n", b"a{", b"\xff"])
def test_boundary_alphabet(boundary: bytes) -> None:
    with pytest.raises(BadRequest):
        MultipartReader(boundary)


def test_boundary_length() -> None:
    MultipartReader(b"b" * 70)
    with pytest.raises(LimitExceeded) as refused:
        MultipartReader(b"b" * 71)
    assert refused.value.limit == "boundary"


@pytest.mark.parametrize(
    "body",
    [
        PART + b"--B--",
        PART + b"--B--\r\n",
        PART + b"--B--\r\nepilogue --B\r\n",
        b"\r\n" + PART + b"--B--",
        b"a preamble\r\n--Bx\r\n" + PART + b"--B--",
        PART.replace(b"--B\r\n", b"--B \t\r\n") + b"--B--",
        b"preamble\r\n" + PART.replace(b"--B\r\n", b"--B \t\r\n") + b"--B--",
    ],
)
def test_one_part(body: bytes) -> None:
    assert _events(body) == [("part", {b"content-type": b"application/dicom"}), ("data", b"abc"), ("end",)]


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n--", b"\r\n--Bx\r\n", b"--B", b"\n--B\n", b"\r\n--B-\r\n--B-x"])
def test_data_that_looks_like_a_delimiter(data: bytes) -> None:
    events = _events(b"--B\r\n\r\n" + data + b"\r\n--B--")
    assert events[0] == ("part", {})
    assert b"".join(event[1] for event in events if event[0] == "data") == data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        PART,
        PART + b"--B",
        PART + b"--B-",
        b"--B--",
        PART.replace(b"\r\n", b"\n") + b"--B--\n",
        b"--B\r\nContent-Type application/dicom\r\n\r\nabc\r\n--B--",
        b"--B\r\nA: b\r\n folded\r\n\r\nabc\r\n--B--",
        b"--B\r\nA: b\r\na: c\r\n\r\nabc\r\n--B--",
        b"--B\r\nA: b\nC: d\r\n\r\nabc\r\n--B--",
        b"--B\r\n: b\r\n\r\nabc\r\n--B--",
    ],
)
def test_malformed_bodies(body: bytes) -> None:
    with pytest.raises(BadRequest):
        _events(body)


def test_parts_before_a_fault_are_given_first() -> None:
    reader = MultipartReader(b"B")
    events = reader.feed(PART + b"--B\r\nno header\r\n")
    assert events[-1] == ("end",)
    with pytest.raises(BadRequest):
        reader.feed(b"more")
    with pytest.raises(BadRequest):
        reader.finish()


def test_part_headers() -> None:
    body = (
        b"--B\r\nCONTENT-TYPE:  image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90 \r\nContent-Location: /a/b?c=d:e\r\n"
        b"Content-Length: 9\r\nContent-Transfer-Encoding: Binary\r\n\r\nabc\r\n--B--"
    )
    assert _events(body)[0] == (
        "part",
        {
            b"content-type": b"image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90",
            b"content-location": b"/a/b?c=d:e",
            b"content-length": b"9",
            b"content-transfer-encoding": b"Binary",
        },
    )


@pytest.mark.parametrize("header", [b"Content-Transfer-Encoding: base64", b"Content-Encoding: gzip"])
def test_encodings_are_refused(header: bytes) -> None:
    with pytest.raises(UnsupportedMediaType):
        MultipartReader(b"B").feed(b"--B\r\n" + header + b"\r\n\r\nabc")


@pytest.mark.parametrize(
    ("limit", "body"),
    [
        ("parts", PART * 3 + b"--B--"),
        ("part", b"--B\r\n\r\n" + b"x" * 101 + b"\r\n--B--"),
        ("part_header", b"--B\r\nA: " + b"x" * 100 + b"\r\nB: c\r\n\r\nabc\r\n--B--"),
        ("multipart_preamble", b"x" * 101 + b"\r\n" + PART + b"--B--"),
    ],
)
def test_G31_limits(limit: str, body: bytes) -> None:
    limits = Limits(parts=2, part=100, part_header=100, multipart_preamble=100)
    with pytest.raises(LimitExceeded) as refused:
        _events(body, limits)
    assert refused.value.limit == limit


def test_a_chunk_of_data_is_not_copied() -> None:
    reader = MultipartReader(b"B")
    reader.feed(b"--B\r\n\r\n")
    chunk = bytes(65536)
    (event,) = reader.feed(chunk)
    assert event[0] == "data"
    assert event[1] is chunk
