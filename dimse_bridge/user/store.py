"""C-STORE as its user (PS3.4 B): files to another AE, over as few associations as their classes allow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.dicom.filestart import SNIFF, FileStart, MetaReader, meta_at, settle
from app.dicom.octets import Piece
from app.dicom.part10 import HeaderReader
from app.dicom.status import Progress, is_warning
from app.errors import FileroomError, Unreadable
from dimse_bridge.association.endings import AssociationEnded, Rejected, Unreachable
from dimse_bridge.services.selection import Wanted
from dimse_bridge.services.storage_contexts import MOST_CONTEXTS, UNCOMPRESSED, allowed_by, propose
from dimse_bridge.services.suboperations import NO_CONTEXT, Sender
from dimse_bridge.user.remote import Remote

_START = 64 * 1024
_LONGEST_START = 4 << 20
_PORTION = 256 * 1024


class FileInstance:
    """One DICOM file, read while it is sent."""

    def __init__(self, path: Path, wanted: Wanted, syntax: str, offset: int, length: int) -> None:
        self.path = path
        self.wanted = wanted
        self.syntax = syntax
        self.length = length
        self._offset = offset

    async def whole(self, limit: int) -> tuple[Piece, ...] | None:
        """The data set when it has at most `limit` bytes. Raises `Unreadable`."""
        if self.length - self._offset > limit:
            return None
        return tuple([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[Piece]:
        """The data set in portions. Raises `Unreadable`."""
        try:
            with await asyncio.to_thread(self.path.open, "rb") as file:
                file.seek(self._offset)
                while portion := await asyncio.to_thread(file.read, _PORTION):
                    yield portion
        except OSError as error:
            raise Unreadable(f"the file cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one file: the status of the other side, or None and why it was not sent."""

    path: Path
    length: int
    status: int | None
    reason: str = ""

    @property
    def is_stored(self) -> bool:
        """Whether the other side has it."""
        return self.status is not None and (self.status == Progress.DONE or is_warning(self.status))


def open_file(path: Path) -> FileInstance:
    """Reads how a file begins; raises `Unreadable` when it is no DICOM file."""
    try:
        length = path.stat().st_size
        with path.open("rb") as file:
            data = file.read(_START)
            start, offset = _file_start(data)
            settle(start, data[offset : offset + SNIFF])
            if not start.sop_class or not start.sop_instance:
                start.sop_class, start.sop_instance = _identify(data, iter(lambda: file.read(_START), b""))
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror}") from error
    wanted = Wanted("", "", start.sop_instance, start.sop_class, (start.transfer_syntax,))
    return FileInstance(path, wanted, start.transfer_syntax, offset, length)


def _file_start(data: bytes) -> tuple[FileStart, int]:
    begin = meta_at(data)
    if begin is None:
        return FileStart(), 0
    meta = MetaReader(begin)
    if meta.read(data):
        raise Unreadable("it ends inside its file meta")
    return meta.start, meta.pos


def _identify(data: bytes, more: Iterator[bytes]) -> tuple[str, str]:
    """SOP Class and Instance UID of a file whose file meta does not tell them."""
    reader = HeaderReader()
    reader.feed(data)
    taken = len(data)
    for portion in more:
        taken += len(portion)
        if taken > _LONGEST_START:
            break
        reader.feed(portion)
    header = reader.finish()
    return header.sop_class, header.sop_instance


async def store(remote: Remote, paths: Iterable[Path]) -> AsyncGenerator[Sent, None]:
    """Sends files in the order of their classes: what became of each, as it is known. One that fails stops no other:
    when the association is lost, another one is made, in which its file is tried again as often as the behaviour
    towards the peer has attempts. Raises `AssociationEnded` when none can be made."""
    files: list[FileInstance] = []
    for path in paths:
        try:
            files.append(await asyncio.to_thread(open_file, path))
        except FileroomError as error:
            yield Sent(path, 0, None, error.detail)
    for batch in _batches(files):
        async for one in _send_batch(remote, batch):
            yield one


async def _send_batch(remote: Remote, batch: list[FileInstance]) -> AsyncGenerator[Sent, None]:
    failures = 0
    while batch:
        sent = 0
        try:
            async for one in _send(remote, batch):
                sent += 1
                failures = 0
                yield one
        except (Rejected, Unreachable):
            raise
        except AssociationEnded as error:
            failures += 1
            if sent < len(batch) and failures >= remote.behaviour.attempts:
                yield Sent(batch[sent].path, batch[sent].length, None, str(error))
                sent += 1
        batch = batch[sent:]


def _batches(files: list[FileInstance]) -> Iterator[list[FileInstance]]:
    """The files in portions whose contexts one association can hold."""
    files.sort(key=lambda file: file.wanted.sop_class)
    batch: list[FileInstance] = []
    contexts: set[tuple[str, str]] = set()
    for file in files:
        one = {(file.wanted.sop_class, uid) for uid in (file.syntax, *UNCOMPRESSED, "all")}
        if len(contexts | one) > MOST_CONTEXTS:
            yield batch
            batch, contexts = [], set()
        batch.append(file)
        contexts |= one
    if batch:
        yield batch


async def _send(remote: Remote, files: list[FileInstance]) -> AsyncGenerator[Sent, None]:
    contexts = propose([file.wanted for file in files], allowed_by(remote.behaviour))
    if not contexts:
        for file in files:
            yield Sent(file.path, file.length, None, NO_CONTEXT)
        return
    async with remote.connect(contexts) as association:
        sender = Sender(association, remote.behaviour)
        for file in files:
            way = sender.contexts.way(file.wanted.sop_class, file.syntax)
            if way is None or way.ask:
                yield Sent(file.path, file.length, None, NO_CONTEXT)
                continue
            try:
                status = await sender.send(file, way.context)
            except FileroomError as error:
                yield Sent(file.path, file.length, None, error.detail)
            else:
                yield Sent(file.path, file.length, status, "" if status == 0 else f"the peer answered {status:04X}H")
