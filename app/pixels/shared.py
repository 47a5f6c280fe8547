"""The memory that the archive shares with one caged child: a memory file of fixed size, mapped by both, of which only
the pages that were used take room. It is sealed, so that neither side can take away what the other one looks at."""

from __future__ import annotations

import fcntl
import mmap
import os

PAYLOAD = 1 << 30
"""Bytes of one job at most."""
SIZE = 3 * PAYLOAD + (1 << 20)
"""Bytes of the file: a job, and an answer of at most twice as much behind it."""


def make() -> int:
    """The descriptor of a new file."""
    memory = os.memfd_create("frame", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, SIZE)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return memory


def mapped(memory: int) -> mmap.mmap:
    """The file in this process' address space; its descriptor may be closed."""
    return mmap.mmap(memory, SIZE)


def clear(mapping: mmap.mmap) -> None:
    """Gives back the room that it takes."""
    mapping.madvise(mmap.MADV_REMOVE)
