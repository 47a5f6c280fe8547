"""multipart/related answers (RFC 2046 5.1, RFC 2387; PS3.18 8.6.1.2): the bytes that go around the parts.

The boundary is made from the versions of the content, so that the same answer is the same bytes and its ETag is strong.
A version holds random bits that are drawn after the content arrived: no content can hold its own boundary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def boundary_of(versions: Iterable[str]) -> bytes:
    """The boundary of an answer made of these versions."""
    return hashlib.sha256("\0".join(versions).encode()).hexdigest()[:32].encode()


def content_type(boundary: bytes, part_type: str) -> str:
    """The Content-Type of the whole; `part_type` is the type of the first part, without parameters."""
    return f'multipart/related; type="{part_type}"; boundary={boundary.decode()}'


def part_head(
    boundary: bytes,
    label: str,
    location: str = "",
    *,
    content_range: str = "",
    length: int | None = None,
    first: bool = False,
) -> bytes:
    """What goes before a part: delimiter, Content-Type and, when given, Content-Location, Content-Range and
    Content-Length, which spares a reader the search for the next delimiter. The spelling of the names matters: viewers
    compare them case-sensitively."""
    lines = f"Content-Type: {label}\r\n"
    if location:
        lines += f"Content-Location: {location}\r\n"
    if content_range:
        lines += f"Content-Range: {content_range}\r\n"
    if length is not None:
        lines += f"Content-Length: {length}\r\n"
    return b"".join((b"--" if first else b"\r\n--", boundary, b"\r\n", lines.encode("latin-1"), b"\r\n"))


def closing(boundary: bytes) -> bytes:
    """What goes after the last part."""
    return b"\r\n--" + boundary + b"--\r\n"
