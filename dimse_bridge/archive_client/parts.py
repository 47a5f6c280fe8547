"""multipart/related answers (RFC 2046 5.1; PS3.18 8.6.1.2) read as they come: a chunk of the HTTP body is searched once
for the delimiter and handed on without a copy."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from app.dicom.octets import Piece
from app.errors import ArchiveUnreachable
from dimse_bridge.archive_client.connection import Answer

_BOUNDARY = re.compile(rb';[ \t]*boundary[ \t]*=[ \t]*(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_LONGEST_HEAD = 16 * 1024
_DIGITS = 19
"""Fewer digits a length has."""
_BROKEN = "the archive's multipart answer is broken"


class Part:
    """One part: its headers (names in lower case), and its content to be read once, before the next part."""

    def __init__(self, headers: Mapping[bytes, bytes], content: AsyncGenerator[Piece, None]) -> None:
        self.headers = headers
        self._content = content

    @property
    def content_type(self) -> str:
        """The media type with its parameters."""
        return self.headers.get(b"content-type", b"").decode("latin-1")

    def chunks(self) -> AsyncIterator[Piece]:
        """The content as it comes; a chunk is valid for as long as it is kept."""
        return self._content

    async def read(self, limit: int) -> bytes:
        """The whole content; `ArchiveUnreachable` when it is longer than `limit`."""
        pieces, length = [], 0
        async for piece in self._content:
            pieces.append(piece)
            length += len(piece)
            if length > limit:
                raise ArchiveUnreachable("a part of the archive's answer is too long")
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


async def parts_of(answer: Answer) -> AsyncGenerator[Part, None]:
    """The parts of an answer, or the answer itself as one part when it is not multipart. What a reader leaves of a
    part is passed over. Raises `ArchiveUnreachable` when the answer ends before its closing delimiter."""
    kind = answer.headers.get(b"content-type", b"")
    if not kind.lower().startswith(b"multipart/"):
        yield Part(answer.headers, _pieces(answer))
        return
    match = _BOUNDARY.search(kind)
    if match is None:
        answer.close()
        raise ArchiveUnreachable(_BROKEN)
    reader = _Reader(answer, match[1] or match[2])
    try:
        while (headers := await reader.next_head()) is not None:
            content = reader.content()
            yield Part(headers, content)
            async for _ in content:
                pass
    finally:
        await reader.close()


async def _pieces(answer: Answer) -> AsyncGenerator[Piece, None]:
    async for chunk in answer.chunks():
        yield chunk


class _Reader:
    """Where we are in the body: `_data` from `_pos` on is not taken yet."""

    def __init__(self, answer: Answer, boundary: bytes) -> None:
        self._answer = answer
        self._chunks = answer.chunks()
        self._delimiter = b"\r\n--" + boundary
        self._data = b"\r\n"  # so that a delimiter at the very beginning is one too
        self._pos = 0
        self._inside = True
        self._left = 0
        """Bytes of the part that are still to come for certain, and hold no delimiter."""

    async def close(self) -> None:
        """Nobody reads the rest; what follows the closing delimiter is no matter."""
        self._answer.close()

    async def next_head(self) -> dict[bytes, bytes] | None:
        """The headers of the next part; None after the last one."""
        while self._inside:  # the preamble
            async for _ in self.content():
                pass
        await self._need(2)
        if self._data.startswith(b"--", self._pos):
            await self._finish()
            return None
        end = await self._find(b"\r\n\r\n")
        lines = self._data[self._pos : end].split(b"\r\n")[1:]
        self._pos = end + 4
        self._inside = True
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        length = headers.get(b"content-length", b"")
        self._left = int(length) if length.isdigit() and len(length) < _DIGITS else 0
        return headers

    async def content(self) -> AsyncGenerator[Piece, None]:
        """What comes before the next delimiter, which is looked for only behind the length of the part, if that is
        told."""
        while self._left:
            data, pos = self._data, self._pos
            end = min(len(data), pos + self._left)
            self._left -= end - pos
            self._pos = end
            if end > pos:
                yield memoryview(data)[pos:end] if pos or end < len(data) else data
            if self._left:
                await self._read_on()
        while self._inside:
            data, pos = self._data, self._pos
            found = data.find(self._delimiter, pos)
            if found >= 0:
                self._inside = False
                self._pos = found + len(self._delimiter)
                if found > pos:
                    yield memoryview(data)[pos:found] if pos or found < len(data) else data
                return
            keep = self._keep(data, pos)
            self._pos = keep
            if keep > pos:
                yield memoryview(data)[pos:keep] if pos or keep < len(data) else data
            await self._read_on()

    def _keep(self, data: bytes, pos: int) -> int:
        """Where the end of `data` begins that may be the beginning of a delimiter."""
        start = max(pos, len(data) - len(self._delimiter) + 1)
        while (start := data.find(b"\r", start)) >= 0:
            if self._delimiter.startswith(data[start:]):
                return start
            start += 1
        return len(data)

    async def _find(self, what: bytes) -> int:
        while (found := self._data.find(what, self._pos)) < 0:
            if len(self._data) - self._pos > _LONGEST_HEAD:
                raise ArchiveUnreachable(_BROKEN)
            await self._read_on()
        return found

    async def _need(self, count: int) -> None:
        while len(self._data) - self._pos < count:
            await self._read_on()

    async def _read_on(self) -> None:
        """One more chunk behind what is not taken yet."""
        rest = self._data[self._pos :]
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise ArchiveUnreachable(_BROKEN)
        self._data = rest + chunk if rest else chunk
        self._pos = 0

    async def _finish(self) -> None:
        """The epilogue, so that the connection can be kept."""
        async for _ in self._chunks:
            pass
