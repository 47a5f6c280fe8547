"""Blobs as files in a folder, `<two hex digits>/<study>/<series>/<SOP>~<version>.dcm`, each study with its journal.

No file is renamed or overwritten: visibility is the catalog's, so a file stands under its final name from the start."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from app.blobs.base import BlobInfo, BlobWriter, ByteRange
from app.blobs.checksum import PIECE, piece_length, pieces_of, verify_piece
from app.blobs.journal import JOURNAL_NAME
from app.blobs.keys import folder, parse_key
from app.blobs.page_cache import read_cached
from app.blobs.syncing import Call, NewFile, Syncer, failure, sync_folder
from app.blobs.threads import Threads
from app.errors import BlobMissing, BlobStoreFailed, Corrupt, StorageFull, Unavailable, Unreadable

BUFFER = 1 << 20
"""Bytes that a writer holds before it opens its file; smaller blobs are opened, written and synced in one go."""
SMALL_CHUNK = 4096
"""Smaller chunks are joined, so that a sender of single bytes cannot make us keep a million objects."""
ROUNDS = 2
"""Sync rounds under way at a time; what comes meanwhile shares the next. More raise the CPU time, not the rate."""
WRITERS = 4
"""Threads that write, sync and unlink outside the rounds, mostly for long blobs."""
READERS = 4
SUSPECT_FAILURES = 3
SUSPECT_SECONDS = 60.0


class LocalWriter:
    """A new file: in memory up to `BUFFER` bytes, then written on in a thread."""

    __slots__ = ("_file", "_held", "_pieces", "_store", "key")

    def __init__(self, store: LocalBlobStore, key: str) -> None:
        self.key = key
        self._store = store
        self._file = NewFile(key)
        self._pieces: list[bytes | bytearray] = self._file.pieces
        self._held = 0

    async def write(self, chunk: bytes) -> None:
        """Appends; waits for the disk when more than `BUFFER` bytes are held."""
        pieces = self._pieces
        if len(chunk) >= SMALL_CHUNK:
            pieces.append(chunk)
        elif pieces and type(pieces[-1]) is bytearray:
            pieces[-1] += chunk
        else:
            pieces.append(bytearray(chunk))
        self._held += len(chunk)
        if self._held > BUFFER:
            self._held = 0
            await self._store.put_down(self._file)

    async def write_ahead(self) -> None:
        """Has the disk write what is held; its sync is short then."""
        self._held = 0
        await self._store.put_down(self._file, ahead=True)

    async def close(self) -> None:
        """Nothing more will be written."""

    async def abandon(self) -> None:
        """Removes the file if this writer made it."""
        await self._store.discard(self._file)

    @property
    def file(self) -> NewFile:
        """The file, for the store."""
        return self._file


class LocalBlobStore:
    """A blob store below `root`, which is made when it does not exist. One instance serves one event loop."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._prefix = f"{self.root}/"
        _make_root(self.root)
        self._syncer = Syncer(self._prefix)
        self._reads = Threads(READERS, "blob-read")
        self._writes = Threads(WRITERS, "blob-write")
        self._syncs = Threads(ROUNDS, "blob-sync")
        self._waiting: list[Call] = []
        self._rounds = 0
        self._failures: deque[float] = deque(maxlen=SUSPECT_FAILURES)

    def create(self, key: str) -> LocalWriter:
        """A writer for `key`; raises `Unreadable` when that is not a key of ours."""
        _require_key(key)
        return LocalWriter(self, key)

    async def sync(self, writers: Sequence[BlobWriter], journal: Sequence[tuple[str, bytes]]) -> None:
        """Makes blobs and journal lines durable, together with whatever else waits for it now; blobs that did not fit
        into the buffer go by themselves, so as not to hold up the short ones."""
        files = [writer.file for writer in writers if isinstance(writer, LocalWriter)]
        call = Call(files, [(folder(study), line) for study, line in journal])
        if any(file.written > BUFFER for file in files):
            self._writes.tell(partial(_end, [call]), self._syncer.sync, [call])
        else:
            self._waiting.append(call)
            if self._rounds < ROUNDS and len(self._waiting) == 1:
                asyncio.get_running_loop().call_soon(self._start_round)
        await call.done
        if call.error is not None:
            raise self._noted(call.error)

    def _start_round(self) -> None:
        """With all that came in this turn of the loop."""
        calls, self._waiting = self._waiting, []
        if not calls:
            return
        self._rounds += 1
        self._syncs.tell(partial(self._end_round, calls), self._syncer.sync, calls)

    def _end_round(self, calls: list[Call], error: BaseException | None) -> None:
        self._rounds -= 1
        if self._waiting:
            self._start_round()
        _end(calls, error)

    def close(self) -> None:
        """Ends its threads when what they do is done; nothing may be asked of it any more."""
        for threads in (self._reads, self._writes, self._syncs, self._syncer):
            threads.close()

    async def put_down(self, file: NewFile, *, ahead: bool = False) -> None:
        """Writes the held pieces of `file` out, without sync; `ahead`: has the disk begin with them."""
        try:
            await self._writes.run(self._syncer.write_ahead if ahead else self._syncer.put_down, file)
        except OSError as error:
            raise self._noted(failure(error, "write")) from error

    async def discard(self, file: NewFile) -> None:
        """Closes and unlinks `file` if it was made."""
        file.pieces.clear()
        if file.made:
            try:
                await self._writes.run(self._syncer.discard, file)
            except OSError as error:
                raise failure(error, "unlink") from error

    async def read(self, key: str, part: ByteRange) -> AsyncIterator[bytes]:
        """The bytes of `part`, unverified."""
        async for chunk in self._stream(key, part, None, part.offset + part.length):
            yield chunk

    async def read_verified(self, key: str, part: ByteRange, checks: bytes, total: int) -> AsyncIterator[bytes]:
        """The bytes of `part`, each MiB verified before it is yielded; the next is read while one is sent."""
        async for chunk in self._stream(key, part, checks, total):
            yield chunk

    async def _stream(self, key: str, part: ByteRange, checks: bytes | None, total: int) -> AsyncIterator[bytes]:
        numbers = pieces_of(part.offset, part.length, total)
        if not numbers:
            return
        file = _OpenFile(self._path(key))
        pending = self._reads.run(file.read, numbers[0], checks, total)
        try:
            for number in numbers:
                piece = await pending
                if number != numbers[-1]:
                    pending = self._reads.run(file.read, number + 1, checks, total)
                start = max(part.offset - number * PIECE, 0)
                stop = min(part.offset + part.length - number * PIECE, len(piece))
                yield piece if stop - start == len(piece) else piece[start:stop]
        finally:
            pending.cancel()

    async def pread_verified(self, key: str, offset: int, length: int, checks: bytes, total: int) -> bytes:
        """The bytes, in one visit to a thread."""
        numbers = pieces_of(offset, length, total)
        return await self._reads.run(_read_at, self._path(key), numbers, offset, length, checks, total)

    async def read_piece(self, key: str, number: int, checks: bytes, total: int) -> bytes | memoryview:
        """On the spot when the page cache holds it, else in a thread."""
        path, length = self._path(key), piece_length(number, total)
        piece = read_cached(path, number * PIECE, length)
        if piece is None:
            return await self._reads.run(_OpenFile(path).read, number, checks, total)
        verify_piece(piece, number, checks)
        return piece

    async def read_into(self, key: str, numbers: range, checks: bytes, total: int, room: memoryview) -> None:
        """In one visit to a thread."""
        await self._reads.run(_read_into, self._path(key), numbers, checks, total, room)

    async def remove(self, key: str) -> None:
        """Unlinks and syncs the folder. Folders stay: to remove one would race with a store into it."""
        try:
            await self._writes.run(_remove, self._path(key))
        except OSError as error:
            raise self._noted(failure(error, "unlink")) from error

    def scan(self) -> Iterator[BlobInfo]:
        """Every file whose path is a key."""
        for study in self._studies():
            for series in _entries(study.path):
                if series.is_dir(follow_symlinks=False):
                    yield from self._blobs_in(series.path)

    def _blobs_in(self, folder: str) -> Iterator[BlobInfo]:
        for entry in _entries(folder):
            key = entry.path[len(self._prefix) :]
            if parse_key(key) is None:
                continue
            try:
                facts = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield BlobInfo(key, facts.st_size, facts.st_mtime)

    def journals(self) -> Iterator[tuple[str, bytes]]:
        """Every line of every journal, without its newline."""
        for study in self._studies():
            try:
                with open(f"{study.path}/{JOURNAL_NAME}", "rb") as file:
                    for line in file:
                        yield study.name, line.rstrip(b"\n")
            except FileNotFoundError:
                continue

    def _studies(self) -> Iterator[os.DirEntry[str]]:
        for shelf in _entries(str(self.root)):
            if len(shelf.name) == 2 and shelf.is_dir(follow_symlinks=False):
                yield from (study for study in _entries(shelf.path) if study.is_dir(follow_symlinks=False))

    def free_bytes(self) -> int:
        """Free space of the file system; 0 when it has no inode left."""
        try:
            facts = os.statvfs(self.root)
        except OSError as error:
            raise failure(error, "tell its free space") from error
        return 0 if facts.f_files and not facts.f_favail else facts.f_bavail * facts.f_frsize

    def _noted(self, error: Unavailable) -> Unavailable:
        """`error`, counted unless the disk is merely full: that is over as soon as there is room."""
        if not isinstance(error, StorageFull):
            self._failures.append(time.monotonic())
        return error

    @property
    def suspect(self) -> bool:
        """Whether the last failures of the disk came within a minute."""
        return len(self._failures) == SUSPECT_FAILURES and time.monotonic() - self._failures[0] < SUSPECT_SECONDS

    def _path(self, key: str) -> str:
        _require_key(key)
        return self._prefix + key


class _OpenFile:
    """A file open for reading, opened at the first read; closed when nobody holds it any more, so that a thread which
    still reads for a reader that left never meets a closed or reused descriptor."""

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def read(self, number: int, checks: bytes | None, total: int) -> bytes:
        """Piece `number` of a file of `total` bytes, verified unless `checks` is None."""
        size = piece_length(number, total)
        try:
            piece = os.pread(self._opened(), size, number * PIECE)
        except OSError as error:
            raise failure(error, "read") from error
        if len(piece) != size:
            raise Corrupt("the stored file is shorter than what was stored")
        if checks is not None:
            verify_piece(piece, number, checks)
        return piece

    def read_into(self, number: int, checks: bytes, room: memoryview) -> None:
        """Piece `number` into `room`, which has its length, verified there."""
        try:
            length = os.preadv(self._opened(), [room], number * PIECE)
        except OSError as error:
            raise failure(error, "read") from error
        if length != len(room):
            raise Corrupt("the stored file is shorter than what was stored")
        verify_piece(room, number, checks)

    def _opened(self) -> int:
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                if not os.path.isdir(Path(self._path).parents[2]):  # nothing is there: the file system is not mounted
                    raise
                raise BlobMissing("the stored file is missing") from None
        return self._fd

    def __del__(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)


def _end(calls: list[Call], error: BaseException | None) -> None:
    for call in calls:
        if call.done.done():
            continue
        if error is None:
            call.done.set_result(None)
        else:
            call.done.set_exception(error)


def _read_at(path: str, numbers: range, offset: int, length: int, checks: bytes, total: int) -> bytes:
    file = _OpenFile(path)
    pieces = [file.read(number, checks, total) for number in numbers]
    start = offset - numbers.start * PIECE
    if len(pieces) == 1:
        return pieces[0][start : start + length]
    return b"".join(pieces)[start : start + length]


def _read_into(path: str, numbers: range, checks: bytes, total: int, room: memoryview) -> None:
    file = _OpenFile(path)
    at = 0
    for number in numbers:
        size = piece_length(number, total)
        file.read_into(number, checks, room[at : at + size])
        at += size


def _require_key(key: str) -> None:
    if parse_key(key) is None:
        raise Unreadable("not a blob key")


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    sync_folder(os.path.dirname(path))


def _make_root(root: Path) -> None:
    """Makes the folder; every new entry on the way to it is durable afterwards."""
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(mode=0o750, parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(str(folder.parent))
    except OSError as error:
        raise BlobStoreFailed(f"the folder of the blobs cannot be made ({error.strerror})") from error
