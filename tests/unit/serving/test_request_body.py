"""What a client sends as the body of a request is what the application gets, however it is cut on its way."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.serving.exchange import JOINED, SHORT, UNREAD
from app.serving.protocol import DeadlineProtocol, Pace

LONG = 3 * UNREAD + 17


@dataclass
class Application:
    """Answers each request with the digest of its body; `/refused` with 413 as soon as it has its header."""

    pieces: list[int] = field(default_factory=list)
    disconnects: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        digest, status, more = hashlib.sha256(), 200, True
        if scope["path"] == "/refused":
            status, more = 413, False
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            digest.update(message["body"])
            self.pieces.append(len(message["body"]))
            more = message["more_body"]
        answer = digest.hexdigest().encode()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"64")]})
        await send({"type": "http.response.body", "body": answer})
        if scope["path"] == "/waits":
            self.disconnects += (await receive())["type"] == "http.disconnect"


@asynccontextmanager
async def line(application: Application) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of the application."""
    config = uvicorn.Config(application, http=DeadlineProtocol, ws="none", log_config=None)
    config.load()
    state, opened, closed = ServerState(), asyncio.Event(), asyncio.Event()

    def count() -> None:
        (opened if state.connections else closed).set()

    def protocol() -> DeadlineProtocol:
        return DeadlineProtocol(pace=Pace(10, 10, 1), on_count=count, config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await opened.wait()
    try:
        yield reader, writer
    finally:
        writer.close()
        await closed.wait()
        await asyncio.gather(*state.tasks)
        server.close()
        await server.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1]), await reader.readexactly(64)


def head(length: int, path: str = "/", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


@pytest.mark.parametrize("length", [0, 1, SHORT, JOINED + 1, UNREAD + 1, LONG])
@pytest.mark.parametrize("cut", [1000, 65_536, 1 << 20])
async def test_bodies_of_known_length_come_whole_and_so_does_what_follows(length: int, cut: int) -> None:
    body = os.urandom(length)
    sent = (head(length) + body) * 2 + head(3) + b"end"
    async with line(Application()) as (reader, writer):
        for at in range(0, len(sent), cut):
            writer.write(sent[at : at + cut])
            await writer.drain()
            await asyncio.sleep(0)
        assert [await answer(reader) for _ in range(3)] == [(200, digest(body))] * 2 + [(200, digest(b"end"))]


async def test_a_long_body_is_handed_on_in_the_pieces_in_which_it_came() -> None:
    application = Application()
    body = os.urandom(LONG)
    async with line(application) as (reader, writer):
        writer.write(head(LONG) + body)
        assert await answer(reader) == (200, digest(body))
    assert sum(application.pieces) == LONG
    assert max(application.pieces) <= UNREAD + SHORT  # what one read of a socket takes at most, not the whole


@pytest.mark.parametrize("size", [1, 700, 100_000])
async def test_chunks_make_one_body(size: int) -> None:
    application = Application()
    body = os.urandom(200_000 if size > 1 else 20_000)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    async with line(application) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + sent + head(1) + b"x")
        assert await answer(reader) == (200, digest(body))
        assert await answer(reader) == (200, digest(b"x"))
    assert len(application.pieces) < 100  # not one message for each of many short pieces


async def test_the_rest_of_a_refused_body_is_passed_over() -> None:
    async with line(Application()) as (reader, writer):
        writer.write(head(LONG, "/refused") + bytes(LONG) + head(2) + b"ok")
        assert (await answer(reader))[0] == 413
        assert await answer(reader) == (200, digest(b"ok"))


async def test_a_client_that_waits_for_100_is_told() -> None:
    async with line(Application()) as (reader, writer):
        writer.write(head(LONG, more="Expect: 100-continue\r\n"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(bytes(LONG))
        assert await answer(reader) == (200, digest(bytes(LONG)))


@pytest.mark.parametrize("sent", [0, 1000, LONG - 1])
async def test_a_body_that_breaks_off_is_told_as_that(sent: int) -> None:
    application = Application()
    async with line(application) as (_, writer):
        writer.write(head(LONG) + bytes(sent))
        await writer.drain()
    assert application.disconnects == 1


async def test_who_asks_on_after_the_end_learns_when_the_client_leaves() -> None:
    application = Application()
    async with line(application) as (reader, writer):
        writer.write(head(2, "/waits") + b"ok")
        assert await answer(reader) == (200, digest(b"ok"))
    assert application.disconnects == 1
