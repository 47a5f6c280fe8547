"""HTTP/1.1 of uvicorn with deadlines, since it has none: for headers, bodies and readers that come too slowly.

A connection only notes where it stands; one sweep a worker, twice a second while a client is waited for, closes those
that are late. Middleware would run too late for this: it is called when the header is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.serving.exchange import Exchange

HEADER_LIMIT = 64 * 1024
"""Bytes of a request's header that may come after its first read (which takes at most 256 KiB)."""
READER_RATE = 1024
"""Bytes a second that a client must take of an answer."""

_LENGTHS = (b"content-length", b"transfer-encoding")
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a client must be: seconds for a header, and bytes a second over windows of `body_seconds`."""

    header_seconds: float
    body_seconds: float
    body_rate: float


class _Phase(IntEnum):
    HEADER = 0
    BODY = 1
    ANSWER = 2


class _Flow(FlowControl):
    """Tells the connection when we take up reading or it takes up writing, for a new window to begin."""

    def __init__(self, transport: asyncio.Transport, begin_window: Callable[[], None]) -> None:
        super().__init__(transport)
        self._begin_window = begin_window

    def resume_reading(self) -> None:
        if self.read_paused:
            super().resume_reading()
            self._begin_window()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._begin_window()


class DeadlineProtocol(HttpToolsProtocol):
    """One connection. `on_count` is called when it opens and when it closes."""

    cycle: Exchange

    def __init__(self, *, pace: Pace, on_count: Callable[[], None], **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._pace = pace
        self._on_count = on_count
        self._phase = _Phase.HEADER
        self._since = self.loop.time()
        self._received = 0
        self._header_received = 0
        self._window_at = self._since
        self._window_received = 0
        self._window_unsent = 0
        self._closing_at = 0.0
        self._idle_since = self._since
        self._left = -1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts it and watches its flow."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self._begin_window)
        self._on_count()

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts it out."""
        super().connection_lost(exc)
        self._on_count()

    def data_received(self, data: bytes) -> None:
        """Notes how much came; ends a header that does not end."""
        self._received += len(data)
        if self._phase is _Phase.BODY:
            data = self._go_on_with_body(data)
            if not data:
                return
        continued = self._phase is _Phase.HEADER
        super().data_received(data)
        if continued and self._phase is _Phase.HEADER:
            self._header_received += len(data)
            if self._header_received > HEADER_LIMIT:
                self._close(_TOO_LONG)

    def _go_on_with_body(self, data: bytes) -> bytes:
        """Hands on what belongs to a body of known length, past the parser, which would only copy it; the rest."""
        if self._left < 0:
            self._left = self._length_left()
        left = self._left
        if not left:
            return data
        if len(data) < left:
            self._left -= len(data)
            self.cycle.take(data)
            return b""
        self.cycle.take(data if len(data) == left else data[:left])
        self.parser = httptools.HttpRequestParser(self)  # the one there was does not know that its message ended
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.on_message_complete()
        return data[left:]

    def _length_left(self) -> int:
        """Bytes of the body that are to come; 0 when only the parser can know."""
        lengths = [value for name, value in self.scope["headers"] if name in _LENGTHS]
        if self.parser.should_upgrade() or len(lengths) != 1 or not lengths[0].isdigit():
            return 0
        return int(lengths[0]) - self.cycle.came

    def on_message_begin(self) -> None:
        """A header begins."""
        super().on_message_begin()
        self._phase = _Phase.HEADER
        self._since = self.loop.time()
        self._header_received = 0

    def on_headers_complete(self) -> None:
        """A body begins, maybe an empty one."""
        self._phase = _Phase.BODY
        self._left = -1
        self._begin_window()
        self._begin_exchange()

    def _begin_exchange(self) -> None:
        """What uvicorn does here, with our `Exchange`, and without web sockets and a limit of its own."""
        scope, parser = self.scope, self.parser
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        before = self.cycle
        self.cycle = Exchange(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # pipelined
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """More of a body, from the parser."""
        self.cycle.take(body)

    def on_message_complete(self) -> None:
        """It is our turn."""
        self._phase = _Phase.ANSWER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next request may come, or has. uvicorn makes a timer here, for each request anew; `check` needs none."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._idle_since = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    @property
    def is_awaited(self) -> bool:
        """Whether the client is to send or to take something, and not we."""
        return self._phase is not _Phase.ANSWER or self.flow.write_paused or self.transport.is_closing()

    def check(self, now: float) -> None:
        """Closes the connection when its client is late."""
        if self.transport.is_closing():
            self._check_closing(now)
        elif self.flow.write_paused:
            self._check_reader(now)
        elif self._phase is _Phase.HEADER:
            self._check_header(now)
        elif self._phase is _Phase.BODY:
            self._check_body(now)
        elif self._idle and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()

    def _check_closing(self, now: float) -> None:
        """A close waits for the client to take the last bytes; not for ever."""
        self._closing_at = self._closing_at or now
        if now - self._closing_at > self._pace.body_seconds:
            self.transport.abort()

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _check_header(self, now: float) -> None:
        if self.flow.read_paused:  # a pipelined request behind one that is being answered
            self._since = now
        elif now - self._since > self._pace.header_seconds:
            self._close(_TOO_LATE)

    def _check_body(self, now: float) -> None:
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:  # it is us who are late
            self._begin_window()
        seconds = now - self._window_at
        if seconds < self._pace.body_seconds:
            return
        if self._received - self._window_received < seconds * self._pace.body_rate:
            self._close(_TOO_LATE)
        else:
            self._begin_window()

    def _check_reader(self, now: float) -> None:
        """Nothing is added to the unsent bytes while writing is paused, so they tell what the client took."""
        seconds = now - self._window_at
        if seconds < self._pace.body_seconds:
            return
        unsent = self.transport.get_write_buffer_size()
        if self._window_unsent - unsent < seconds * READER_RATE:
            self.transport.abort()
        else:
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_at = self.loop.time()
        self._window_received = self._received
        self._window_unsent = self.transport.get_write_buffer_size() if self.flow.write_paused else 0

    def _close(self, answer: bytes) -> None:
        if self._idle or not self.cycle.response_started:
            self.transport.write(answer)
        self.transport.close()


def check_all(connections: Iterable[Any], now: float) -> bool:
    """Closes every connection whose client is late; whether any client is waited for."""
    awaited = False
    for connection in list(connections):
        connection.check(now)
        awaited = awaited or connection.is_awaited
    return awaited
