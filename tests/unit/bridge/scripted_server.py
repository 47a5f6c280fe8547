"""A server that answers as a test wants: an archive never does half of this, so the real one cannot be used."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Script = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request: its number on the whole server, its head, and the connection to answer on."""

    number: int
    head: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name: str) -> str:
        """A header of the request, empty when there is none."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return ""

    async def body(self) -> bytes:
        """The whole body."""
        if length := self.header("Content-Length"):
            return await self.reader.readexactly(int(length))
        gathered = b""
        while self.header("Transfer-Encoding"):
            size = int(await self.reader.readline(), 16)
            gathered += (await self.reader.readexactly(size + 2))[:-2]
            if not size:
                break
        return gathered

    async def answer(self, status: int, content_type: str, body: bytes, *more: str) -> None:
        """A whole answer; `more` are header lines."""
        lines = "".join(f"{line}\r\n" for line in (f"Content-Type: {content_type}", *more))
        self.writer.write(f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await self.writer.drain()


@dataclass
class Server:
    """What was seen."""

    root: str = ""
    connections: int = 0
    heads: list[str] = field(default_factory=list)


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a port of its own, for as long as the context lasts."""
    seen = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                seen.heads.append(head)
                await script(Exchange(len(seen.heads), head.removesuffix("\r\n\r\n"), reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    seen.root = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/dicom-web"
    try:
        yield seen
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(0)
