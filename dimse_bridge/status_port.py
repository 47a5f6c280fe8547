"""Metrics and health of a bridge that runs alone, by plain HTTP: `/metrics`, `/healthz` (alive) and `/readyz` (the
archive answers). Beside `fileroom serve` the archive tells the metrics."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from app.errors import CannotStart
from app.telemetry.metrics import Metrics

Ready = Callable[[], Awaitable[bool]]
_LONGEST_HEAD = 8192
_SECONDS = 10.0
_JSON, _TEXT = "application/json", "text/plain; version=0.0.4; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def bind_status(address: str, setting: str = "FILEROOM_DIMSE_STATUS") -> socket.socket:
    """Listens on `address`, such as `127.0.0.1:11180` or `[::]:11180`, which `setting` gave; raises `CannotStart`."""
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server(
            (host.strip("[]"), int(port)), family=socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        )
    except OSError as error:
        raise CannotStart(f"{setting}={address}: {error.strerror or error}.") from error


async def serve_status(listener: socket.socket, metrics: Metrics, ready: Ready) -> asyncio.Server:
    """Answers on `listener`, each connection once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _answer(head, metrics, ready))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(answer, sock=listener, limit=_LONGEST_HEAD)


async def _answer(head: bytes, metrics: Metrics, ready: Ready) -> bytes:
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3:
        return _response(400, _JSON, '{"status":400}')
    method, path, _ = words
    if method not in ("GET", "HEAD"):
        return _response(405, _JSON, '{"status":405}')
    status, kind, body = await _body(path.partition("?")[0], metrics, ready)
    whole = _response(status, kind, body)
    return whole if method == "GET" else whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


async def _body(path: str, metrics: Metrics, ready: Ready) -> tuple[int, str, str]:
    if path == "/metrics":
        return 200, _TEXT, metrics.render()
    if path == "/healthz":
        return 200, _JSON, '{"status":"alive"}'
    if path == "/readyz":
        return (200, _JSON, '{"status":"ready"}') if await ready() else (503, _JSON, '{"status":"not ready"}')
    return 404, _JSON, '{"status":404}'


def _response(status: int, kind: str, body: str) -> bytes:
    content = body.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + content
