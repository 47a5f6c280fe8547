"""Faults to plant into an archive that runs as its own processes: changes of its code, made as each process starts.

`planted` gives the environment for it. Python imports `sitecustomize` before anything else, and that calls the function
of this module that the environment names. A suite that cannot see these faults would prove nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_NAMES = "FILEROOM_TEST_FAULTS"


def planted(folder: Path, *names: str) -> dict[str, Any]:
    """Environment of an archive with these faults; `folder` takes the file that plants them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text("import tests.support.faults as faults\nfaults.plant()\n")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", _NAMES: ",".join(names)}


def plant() -> None:
    """Makes the faults that the environment names happen in this process and in those that it forks."""
    for name in os.environ.pop(_NAMES, "").split(","):
        {
            "no_sync": no_sync,
            "index_before_blob": index_before_blob,
            "overwrite_in_place": overwrite_in_place,
            "quick_restarts": quick_restarts,
        }[name]()


def no_sync() -> None:
    """Nothing is ever synced."""

    os.fsync = os.fdatasync = lambda fd: None


def index_before_blob() -> None:
    """The blob is written after the transaction, as one would who thinks of the disk as slow."""
    from app.blobs.base import BlobWriter
    from app.blobs.local import LocalBlobStore

    real = LocalBlobStore.sync
    tasks: set[asyncio.Task[None]] = set()

    async def later(store: LocalBlobStore, writers: Sequence[BlobWriter], lines: Sequence[tuple[str, bytes]]) -> None:
        await asyncio.sleep(1)  # longer than any commit takes, on the slowest machine
        await real(store, writers, lines)

    async def sync(self: LocalBlobStore, writers: Sequence[BlobWriter], journal: Sequence[tuple[str, bytes]]) -> None:
        task = asyncio.create_task(later(self, writers, journal))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    LocalBlobStore.sync = sync  # type: ignore[method-assign]


def overwrite_in_place() -> None:
    """One file an instance: what comes later is written over what was there."""
    from app.archive import store
    from app.blobs import syncing
    from app.blobs.keys import VERSION_LENGTH

    store.new_version = lambda: "0" * VERSION_LENGTH  # type: ignore[attr-defined]
    syncing._MAKE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def quick_restarts() -> None:
    """No fault: children that die are started again at once, however often, so that many deaths fit into a minute."""
    from app.serving import processes

    processes._SETTLED_SECONDS = 0.0
