"""One HTTP/1.1 connection (RFC 9112) on asyncio, one exchange at a time. Bodies of both directions pass with
back-pressure. It keeps no timer: it notes until when something must happen, and the pool looks now and then."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import cast

import httptools

from app.dicom.octets import Piece
from app.errors import ArchiveUnreachable, FileroomError

WINDOW = 256 * 1024
"""Bytes of a body that wait in memory before the other side has to wait."""
_LONGEST_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that the archive has: to accept a connection, to begin its answer when it has the whole request, and to
    take or give more of a body."""

    connect: float = 5.0
    answer: float = 30.0
    stall: float = 30.0


DEFAULT_TIMES = Times()


class Answer:
    """One response. `status` and `headers` (names in lower case) are there from the start; the body is read by `read`
    or `chunks`, once."""

    def __init__(self, connection: Connection, gather: int) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.begun = False
        self.complete = False
        self.error: FileroomError | None = None
        self.gather = gather
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None

    async def begin(self) -> None:
        """Returns when `status` and `headers` are there; or, of an answer that is gathered, when it is whole."""
        while not (self.complete or (self.begun and not self.gather)):
            await self._more()

    async def read(self, limit: int) -> bytes:
        """The whole body; `ArchiveUnreachable` when it is longer than `limit` or does not come whole."""
        while not self.complete:
            if self._held > limit:
                break
            await self._more()
        if self._held > limit:
            self.close()
            raise ArchiveUnreachable("the archive's answer is too long")
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Whoever stops early closes the connection."""
        try:
            while True:
                while self._chunks:
                    chunk = self._chunks.popleft()
                    self._held -= len(chunk)
                    yield chunk
                if self.complete:
                    return
                self._connection.resume()
                await self._more()
        finally:
            self.close()

    def close(self) -> None:
        """Nobody reads the rest."""
        if not self.complete:
            self._connection.abort()

    async def _more(self) -> None:
        if self.error is not None:
            raise self.error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None
        if self.error is not None:
            raise self.error

    def add(self, chunk: bytes) -> bool:
        """For the connection: more of the body. Whether there is room for more."""
        self._chunks.append(chunk)
        self._held += len(chunk)
        if not self.gather:
            self.wake()
            return self._held < WINDOW
        return self._held <= self.gather

    def wake(self) -> None:
        """For the connection: something has changed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection. `on_free` is called when it can take the next exchange, `on_lost` when it has ended."""

    def __init__(
        self, times: Times, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]
    ) -> None:
        self.deadline = inf
        self.idle_since = 0.0
        self.lost = False
        self.stale = False
        """Whether the server closed the connection before a byte of the answer came."""
        self._touched = False
        self._times = times
        self._on_free = on_free
        self._on_lost = on_lost
        self._time = asyncio.get_running_loop().time
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._answer: Answer | None = None
        self._head_bytes = 0
        self._length = 0
        self._plain = 0
        self._interim = False
        self._until_close = True
        self._sent = False
        self._full = False
        self._reading = True
        self._room: asyncio.Future[None] | None = None

    # ---------------------------------------------------------------- an exchange

    def begin(self, head: bytes, gather: int) -> Answer:
        """Sends the head of a request; its answer is gathered up to `gather` bytes, or streamed when that is 0."""
        self._answer = answer = Answer(self, gather)
        self._head_bytes = 0
        self._until_close = True
        self._sent = self._touched = False
        self._transport.write(head)
        return answer

    def send_whole(self, head: bytes, body: Sequence[Piece], gather: int) -> Answer:
        """Sends a request at once."""
        self._answer = answer = Answer(self, gather)
        self._head_bytes = 0
        self._until_close = True
        self._touched = False
        self._transport.writelines((head, *body))
        self._end_request()
        return answer

    def send_chunk(self, piece: Piece) -> bool:
        """Sends a piece of a chunked body; whether the archive still wants more: it may have answered already."""
        answer = self._answer
        if self.lost or answer is None or answer.begun:
            return False
        if piece:
            self._transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
        return True

    async def room(self) -> None:
        """Returns when the archive has taken most of what was sent, or answers, or is gone."""
        if self._full and not self.lost:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    def send_end(self) -> None:
        """Ends a chunked body."""
        if not self.lost:
            self._transport.write(b"0\r\n\r\n")
            self._end_request()

    def _end_request(self) -> None:
        self._sent = True
        self.deadline = self._time() + (self._times.stall if self._full else self._times.answer)

    def resume(self) -> None:
        """There is room for more of the answer."""
        if not self._reading and not self.lost:
            self._reading = True
            self.deadline = self._time() + self._times.stall
            self._transport.resume_reading()

    def abort(self) -> None:
        """Cuts the connection; a body under way stays without its end."""
        if not self.lost:
            self._transport.abort()

    def expire(self) -> None:
        """The archive is too slow."""
        self._fail(ArchiveUnreachable("the archive did not answer in time"))

    def _fail(self, error: FileroomError) -> None:
        if self._answer is not None and not self._answer.complete:
            self._answer.error = self._answer.error or error
            self._answer.wake()
        self._give_room()
        self.abort()

    # ---------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins with nothing to do."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WINDOW)

    def data_received(self, data: bytes) -> None:
        """Parses more of the answer."""
        self._touched = True
        if self._answer is None:  # bytes that nobody asked for
            self.abort()
            return
        if self._sent and self._reading:
            self.deadline = self._time() + self._times.stall
        if self._plain:
            self._receive_plain(data)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(ArchiveUnreachable("the archive's answer is not HTTP"))
        else:
            self._plain = self._length

    def _receive_plain(self, data: bytes) -> None:
        """More of a body of known length, which needs no parser: that would copy it."""
        self.on_body(data if len(data) <= self._plain else data[: self._plain])
        rest, self._plain = len(data) - self._plain, max(0, self._plain - len(data))
        self._length = self._plain
        if self._plain:
            return
        self.on_message_complete()
        self._parser = httptools.HttpResponseParser(self)
        if rest > 0:  # bytes that nobody asked for
            self.abort()

    def eof_received(self) -> bool:
        """The archive has closed; so do we."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the exchange under way: well only where the end of the connection is the end of the body."""
        self.lost = True
        self.deadline = inf
        answer, self._answer = self._answer, None
        if answer is not None and not answer.complete:
            if answer.begun and self._until_close and answer.error is None and exc is None:
                answer.complete = True
            elif answer.error is None:
                self.stale = not self._touched
                answer.error = ArchiveUnreachable("the archive closed the connection")
            answer.wake()
        self._give_room()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The archive takes no more for now."""
        self._full = True
        self.deadline = self._time() + self._times.stall

    def resume_writing(self) -> None:
        """The archive has taken most of what was sent."""
        self._full = False
        self.deadline = self._time() + self._times.answer if self._sent else inf
        self._give_room()

    def _give_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # ---------------------------------------------------------------- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _LONGEST_HEAD:
            self._fail(ArchiveUnreachable("the archive's answer has too long a head"))
        elif self._answer is not None:
            name = name.lower()
            if name in (b"content-length", b"transfer-encoding"):
                self._until_close = False
                if name == b"content-length" and value.isdigit():
                    self._length = int(value)
            self._answer.headers[name] = value

    def on_headers_complete(self) -> None:
        """The head of the answer is whole."""
        answer = self._answer
        if answer is None:
            return
        answer.status = self._parser.get_status_code()
        self._interim = answer.status < 200
        if self._interim:
            self._length = 0
            answer.headers.clear()
            return
        if b"transfer-encoding" in answer.headers or answer.status in (204, 304):
            self._length = 0
        answer.begun = True
        self._give_room()
        if not answer.gather:
            answer.wake()

    def on_body(self, body: bytes) -> None:
        """More of the answer's body."""
        answer = self._answer
        if not self._plain:
            self._length -= min(self._length, len(body))
        if answer is None or answer.error is not None or answer.add(body):
            return
        if answer.gather:
            self._fail(ArchiveUnreachable("the archive's answer is too long"))
        elif self._reading:
            self._reading = False
            self.deadline = inf
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The answer is whole: the connection is free, unless the request was cut short."""
        answer = self._answer
        if self._interim or answer is None or answer.error is not None:
            return
        self._answer = None
        self.deadline = inf
        answer.complete = True
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._sent and self._parser.should_keep_alive():
            self.idle_since = self._time()
            self._on_free(self)
        else:
            self._transport.close()
        answer.wake()
