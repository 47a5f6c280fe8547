"""Who is told of changes by webhooks: a real HTTP server that keeps what it got, checks each signature by RFC 2104
written out, and answers as a test wants."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import orjson

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Message(NamedTuple):
    """One request as it came; `at` is its number."""

    at: int
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Stays the same when a message is sent again."""
        return self.headers["webhook-id"]

    @property
    def value(self) -> Any:
        """The JSON."""
        return orjson.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it tells."""
        found: list[dict[str, Any]] = self.value["data"].get("changes", [])
        return found


class Reply(NamedTuple):
    """What is answered; status 0: the connection is broken, `endless`: the body never ends."""

    status: int = 204
    headers: str = ""
    seconds: float = 0
    endless: bool = False


def hmac_sha256(key: bytes, text: bytes) -> bytes:
    """RFC 2104 with SHA-256, whose blocks have 64 bytes."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + text).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


class Receiver:
    """One server. `taken` are the messages that it answered with success; if it has a `secret`, signed ones only."""

    def __init__(self, secret: str = SECRET) -> None:
        self.reply: Callable[[Message], Reply] = lambda message: Reply()
        self.got: list[Message] = []
        self.taken: list[Message] = []
        self.secret = secret
        self.url = ""
        self.most_at_once = 0
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event of the messages that were taken, those sent again too."""
        return [event for message in self.taken for event in message.events]

    async def until(self, is_so: Callable[[], object], seconds: float = 60) -> None:
        """Returns as soon as it is as wanted."""
        async with asyncio.timeout(seconds):
            while True:
                if is_so():
                    return
                await asyncio.sleep(0.02)

    def is_signed(self, message: Message) -> bool:
        """Whether the signature is that of the secret."""
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        text = f"{message.id}.{message.headers['webhook-timestamp']}.".encode() + message.body
        return message.headers["webhook-signature"] == "v1," + base64.b64encode(hmac_sha256(key, text)).decode()

    @asynccontextmanager
    async def listening(self, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
        """Serves until the block ends."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=tls)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        message = Message(len(self.got), first.split()[1], headers, body)
        self.got.append(message)
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            reply = self.reply(message)
            await asyncio.sleep(reply.seconds)
            assert first.startswith("POST ")
            assert not self.secret or self.is_signed(message)
        finally:
            self._under_way -= 1
        if not reply.status:
            return False
        if 200 <= reply.status < 300:
            self.taken.append(message)
        length = "Transfer-Encoding: chunked" if reply.endless else "Content-Length: 0"
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{length}\r\n{reply.headers}\r\n".encode())
        await writer.drain()
        while reply.endless:
            writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
            await writer.drain()
        return True


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each event once, in the order in which it came first; fails when a later one came before it."""
    seen = {event["id"]: event for event in reversed(events)}
    ids = list(dict.fromkeys(event["id"] for event in events))
    assert ids == sorted(ids)
    return [seen[number] for number in ids]
