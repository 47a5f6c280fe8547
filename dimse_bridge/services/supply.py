"""The instances of a retrieve as they come from the archive (PS3.18 10.4), read ahead while the peer takes the one
before: a whole study or series in one answer where all of it goes, else one by one.

Memory: at most `READ_AHEAD` bytes and what one read of the network brings. An answer that breaks off costs no more than
the instance that it broke in: what had not come is asked for again, one by one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self

from app.dicom.filestart import SNIFF, FileStart, MetaReader, meta_at, settle
from app.dicom.octets import Piece
from app.dicom.part10 import HeaderReader
from app.errors import ArchiveUnreachable, FileroomError, NotFound, Unreadable
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.archive_client.parts import Part
from dimse_bridge.services.fetches import Fetch, one_by_one
from dimse_bridge.services.selection import Wanted

log = logging.getLogger("fileroom.bridge.retrieve")

READ_AHEAD = 4 << 20
"""Bytes of instances that wait until the peer takes them."""
_LONGEST_START = 4 << 20
"""Bytes in which a file without file meta must have shown its UIDs."""
_USUAL_META = 4096
"""Bytes in which the file meta ends as a rule."""
_MOST_FAILURES = 3
"""After so many answers in a row that did not come, the archive is taken to be away."""
_FILE = 'multipart/related; type="application/dicom"; transfer-syntax='


class Delivery:
    """One instance: its data set in transfer syntax `syntax`, without file meta, to be read once; or why there is
    none (`error`, which can also show while it is being read)."""

    def __init__(
        self,
        supply: Supply,
        wanted: Wanted,
        syntax: str = "",
        *,
        asked: str = "",
        alone: bool = True,
        error: FileroomError | None = None,
    ) -> None:
        self.wanted = wanted
        self.syntax = syntax
        self.asked = asked
        self.alone = alone
        """It was asked for by itself; otherwise it can be asked for again when it did not come whole."""
        self.error = error
        self.complete = error is not None
        self.length = 0
        self._pieces: deque[Piece] = deque()
        self._supply = supply

    async def whole(self, limit: int) -> tuple[Piece, ...] | None:
        """The data set when it has at most `limit` bytes, else None: it is then read by `pieces`. Raises its error."""
        while not self.complete and self.length <= limit:
            await self._supply.changed()
        if self.error is not None:
            raise self.error
        if self.length > limit:
            return None
        pieces = tuple(self._pieces)
        self._take_all()
        return pieces

    async def pieces(self) -> AsyncIterator[Piece]:
        """The data set as it comes. Raises its error."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._supply.taken(len(piece))
                yield piece
            if self.error is not None:
                raise self.error
            if self.complete:
                return
            await self._supply.changed()

    async def pass_over(self) -> None:
        """Leaves what is still to come."""
        while True:
            self._take_all()
            if self.complete:
                return
            await self._supply.changed()

    def _take_all(self) -> None:
        for piece in self._pieces:
            self._supply.taken(len(piece))
        self._pieces.clear()

    def add(self, piece: Piece) -> None:
        """For the supply: more of it."""
        self.length += len(piece)
        self._pieces.append(piece)


class Supply:
    """What `fetches` bring, read ahead by a task that lives as long as the context."""

    def __init__(self, archive: Archive, fetches: Iterable[Fetch], *, ahead: int = READ_AHEAD) -> None:
        self._archive = archive
        self._fetches = deque(fetches)
        self._ahead = ahead
        self._held = 0
        self._failures = 0
        self._deliveries: deque[Delivery] = deque()
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def next(self) -> Delivery | None:
        """The next instance, when the one before has been read; None when there are no more."""
        while not self._deliveries:
            if self._ended and not self._fetches:
                return None
            await self.changed()
        return self._deliveries.popleft()

    def again(self, wanted: Wanted, ask: str) -> None:
        """Asks for an instance once more, by itself: it did not come whole, or the peer takes it in another form."""
        self._fetches += one_by_one([wanted], ask)
        self._wake(self._writer)

    # ---------------------------------------------------------------- between reader and writer

    async def changed(self) -> None:
        """For the reader: returns when there is something new."""
        self._reader = asyncio.get_running_loop().create_future()
        await self._reader

    def taken(self, count: int) -> None:
        """For the reader: it has taken `count` bytes."""
        self._held -= count
        if self._held < self._ahead:
            self._wake(self._writer)

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        self._writer = asyncio.get_running_loop().create_future()
        await self._writer

    async def _room(self) -> None:
        while self._held >= self._ahead:
            await self._wait()

    def _deliver(self, delivery: Delivery) -> None:
        self._deliveries.append(delivery)
        self._wake(self._reader)

    # ---------------------------------------------------------------- the task

    async def _run(self) -> None:
        while True:
            while self._fetches:
                self._ended = False
                await self._fetch(self._fetches.popleft())
            self._ended = True
            self._wake(self._reader)
            await self._wait()

    async def _fetch(self, fetch: Fetch) -> None:
        due = {one.sop: one for one in fetch.wanted}
        error: FileroomError = NotFound("the archive has it no more")
        if self._failures < _MOST_FAILURES:
            try:
                await self._receive(fetch, due)
                self._failures = 0
            except FileroomError as failure:
                error = failure
                if isinstance(failure, ArchiveUnreachable):
                    self._failures += 1
                log.info("%d of %d instances did not come: %s", len(due), len(fetch.wanted), failure.detail)
        else:
            error = ArchiveUnreachable("the archive cannot be reached")
        if len(fetch.wanted) > 1 and due:
            self._fetches.extendleft(reversed(one_by_one(due.values(), fetch.ask)))
            return
        for one in due.values():
            self._deliver(Delivery(self, one, error=error))

    async def _receive(self, fetch: Fetch, due: dict[str, Wanted]) -> None:
        async with aclosing(self._archive.retrieve(fetch.path, _FILE + (fetch.ask or "*"))) as parts:
            async for part in parts:
                await self._room()
                await self._receive_part(part, fetch, due)

    async def _receive_part(self, part: Part, fetch: Fetch, due: dict[str, Wanted]) -> None:
        """One file. Those that are not due, since they were stored after our search, are passed over."""
        chunks = part.chunks()
        start = await _FileStart.read(chunks)
        wanted = due.pop(start.sop if len(fetch.wanted) > 1 else fetch.wanted[0].sop, None)
        if wanted is None:
            return
        delivery = Delivery(self, wanted, start.syntax, asked=fetch.ask, alone=len(fetch.wanted) == 1)
        self._deliver(delivery)
        try:
            self._put(delivery, start.rest)
            async for chunk in chunks:
                await self._room()
                self._put(delivery, chunk)
        except FileroomError as error:
            delivery.error = error
            raise
        except BaseException:
            delivery.error = ArchiveUnreachable("the archive's answer was cut")
            raise
        finally:
            delivery.complete = True
            self._wake(self._reader)

    def _put(self, delivery: Delivery, piece: Piece) -> None:
        if len(piece):
            delivery.add(piece)
            self._held += len(piece)
            self._wake(self._reader)


@dataclass(frozen=True, slots=True)
class _FileStart:
    """How a file begins: its SOP Instance UID, its transfer syntax, and the first bytes of its data set."""

    sop: str
    syntax: str
    rest: Piece

    @classmethod
    async def read(cls, chunks: AsyncIterator[Piece]) -> _FileStart:
        """Reads preamble and file meta; raises `Unreadable` when it is no file."""
        first = await anext(chunks, b"")
        usual = cls._usual(first)
        if usual is not None:
            return usual
        data = bytes(first)
        need = 144
        meta: MetaReader | None = None
        while True:
            while len(data) < need:
                chunk = await anext(chunks, None)
                if chunk is None:
                    raise Unreadable("the archive sent something that is no DICOM file")
                data += bytes(chunk)
            if meta is None:
                begin = meta_at(data)
                if begin is None:
                    return await cls._bare(data, chunks, FileStart())
                meta = MetaReader(begin)
            need = meta.read(data)
            if not need:
                need = meta.pos + SNIFF
                if len(data) >= need:
                    break
        start = meta.start
        rest = memoryview(data)[meta.pos :]
        settle(start, bytes(rest[:SNIFF]))
        if not start.sop_instance:
            return await cls._bare(data, chunks, start)
        return cls(start.sop_instance, start.transfer_syntax, rest)

    @classmethod
    def _usual(cls, first: Piece) -> _FileStart | None:
        """The same without a copy of the first chunk, when a short file meta is all in it."""
        head = bytes(first[:_USUAL_META])
        begin = meta_at(head)
        if begin is None:
            return None
        meta = MetaReader(begin)
        if meta.read(head) or len(head) < meta.pos + SNIFF or not meta.start.sop_instance:
            return None
        settle(meta.start, head[meta.pos : meta.pos + SNIFF])
        return cls(meta.start.sop_instance, meta.start.transfer_syntax, memoryview(first)[meta.pos :])

    @classmethod
    async def _bare(cls, data: bytes, chunks: AsyncIterator[Piece], start: FileStart) -> _FileStart:
        """A file whose file meta is missing or does not name the instance: its data set does."""
        reader = HeaderReader()
        reader.feed(data)
        while reader.identifiers is None or reader.dataset_offset is None:
            chunk = await anext(chunks, None)
            if chunk is None or len(data) > _LONGEST_START:
                raise Unreadable("the archive sent something that is no DICOM file")
            reader.feed(bytes(chunk))
            data += bytes(chunk)
        rest = memoryview(data)[reader.dataset_offset :]
        settle(start, bytes(rest[:SNIFF]))
        return cls(reader.identifiers[2], start.transfer_syntax, rest)
