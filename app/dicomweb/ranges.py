"""Byte ranges (RFC 9110 14): a linear parser with a limit on their number, and the conditions that go with them."""

from __future__ import annotations

from typing import NamedTuple

from app.dicom.limits import DEFAULT
from app.errors import RangeNotSatisfiable


class Span(NamedTuple):
    """Bytes `start` to `end`, `end` not included."""

    start: int
    end: int

    def content_range(self, length: int) -> str:
        """The Content-Range of a part of `length` bytes."""
        return f"bytes {self.start}-{self.end - 1}/{length}"


def parse_range(header: str, length: int, limit: int = DEFAULT.ranges) -> list[Span] | None:
    """The spans that `header` asks of `length` bytes, in its order; None when the header must be ignored (another unit,
    malformed, more than `limit` ranges, or ranges that overlap so that the answer would be longer than the whole).
    Raises `RangeNotSatisfiable` when none of the ranges holds a byte."""
    unit, equals, text = header.partition("=")
    if not equals or unit.strip().lower() != "bytes" or len(text) > 1024:
        return None
    members = [member for piece in text.split(",") if (member := piece.strip(" \t"))]
    if not members or len(members) > limit:
        return None
    spans = []
    for member in members:
        span = _span(member, length)
        if span is None:
            return None
        if span.start < span.end:
            spans.append(span)
    if not spans:
        raise RangeNotSatisfiable("no byte of the range exists", extra={"length": length})
    if sum(span.end - span.start for span in spans) > length:
        return None
    return spans


def _span(member: str, length: int) -> Span | None:
    """One range; empty when it lies behind the end; None when malformed."""
    first, dash, last = member.partition("-")
    if not dash or not _is_number(first, empty=True) or not _is_number(last, empty=True):
        return None
    if not first:
        if not last:
            return None
        return Span(max(0, length - int(last)), length)
    if not last:
        return Span(int(first), max(length, int(first)))
    if int(last) < int(first):
        return None
    return Span(int(first), max(min(int(last) + 1, length), int(first)))


def _is_number(text: str, *, empty: bool) -> bool:
    if not text:
        return empty
    return len(text) <= 19 and text.isascii() and text.isdecimal()


def matches(header: str, etag: str) -> bool:
    """Whether an If-None-Match header names `etag` (weak comparison, RFC 9110 13.1.2)."""
    if header.strip() == "*":
        return True
    return any(member.strip().removeprefix("W/") == etag for member in header.split(","))


def range_applies(if_range: str, etag: str) -> bool:
    """Whether Range counts under this If-Range header (strong comparison; a date never matches: we send none)."""
    return not if_range or if_range.strip() == etag
