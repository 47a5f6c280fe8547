"""One request and its answer, as uvicorn has them, except for two things. The head of an answer and the pieces of its
body that are there at once leave together: one system call, and one wake-up of the client, instead of one for each. And
what came of a request's body is handed on as it came, which uvicorn copies three times.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

JOINED = 64 * 1024
"""Bytes up to which pieces are copied into one; more leave by a gathering write."""
HELD = 1 << 20
"""Bytes that wait at most for what comes at once after them."""
UNREAD = 256 * 1024
"""Bytes of a request's body that wait for the application; with more, reading pauses."""
SHORT = 4096
"""Bytes below which a piece is not worth a message of its own."""
_NO_BODY = (204, 304)


class Exchange(RequestResponseCycle):
    """The ASGI side of one request."""

    _held: list[bytes | memoryview] | None = None
    _held_length = 0
    _unread_length = 0
    _body_ended = False

    def __init__(self, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._unread: list[bytes] = []
        self.came = 0
        """Bytes of the body that came so far."""

    def take(self, piece: bytes) -> None:
        """More of the request's body."""
        self.came += len(piece)
        if self.response_complete:
            return
        self._unread.append(piece)
        self._unread_length += len(piece)
        if self._unread_length > UNREAD:
            self.flow.pause_reading()
        self.message_event.set()

    async def receive(self) -> Any:
        """The next ASGI message of the request."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while not (self.disconnected or self.response_complete):
            if self._unread or not (self.more_body or self._body_ended):
                return self._next()
            self.flow.resume_reading()
            self.message_event.clear()
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    def _next(self) -> dict[str, object]:
        """One piece as it came; of short ones all that came, so that a sender of single bytes costs no message each."""
        pieces = self._unread
        if len(pieces) == 1:
            body = pieces.pop()
        elif self._unread_length <= JOINED or len(pieces[0]) < SHORT:
            body = b"".join(pieces)
            pieces.clear()
        else:
            body = pieces.pop(0)
        self._unread_length -= len(body)
        self._body_ended = not (pieces or self.more_body)
        return {"type": "http.request", "body": body, "more_body": not self._body_ended}

    async def send(self, message: Any) -> None:
        """Takes an ASGI message of the answer."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("an answer goes on after its end")
        if message["type"] != ("http.response.body" if self.response_started else "http.response.start"):
            raise RuntimeError(f"{message['type']} cannot come now")
        if self.response_started:
            self._go_on(message.get("body", b""), message.get("more_body", False))
        else:
            self._begin(message["status"], message.get("headers", ()))

    def _begin(self, status: int, headers: Any) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        lines = [*self.default_headers]
        closes = False
        for name, value in headers:
            name = name.lower()
            lines.append((name, value))
            if name == b"content-length" and self.chunked_encoding is None:
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                self.expected_content_length = 0
                self.chunked_encoding = True
            elif name == b"connection":
                closes = b"close" in [token.lower().strip() for token in value.split(b",")]
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append((b"connection", b"close"))
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _NO_BODY:
            self.chunked_encoding = True
            lines.append((b"transfer-encoding", b"chunked"))
        block = b"".join([b"%b: %b\r\n" % line for line in lines])
        if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines) or b"\0" in block:
            raise RuntimeError("a header of the answer holds control characters")
        self._hold(b"%b%b\r\n" % (STATUS_LINE[status], block))

    def _hold(self, *pieces: bytes | memoryview) -> None:
        if self._held is None:
            self._held = []
            asyncio.get_running_loop().call_soon(self._flush)
        self._held += pieces
        self._held_length += sum(map(len, pieces))
        if self._held_length >= HELD:
            self._flush()

    def _flush(self) -> None:
        held, length = self._held, self._held_length
        self._held, self._held_length = None, 0
        if held is None or self.transport.is_closing():
            return
        if length <= JOINED:
            self.transport.write(b"".join(held))
        else:
            self.transport.writelines(held)

    def _go_on(self, body: bytes | memoryview, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            body = b""
        elif not self.chunked_encoding:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("an answer is longer than its Content-Length")
        if body:
            self._hold(*((b"%x\r\n" % len(body), body, b"\r\n") if self.chunked_encoding else (body,)))
        if self.chunked_encoding and not more and self.scope["method"] != "HEAD":
            self._hold(b"0\r\n\r\n")
        if not more and self.expected_content_length:
            raise RuntimeError("an answer is shorter than its Content-Length")
        if not more:
            self._flush()
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
