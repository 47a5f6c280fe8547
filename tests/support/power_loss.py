"""A file system in memory that loses power: what was not synced is gone, as the worst reading of POSIX allows.

A file's bytes survive when the file was synced; its name survives when its folder was synced after the name was made.
In the partial mode some unsynced names and some first part of unsynced bytes survive, as on real disks. Run as a module
with a mount point; a look at the path `.lose` or `.lose-partly-<seed>` in it is the loss of power."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BLOCK = 4096
SPACE = 1 << 40


class Node:
    """A file or folder: as it is, and as it would be after a loss of power."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.modified = time.time()
        self.entries: dict[str, Node] = {}
        self.durable_entries: dict[str, Node] = {}
        self.data = bytearray()
        self.durable_data = b""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    def sync(self) -> None:
        """Makes it survive, but not the names of its children's children, nor its own."""
        self.durable_entries = dict(self.entries)
        self.durable_data = bytes(self.data)

    def lose(self, chance: random.Random | None) -> None:
        """Goes back to what was durable; with `chance`, not wholly."""
        entries, data = dict(self.durable_entries), bytearray(self.durable_data)
        if chance is not None:
            entries |= {name: node for name, node in self.entries.items() if chance.random() < 0.5}
            if len(self.data) > len(data):
                data += self.data[len(data) : chance.randint(len(data), len(self.data))]
        self.entries, self.data = entries, data
        for node in entries.values():
            node.lose(chance)
        self.sync()


class ForgetfulFileSystem:
    """The operations that fusepy calls."""

    def __init__(self) -> None:
        self._root = Node(stat.S_IFDIR | 0o755)

    def __call__(self, operation: str, *args: Any) -> Any:
        """One operation by name, as fusepy wants it; what is not here is not supported."""
        method = getattr(self, operation, None)
        if method is None:
            raise OSError(errno.ENOSYS, operation)
        return method(*args)

    def _find(self, path: str) -> Node:
        node = self._root
        for name in filter(None, path.split("/")):
            child = node.entries.get(name)
            if child is None:
                raise OSError(errno.ENOENT, path)
            node = child
        return node

    def _make(self, path: str, mode: int) -> None:
        folder, _, name = path.rpartition("/")
        entries = self._find(folder).entries
        if name in entries:
            raise OSError(errno.EEXIST, path)
        entries[name] = Node(mode)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, float]:
        """Facts of a file; or the loss of power."""
        if path.startswith("/.lose"):
            seed = path.partition("partly-")[2]
            self._root.lose(random.Random(int(seed)) if seed else None)
        node = self._find(path)
        return {
            "st_mode": node.mode,
            "st_nlink": 2 if node.is_folder else 1,
            "st_size": len(node.data),
            "st_mtime": node.modified,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
        }

    def readdir(self, path: str, fh: int) -> list[str]:
        """Names in a folder."""
        return [".", "..", *self._find(path).entries]

    def mkdir(self, path: str, mode: int) -> int:
        """A new folder."""
        self._make(path, stat.S_IFDIR | mode)
        return 0

    def create(self, path: str, mode: int) -> int:
        """A new file."""
        self._make(path, stat.S_IFREG | mode & 0o7777)
        return 0

    def open(self, path: str, flags: int) -> int:
        """An existing file."""
        node = self._find(path)
        if flags & os.O_TRUNC:
            node.data.clear()
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Bytes of a file."""
        return bytes(self._find(path).data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Changes a file."""
        node = self._find(path)
        if offset > len(node.data):
            node.data += bytes(offset - len(node.data))
        node.data[offset : offset + len(data)] = data
        node.modified = time.time()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Cuts a file or makes it longer."""
        node = self._find(path)
        node.data[length:] = bytes(max(0, length - len(node.data)))
        return 0

    def unlink(self, path: str) -> int:
        """Takes a name away."""
        self._find(path)
        folder, _, name = path.rpartition("/")
        del self._find(folder).entries[name]
        return 0

    def rmdir(self, path: str) -> int:
        """Takes an empty folder away."""
        if self._find(path).entries:
            raise OSError(errno.ENOTEMPTY, path)
        return self.unlink(path)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Makes a file's bytes survive."""
        self._find(path).sync()
        return 0

    fsyncdir = fsync

    def statfs(self, path: str) -> dict[str, int]:
        """Room enough."""
        blocks = SPACE // BLOCK
        return {"f_bsize": BLOCK, "f_frsize": BLOCK, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks}

    def _nothing(self, *args: object) -> int:
        return 0

    init = destroy = access = opendir = releasedir = release = flush = chmod = chown = utimens = _nothing


def why_not() -> str:
    """Why such a file system cannot be mounted here; empty when it can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "needs /dev/fuse"
    if shutil.which("fusermount") is None and shutil.which("fusermount3") is None:
        return "needs fusermount (Debian's fuse3)"
    return ""


class PowerLoss:
    """A mounted file system; `folder` is its mount point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def strike(self, seed: int | None = None) -> None:
        """The loss of power: total, or partial by `seed`."""
        assert not (self.folder / (".lose" if seed is None else f".lose-partly-{seed}")).exists()


@contextmanager
def mounted(folder: Path) -> Iterator[PowerLoss]:
    """Mounts the file system on `folder`."""
    folder.mkdir(parents=True)
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-m", "tests.support.power_loss", str(folder)], cwd=root) as server:
        try:
            deadline = time.monotonic() + 10
            while not os.path.ismount(folder):
                assert server.poll() is None, "the file system does not mount"
                assert time.monotonic() < deadline, "the file system is not mounted in time"
                time.sleep(0.01)
            yield PowerLoss(folder)
        finally:
            unmount = shutil.which("fusermount3") or shutil.which("fusermount") or "fusermount"
            subprocess.run([unmount, "-u", "-z", str(folder)], check=False)
            server.terminate()


def _serve(folder: str) -> None:
    from fuse import FUSE

    FUSE(  # type: ignore[no-untyped-call]
        ForgetfulFileSystem(),
        folder,
        foreground=True,
        nothreads=True,
        direct_io=True,
        big_writes=True,
        hard_remove=True,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
    )


if __name__ == "__main__":
    _serve(sys.argv[1])
