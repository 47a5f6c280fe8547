"""A small HTTP/1.1 server (RFC 9112) for the archive as its only client: one request a connection, bodies in both
directions bounded or streamed with back-pressure. When the client goes away, the work for it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote

from app.errors import BadRequest, LimitExceeded

log = logging.getLogger("fileroom.bridge.remote")

Pieces = AsyncGenerator[bytes, None]
_LONGEST_HEAD = 64 * 1024
_LONGEST_BODY = 1 << 20
_REQUEST_SECONDS = 10.0
_STALL_SECONDS = 60.0
"""Seconds in which the client must take the next piece."""


@dataclass(frozen=True, slots=True)
class Request:
    """`path` are the decoded segments of the path, `query` is as sent; names of `headers` are in lower case."""

    method: str
    path: tuple[str, ...]
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a body that is at hand, or one that comes by and by; when that raises, the connection is cut."""

    status: int
    content_type: str = ""
    body: bytes | Pieces = b""
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Reply]]


class Server:
    """Answers on one listening socket, which other processes may listen on too."""

    def __init__(self, handler: Handler, refuse: Callable[[Exception], Reply]) -> None:
        self._handler = handler
        self._refuse = refuse
        self._server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        """Connections under way."""

    async def start(self, listener: socket.socket) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._meet, sock=listener, limit=_LONGEST_HEAD)

    def close(self) -> None:
        """Listens no more; what is under way goes on."""
        if self._server is not None:
            self._server.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await _read(reader)
        except (BadRequest, LimitExceeded) as error:
            await _send(writer, self._refuse(error))
            return
        answering = asyncio.ensure_future(self._answer(request, writer))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            answering.cancel()
            fault, _ = await asyncio.gather(answering, gone, return_exceptions=True)
        if isinstance(fault, Exception):
            log.warning("an answer was broken off: %s", type(fault).__name__)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            await _send(writer, await self._handler(request))
        except BaseException:
            writer.transport.abort()  # its end must not be seen
            raise


async def _read(reader: asyncio.StreamReader) -> Request:
    """Raises `BadRequest` or `LimitExceeded`."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError as error:
        raise LimitExceeded("request", "the head of the request is too long") from error
    start, *lines = head[:-4].split("\r\n")
    words = start.split(" ")
    if len(words) != 3:
        raise BadRequest("the request is not HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in headers:
        raise BadRequest("a body needs its length")
    if len(length) > 9 or int(length) > _LONGEST_BODY:
        raise LimitExceeded("request", f"the body has more than {_LONGEST_BODY} bytes")
    path, _, query = words[1].partition("?")
    segments = tuple(unquote(segment, errors="replace") for segment in path.strip("/").split("/"))
    return Request(words[0], segments, query, headers, await reader.readexactly(int(length)))


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", "cache-control: no-store"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if reply.content_type:
        lines.append(f"content-type: {reply.content_type}")
    whole = reply.body if isinstance(reply.body, bytes) else None
    if whole is not None:
        lines += [] if reply.status == HTTPStatus.NO_CONTENT else [f"content-length: {len(whole)}"]
    else:
        lines.append("transfer-encoding: chunked")
    head = ("\r\n".join([*lines, "connection: close"]) + "\r\n\r\n").encode("latin-1", "replace")
    if isinstance(reply.body, bytes):
        await _write(writer, head + reply.body)
        return
    async with aclosing(reply.body) as pieces:
        await _write(writer, head)
        async for piece in pieces:
            if piece:
                await _write(writer, b"%x\r\n%b\r\n" % (len(piece), piece))
        await _write(writer, b"0\r\n\r\n")


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    async with asyncio.timeout(_STALL_SECONDS):
        await writer.drain()
