"""A web server that answers as a function says: another archive that does what a real one seldom does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson

Answer = Callable[[str, str, bytes], tuple[int, object]]
"""Method, path below the DICOMweb root and body of a request → status and JSON (None: no body); -1 breaks off."""
ROOT = "/dicom-web"


@asynccontextmanager
async def scripted(answer: Answer) -> AsyncIterator[str]:
    """Its DICOMweb root."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            length = next((int(x[15:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")), 0)
            status, value = answer(method, target.removeprefix(ROOT), await reader.readexactly(length))
            if status < 0:
                break
            body = b"" if value is None else orjson.dumps(value)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        writer.close()

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{ROOT}"
    finally:
        server.close()
