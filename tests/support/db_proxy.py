"""A proxy in front of PostgreSQL that knows where one message ends and the next begins, and breaks off at any of them.

It watches for the statement whose parameters hold a given text, and counts its messages: those of the client (Bind,
Execute, Sync) and then those of the server (BindComplete, DataRow, CommandComplete, ReadyForQuery)."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

Action = Literal["close", "reset", "stall"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Breaks off at message `number` (from 0) of one side, before it or after `part` of its bytes were passed on. A
    stall passes nothing on for `seconds`, then closes."""

    side: Literal["client", "server"]
    number: int
    part: float
    action: Action
    seconds: float = 1.0


class _BrokenOff(Exception):
    """The planned end of a connection."""


class DatabaseProxy:
    """Listens on a free port of the loopback address and passes connections on to the server of `url`."""

    def __init__(self, url: str) -> None:
        self._target = url
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._cut: Cut | None = None
        self._marker = b""
        self._open: set[_Link] = set()
        self.refusing = False
        self.struck = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port: int = self._call(self._listen())

    @property
    def url(self) -> str:
        """The URL of the database behind the proxy."""
        parts = urlsplit(self._target)
        user = f"{parts.username}@" if parts.username else ""
        return f"postgresql://{user}127.0.0.1:{self.port}{parts.path}?sslmode=disable"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    def plan(self, cut: Cut, marker: str) -> None:
        """Does `cut` to the next statement whose parameters hold `marker`."""
        self.struck.clear()
        self._marker = marker.encode()
        self._cut = cut

    def take(self, message: bytes) -> Cut | None:
        """The plan, if `message` is the Bind of its statement."""
        if self._cut is None or message[:1] != b"B" or self._marker not in message:
            return None
        cut, self._cut = self._cut, None
        self.struck.set()
        return cut

    def refuse(self, refusing: bool) -> None:
        """Ends every connection and refuses new ones, or takes them again."""
        self.refusing = refusing
        if refusing:
            for link in list(self._open):
                self._loop.call_soon_threadsafe(link.end, "close")

    def close(self) -> None:
        """Ends everything."""
        self.refuse(True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        up_reader, up_writer = await _connect(self._target)
        link = _Link(self, (reader, writer), (up_reader, up_writer))
        self._open.add(link)
        try:
            await link.run()
        finally:
            self._open.discard(link)


class _Link:
    """One client's connection and the server's that belongs to it."""

    def __init__(
        self,
        proxy: DatabaseProxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._cut: Cut | None = None
        self._seen = {"client": 0, "server": 0}

    async def run(self) -> None:
        """Passes messages on until one side ends or the plan says so."""
        ways = [
            asyncio.ensure_future(self._pass("client", self._client[0], self._server[1])),
            asyncio.ensure_future(self._pass("server", self._server[0], self._client[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.end("close")

    def end(self, action: Action) -> None:
        """Closes both sides; the client's by a reset if wanted."""
        if action == "reset":
            client = self._client[1].get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._client[1].transport.abort()
        self._client[1].close()
        self._server[1].close()

    async def _pass(
        self, side: Literal["client", "server"], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if side == "client":
                await _pass_startup(reader, writer)
            while True:
                message = await _message(reader)
                if side == "client" and self._cut is None:
                    self._cut = self._proxy.take(message)
                if self._cut is not None:
                    await self._strike(side, message, writer)
                writer.write(message)
                await writer.drain()
        except (OSError, EOFError, _BrokenOff):
            return

    async def _strike(self, side: Literal["client", "server"], message: bytes, writer: asyncio.StreamWriter) -> None:
        assert self._cut is not None
        number = self._seen[side]
        self._seen[side] += 1
        if self._cut.side != side or self._cut.number != number:
            return
        writer.write(message[: int(len(message) * self._cut.part)])
        await writer.drain()
        if self._cut.action == "stall":
            await asyncio.sleep(self._cut.seconds)
        self.end(self._cut.action)
        raise _BrokenOff


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    folder = parse_qs(parts.query).get("host", [""])[0]
    port = parts.port or 5432
    if folder.startswith("/"):
        return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
    return await asyncio.open_connection(unquote(parts.hostname or "127.0.0.1"), port)


async def _pass_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The first message has no type."""
    head = await reader.readexactly(4)
    writer.write(head + await reader.readexactly(struct.unpack("!I", head)[0] - 4))
    await writer.drain()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
