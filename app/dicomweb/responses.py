"""Lean ASGI answers: bytes at once, or a stream with the server's back-pressure and without a task for each request.

A stream's first piece is made before the status line leaves, so that a failure until then still gets its own answer; a
later one is raised, and the server resets the connection: a reader sees a body cut short, never a wrong one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from app.dicomweb import multipart_writer as parts
from app.dicomweb import ranges
from app.dicomweb.faults import problem
from app.errors import FileroomError, RangeNotSatisfiable

Piece = bytes | memoryview
Pieces = AsyncGenerator[Piece, None]
Headers = dict[str, str]


def header(scope: Mapping[str, Any], name: bytes) -> str:
    """The first value of a request header, or nothing."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def describe(etag: str, content_type: str, **more: str) -> Headers:
    """The headers of every answer of Retrieve. It may be kept by the client but must be revalidated: an address stays
    while a newer version may replace what it names. Arguments in `more` are header names with `_` for `-`."""
    headers = {
        "content-type": content_type,
        "etag": etag,
        "cache-control": "private, no-cache",
        "vary": "Accept, Accept-Encoding",
        "x-content-type-options": "nosniff",
    }
    for name, value in more.items():
        headers[name.replace("_", "-")] = value
    return headers


def is_unchanged(scope: Mapping[str, Any], etag: str) -> bool:
    """Whether the client has this representation already (If-None-Match)."""
    known = header(scope, b"if-none-match")
    return bool(known) and ranges.matches(known, etag)


class Whole(Response):
    """Pieces that are in memory, sent one after the other without a copy. For HEAD, only their length is told."""

    def __init__(self, pieces: Sequence[Piece], headers: Mapping[str, str], status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.body = b""
        self.pieces = pieces
        self.raw_headers = _raw(headers)
        if status not in (204, 304):
            self.raw_headers.append((b"content-length", b"%d" % sum(map(len, pieces))))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD" or not self.pieces:
            await send({"type": "http.response.body", "body": b""})
            return
        for piece in self.pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": self.pieces[-1]})


class Stream(Response):
    """Pieces as they come. `length` is told when it is known beforehand, else the body is chunked. When the client goes
    away, making more stops. For HEAD, nothing is made."""

    def __init__(
        self, pieces: Pieces, headers: Mapping[str, str], status: int = 200, length: int | None = None
    ) -> None:
        self.status_code = status
        self.background = None
        self.body = b""
        self.pieces = pieces
        self.raw_headers = _raw(headers)
        if length is not None:
            self.raw_headers.append((b"content-length", b"%d" % length))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        async with aclosing(self.pieces) as pieces:
            try:
                first = await anext(pieces, b"")
            except FileroomError as error:
                await problem(error)(scope, receive, send)
                return
            await send(start)
            await send({"type": "http.response.body", "body": first, "more_body": True})
            await self._rest(pieces, receive, send)

    async def _rest(self, pieces: Pieces, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(left(receive))
        try:
            async for piece in pieces:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()


async def left(receive: Receive) -> None:
    """Returns when the client went away; a request body that nobody reads is passed over."""
    while (await receive())["type"] != "http.disconnect":
        pass


def not_modified(headers: Mapping[str, str]) -> Whole:
    """304, with the headers that the whole answer would have (RFC 9110 15.4.5)."""
    return Whole((), {name: value for name, value in headers.items() if not name.startswith("content-")}, 304)


def ranged(scope: Mapping[str, Any], headers: Headers, length: int, read: Callable[[int, int], Pieces]) -> Response:
    """An answer of `length` bytes, or the ranges of it that the request asks for (RFC 9110 14); `read(offset, length)`
    gives its bytes. 416 when none of the ranges holds a byte."""
    headers["accept-ranges"] = "bytes"
    asked = header(scope, b"range") if scope["method"] == "GET" else ""
    spans = None
    if asked and ranges.range_applies(header(scope, b"if-range"), headers["etag"]):
        try:
            spans = ranges.parse_range(asked, length)
        except RangeNotSatisfiable as error:
            answer = problem(error)
            answer.headers["content-range"] = f"bytes */{length}"
            return answer
    if spans is None:
        return Stream(read(0, length), headers, length=length)
    if len(spans) == 1:
        headers["content-range"] = spans[0].content_range(length)
        size = spans[0].end - spans[0].start
        return Stream(read(spans[0].start, size), headers, 206, size)
    return _byteranges(headers, length, spans, read)


def _byteranges(
    headers: Headers, length: int, spans: Sequence[ranges.Span], read: Callable[[int, int], Pieces]
) -> Response:
    boundary = parts.boundary_of((headers["etag"], *map(str, spans)))
    heads = [
        parts.part_head(boundary, headers["content-type"], content_range=span.content_range(length), first=not at)
        for at, span in enumerate(spans)
    ]
    headers["content-type"] = f"multipart/byteranges; boundary={boundary.decode()}"

    async def pieces() -> Pieces:
        for head, span in zip(heads, spans, strict=True):
            yield head
            async for piece in read(span.start, span.end - span.start):
                yield piece
        yield parts.closing(boundary)

    size = sum(map(len, heads)) + sum(span.end - span.start for span in spans) + len(parts.closing(boundary))
    return Stream(pieces(), headers, 206, size)


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
