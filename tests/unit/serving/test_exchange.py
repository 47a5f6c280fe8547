"""How an answer leaves: pieces that are there at once in one write, others when they come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from logging import getLogger
from typing import Any, cast

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from app.serving.exchange import HELD, JOINED, Exchange


class Line(asyncio.Transport):
    """What was written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return False


def exchange(line: Line) -> Exchange:
    return Exchange(
        scope=cast(Any, {"type": "http", "method": "GET"}),
        transport=line,
        flow=FlowControl(line),
        logger=getLogger(__name__),
        access_logger=getLogger(__name__),
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )


async def answer(sender: Exchange, pieces: list[bytes], *, length: bool) -> None:
    headers = [(b"content-length", b"%d" % sum(map(len, pieces)))] if length else []
    await sender.send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await sender.send({"type": "http.response.body", "body": piece, "more_body": True})
    await sender.send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("size", [10, JOINED + 1])
async def test_what_is_there_at_once_leaves_in_one_write(size: int) -> None:
    line = Line()
    await answer(exchange(line), [b"head", bytes(size), b"end"], length=True)
    assert len(line.writes) == 1
    assert line.writes[0].endswith(b"\r\n\r\nhead" + bytes(size) + b"end")


@pytest.mark.parametrize("size", [10, JOINED + 1])
async def test_chunks_bear_their_lengths(size: int) -> None:
    line = Line()
    await answer(exchange(line), [b"head", bytes(size)], length=False)
    assert len(line.writes) == 1
    body = b"4\r\nhead\r\n" + b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n"
    assert line.writes[0].partition(b"\r\n\r\n")[2] == body


async def test_what_comes_later_is_not_waited_for() -> None:
    line = Line()
    sender = exchange(line)
    await sender.send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await asyncio.sleep(0)
    assert len(line.writes) == 1
    for number, last in ((2, False), (3, True)):
        await sender.send({"type": "http.response.body", "body": b"x", "more_body": not last})
        await asyncio.sleep(0)
        assert len(line.writes) == number


async def test_little_is_held() -> None:
    line = Line()
    sender = exchange(line)
    await sender.send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (4 * HELD))]}
    )
    for number in range(1, 4):
        await sender.send({"type": "http.response.body", "body": bytes(HELD), "more_body": True})
        assert len(line.writes) == number
