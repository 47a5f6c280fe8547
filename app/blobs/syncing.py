"""How files become durable. The laws, for everything that one round of syncs holds:

1 files are made (O_EXCL) and written, journals appended · 2 then files, journals, their folders and the parents of
every folder not known durable are synced, spread over threads · 3 a call is done when all of its syncs returned.
A failed sync is never repeated: the kernel may have dropped the bytes, and a second call would report success."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from queue import SimpleQueue

from app.blobs.journal import JOURNAL_NAME
from app.blobs.threads import Crew
from app.errors import BlobStoreFailed, StorageFull, Unavailable

FILE_MODE = 0o640
FOLDER_MODE = 0o750
KNOWN_FOLDERS = 20_000
"""Entries remembered as durable; beyond that the memory starts anew."""
WRITE_BEHIND = 8 << 20
"""Bytes after which writing out of a long file begins, so that its last sync is short."""
SYNC_THREADS = 6
"""Threads that share the syncs of a round, beside the round's own."""
SHARE_FROM = 5
"""Syncs in a round from which on they are shared with other threads."""

_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def failure(error: OSError, deed: str) -> Unavailable:
    """The archive's name for an error of the file system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("the blob store is full")
    return BlobStoreFailed(f"the blob store cannot {deed} ({errno.errorcode.get(error.errno or 0, 'unknown')})")


def sync_folder(path: str) -> None:
    """Makes the entries of a folder durable."""
    fd = os.open(path, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class NewFile:
    """A file that is being written: `made` once it exists on disk by our doing, not `whole` once a write failed."""

    __slots__ = ("fd", "key", "made", "pieces", "whole", "written")

    def __init__(self, key: str) -> None:
        self.key = key
        self.pieces: list[bytes | bytearray] = []
        self.fd = -1
        self.made = False
        self.whole = True
        self.written = 0

    def close(self) -> None:
        """Closes it if it is open."""
        if self.fd >= 0:
            _close(self.fd)
            self.fd = -1


class Call:
    """One call of `BlobStore.sync`, with (folder of the study, line) for each journal line; what became of it."""

    __slots__ = ("done", "error", "files", "lines")

    def __init__(self, files: Sequence[NewFile], lines: Sequence[tuple[str, bytes]]) -> None:
        self.files = files
        self.lines = lines
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: Unavailable | None = None


class _Target:
    """One file or folder to sync, and the calls that need it. A folder is opened only when its turn comes."""

    __slots__ = ("calls", "error", "fd", "path")

    def __init__(self, path: str, fd: int = -1) -> None:
        self.path = path
        self.fd = fd
        self.calls: list[Call] = []
        self.error: OSError | None = None

    def sync(self) -> None:
        try:
            if self.fd < 0:
                sync_folder(self.path)
            else:
                os.fsync(self.fd)
        except OSError as error:
            self.error = error


class _Round:
    """The targets of one round. Journals and folders that several calls share are there once."""

    def __init__(self, root: str, known: set[str]) -> None:
        self.targets: list[_Target] = []
        self.learnt: list[str] = []
        self._root = root
        self._known = known
        self._folders: dict[str, _Target] = {}

    def need_file(self, fd: int, calls: Iterable[Call]) -> None:
        """The file of `fd` must be synced."""
        target = _Target("", fd)
        target.calls.extend(calls)
        self.targets.append(target)

    def need_entry(self, path: str, calls: Sequence[Call], *, fresh: bool = False) -> None:
        """The entries on the way to `path`, which is relative to the root, must be durable; the last one, if `fresh`,
        is new for certain."""
        while path:
            parent = path.rpartition("/")[0]
            if fresh or path not in self._known:
                target = self._folders.get(parent)
                if target is None:
                    target = self._folders[parent] = _Target(self._root + parent)
                    self.targets.append(target)
                target.calls.extend(calls)
                if not fresh:
                    self.learnt.append(path)
            fresh = False
            path = parent


class Syncer:
    """Files below `root` (which ends with a slash). Its methods block: they run in threads."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: set[str] = set()
        self._helpers = Crew(SYNC_THREADS, "blob-fsync")
        self.close = self._helpers.close

    def put_down(self, file: NewFile) -> None:
        """Writes the pieces of `file` to disk, which is made if it was not yet."""
        if file.fd < 0:
            file.fd = self._make(file.key)
            file.made = True
        start = file.written
        file.whole = False
        file.written += _write_all(file.fd, file.pieces)
        file.whole = True
        file.pieces.clear()
        if start // WRITE_BEHIND != file.written // WRITE_BEHIND:
            behind = start // WRITE_BEHIND * WRITE_BEHIND
            os.posix_fadvise(file.fd, behind, file.written - behind, os.POSIX_FADV_DONTNEED)

    def write_ahead(self, file: NewFile) -> None:
        """Writes the pieces of `file`, and begins to write them to the disk without waiting for it."""
        self.put_down(file)
        os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def discard(self, file: NewFile) -> None:
        """Closes `file` and unlinks it."""
        file.close()
        file.made = False
        try:
            os.unlink(self._root + file.key)
        except FileNotFoundError:
            return

    def sync(self, calls: Sequence[Call]) -> None:
        """One round. Gives each call that failed its `error`."""
        if len(calls) != 1 or not self._is_plain(calls[0]) or not self._sync_plain(calls[0]):
            self._sync_round(calls)

    def _is_plain(self, call: Call) -> bool:
        """Whether it is one file that is all at hand, with its line, in folders that are durable."""
        if len(call.files) != 1 or len(call.lines) != 1:
            return False
        file = call.files[0]
        known = self._known
        return (
            file.whole
            and not file.made
            and file.key.rpartition("/")[0] in known
            and f"{call.lines[0][0]}/{JOURNAL_NAME}" in known
        )

    def _sync_plain(self, call: Call) -> bool:
        """The most frequent round, by the same laws, without the bookkeeping of the others. False when nothing was
        done, since the folder is gone that was there."""
        file, (folder, line) = call.files[0], call.lines[0]
        try:
            file.fd = os.open(self._root + file.key, _MAKE, FILE_MODE)
        except FileNotFoundError:
            return False
        except OSError as error:
            call.error = failure(error, "write")
            return True
        file.made = True
        journal = -1
        deed = "write"
        try:
            self.put_down(file)
            journal = os.open(f"{self._root}{folder}/{JOURNAL_NAME}", _APPEND, FILE_MODE)
            is_new = _append(journal, line)
            os.posix_fadvise(journal, 0, 0, os.POSIX_FADV_DONTNEED)  # begins to write it, while the file is synced
            deed = "sync"
            os.fsync(file.fd)
            sync_folder(self._root + file.key.rpartition("/")[0])
            os.fsync(journal)
            if is_new:
                sync_folder(self._root + folder)
        except OSError as error:
            call.error = failure(error, deed)
        finally:
            if journal >= 0:
                _close(journal)
            file.close()
        return True

    def _sync_round(self, calls: Sequence[Call]) -> None:
        work = _Round(self._root, self._known)
        journals: list[int] = []
        try:
            for call in calls:
                self._write_files(call, work)
            self._append_lines(calls, work, journals)
            self._sync_all(work.targets)
        finally:
            for fd in journals:
                _close(fd)
            for call in calls:
                for file in call.files:
                    file.close()
        for target in work.targets:
            if target.error is not None:
                for call in target.calls:
                    call.error = call.error or failure(target.error, "sync")
        if all(target.error is None for target in work.targets):
            self._learn(work.learnt)

    def _write_files(self, call: Call, work: _Round) -> None:
        try:
            for file in call.files:
                if not file.whole:
                    raise OSError(errno.EIO, "an earlier write failed")
                if file.pieces or file.fd < 0:
                    self.put_down(file)
        except OSError as error:
            call.error = failure(error, "write")
            return
        for file in call.files:
            work.need_file(file.fd, (call,))
            work.need_entry(file.key, (call,), fresh=True)

    def _append_lines(self, calls: Sequence[Call], work: _Round, journals: list[int]) -> None:
        lines: dict[str, list[bytes]] = {}
        wanted: dict[str, list[Call]] = {}
        for call in calls:
            if call.error is None:
                for folder, line in call.lines:
                    lines.setdefault(folder, []).append(line)
                    wanted.setdefault(folder, []).append(call)
        for folder, waiting in wanted.items():
            path = f"{folder}/{JOURNAL_NAME}"
            try:
                fd = self._open(path, _APPEND)
                journals.append(fd)
                if _append(fd, b"".join(lines[folder])):
                    self._known.discard(path)
            except OSError as error:
                for call in waiting:
                    call.error = failure(error, "write")
                continue
            work.need_file(fd, waiting)
            work.need_entry(path, waiting)

    def _sync_all(self, targets: list[_Target]) -> None:
        if len(targets) < SHARE_FROM:
            for target in targets:
                target.sync()
            return
        todo, ended = deque(targets), SimpleQueue[None]()

        def help_out() -> None:
            _drain(todo)
            ended.put(None)

        helpers = min(SYNC_THREADS, len(targets) // 2)
        for _ in range(helpers):
            self._helpers.start(help_out)
        _drain(todo)
        for _ in range(helpers):
            ended.get()

    def _make(self, key: str) -> int:
        return self._open(key, _MAKE)

    def _open(self, path: str, flags: int) -> int:
        try:
            return os.open(self._root + path, flags, FILE_MODE)
        except FileNotFoundError:
            self._make_folders(path.rpartition("/")[0])
            return os.open(self._root + path, flags, FILE_MODE)

    def _make_folders(self, path: str) -> None:
        """Makes what is missing on the way to `path`; none of it counts as known durable, even when somebody removed
        it and another worker made it again."""
        made = ""
        for name in path.split("/"):
            made = f"{made}/{name}" if made else name
            self._known.discard(made)
            try:
                os.mkdir(self._root + made, FOLDER_MODE)
            except FileExistsError:
                continue

    def _learn(self, entries: list[str]) -> None:
        if len(self._known) > KNOWN_FOLDERS:
            self._known.clear()
        self._known.update(entries)


def _drain(todo: deque[_Target]) -> None:
    while True:
        try:
            target = todo.popleft()
        except IndexError:
            return
        target.sync()


def _write_all(fd: int, pieces: list[bytes | bytearray]) -> int:
    """Writes `pieces` (fewer than IOV_MAX) to the end; how many bytes."""
    total = sum(map(len, pieces))
    done = os.writev(fd, pieces) if pieces else 0
    if done < total:
        rest = memoryview(b"".join(pieces))[done:]
        while rest:
            rest = rest[os.write(fd, rest) :]
    return total


def _append(journal: int, lines: bytes) -> bool:
    """Appends whole lines; after a line that a crash or a full disk tore, on a line of their own. Whether the journal
    was empty, and so may be new."""
    size = os.fstat(journal).st_size
    if size and os.pread(journal, 1, size - 1) != b"\n":
        lines = b"\n" + lines
    if os.write(journal, lines) != len(lines):
        raise OSError(errno.ENOSPC, "short write")
    return size == 0


def _close(fd: int) -> None:
    """What a close could still tell was told by the sync before it, or does not matter any more."""
    with suppress(OSError):
        os.close(fd)
