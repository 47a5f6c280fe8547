"""The kept-alive connections of one process to one server, and the rules of when a request may be sent again.

A request is sent a second time only when its connection was an idle one that the server closed before a byte of the
answer came, and only when its whole body is at hand: then the server cannot have begun it (RFC 9112 9.3.1)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, Sequence

from app.dicom.octets import Piece
from app.errors import ArchiveUnreachable
from dimse_bridge.archive_client.connection import Answer, Connection, Times

_SWEEP_SECONDS = 0.5
"""Between two looks for exchanges that are late; or a twentieth of the time that they have, when that is more."""
_LONGEST_IDLE = 50.0
"""Seconds after which an idle connection is not used again: servers close theirs after 60 to 75."""
_MOST_IDLE = 64


class Pool:
    """Connections to one address; each is used by one exchange at a time."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, times: Times) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._times = times
        self._sweep_seconds = max(_SWEEP_SECONDS, min(times.answer, times.stall) / 20)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    async def send(self, head: bytes, body: Sequence[Piece] = (), gather: int = 0) -> Answer:
        """Sends a request that is at hand as a whole, and gives its answer: whole and of at most `gather` bytes, or
        streamed when that is 0. Raises `ArchiveUnreachable`."""
        connection = self._take()
        if connection is not None:
            answer = connection.send_whole(head, body, gather)
            try:
                await answer.begin()
                return answer
            except ArchiveUnreachable:
                if not connection.stale:
                    raise
        connection = await self._connect()
        answer = connection.send_whole(head, body, gather)
        await answer.begin()
        return answer

    async def stream(self, head: bytes, body: AsyncIterable[Piece], gather: int) -> Answer:
        """Sends a request whose body comes by and by, chunked. The archive may answer before it has all: the rest is
        then left in `body`. When `body` raises, the connection is cut, so that its end is never seen."""
        connection = self._take() or await self._connect()
        answer = connection.begin(head, gather)
        try:
            async for piece in body:
                if not connection.send_chunk(piece):
                    break
                await connection.room()
            else:
                connection.send_end()
            await answer.begin()
        except BaseException:
            connection.abort()
            raise
        return answer

    def close(self) -> None:
        """Closes every connection; what is under way fails."""
        for connection in (*self._idle, *self._busy):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _take(self) -> Connection | None:
        """The idle connection that was used last, since it is the least likely to be closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.lost:
                continue
            if asyncio.get_running_loop().time() - connection.idle_since > _LONGEST_IDLE:
                connection.abort()
                continue
            self._begin(connection)
            return connection
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._times.connect):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._times, self._free, self._lost), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            raise ArchiveUnreachable("the archive cannot be reached") from error
        self._begin(connection)
        return connection

    def _begin(self, connection: Connection) -> None:
        self._busy.add(connection)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)

    def _free(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.abort()

    def _lost(self, connection: Connection) -> None:
        self._busy.discard(connection)

    def _sweep(self) -> None:
        """Ends exchanges that are late. It runs only while there are any."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [one for one in self._busy if one.deadline < now]:
            connection.expire()
        self._sweeping = loop.call_later(self._sweep_seconds, self._sweep) if self._busy else None
