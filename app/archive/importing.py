"""Import: every DICOM file below some paths, ZIP archives included, through the same write path as Store.

Storing the same content again changes nothing, so an import can be run again after an interruption."""

from __future__ import annotations

import asyncio
import os
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.archive.receipts import Receipt
from app.archive.store import Storekeeper
from app.dicom.status import STATUSES

CHUNK = 1 << 20
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Source:
    """One file: where people find it, and how many bytes it has. `member` is its name in the ZIP archive `path`."""

    path: Path
    length: int
    member: str = ""

    @property
    def name(self) -> str:
        """The path, with the archive's member after an exclamation mark."""
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    def open(self) -> BinaryIO:
        """The bytes, read from the start."""
        if not self.member:
            return self.path.open("rb")
        return zipfile.ZipFile(self.path).open(self.member)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file. `skipped` says why it was not stored; it is empty when it was."""

    source: Source
    receipt: Receipt | None
    skipped: str


def sources(paths: list[Path]) -> Iterator[Source]:
    """Every file below `paths`, in order of name; ZIP archives by their members."""
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    yield from _file(Path(folder) / name)
        else:
            yield from _file(path)


def _file(path: Path) -> Iterator[Source]:
    if not path.is_file():
        return
    if not zipfile.is_zipfile(path):
        yield Source(path, path.stat().st_size)
        return
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield Source(path, info.file_size, info.filename)


async def import_files(keeper: Storekeeper, files: list[Source]) -> AsyncIterator[Imported]:
    """Stores `files`, several at a time; yields each as it ends."""
    waiting = iter(files)
    running: set[asyncio.Task[Imported]] = set()
    while True:
        while len(running) < AT_ONCE and (source := next(waiting, None)) is not None:
            running.add(asyncio.create_task(_import(keeper, source)))
        if not running:
            return
        ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            yield task.result()


async def _import(keeper: Storekeeper, source: Source) -> Imported:
    keeper.admit()
    reception = await keeper.receive()
    try:
        file = await asyncio.to_thread(source.open)
        with file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                await reception.write(chunk)
                if reception.failure is not None:
                    break
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        await reception.abandon()
        return Imported(source, None, f"cannot be read: {type(error).__name__}")
    receipt = await reception.finish()
    if receipt.stored:
        return Imported(source, receipt, "")
    return Imported(source, receipt, receipt.comment or STATUSES[receipt.outcome].title)
