"""Rebuilds the catalog from blobs and journals alone: does again, study by study and in order, what each journal says.

It takes no file that a journal does not name, and none whose bytes are not those that the journal names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from app.archive.context import Context
from app.archive.row import make_row
from app.blobs import journal
from app.blobs.base import ByteRange
from app.blobs.checksum import Checks
from app.catalog import replay
from app.catalog.instances import InstanceTable, NewInstance
from app.dicom.part10 import HeaderReader
from app.errors import BlobMissing, BlobStoreFailed, FileroomError, Refused

BATCH = 50


@dataclass(slots=True)
class Rebuilt:
    """What a reindex found. `missing` and `damaged` are keys of blobs that are gone or not what the journal names."""

    studies: int = 0
    instances: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


async def reindex(context: Context, told: Callable[[Rebuilt], None]) -> Rebuilt:
    """Rebuilds into an empty catalog; calls `told` after each study. Raises `Refused` when the catalog is not empty."""
    if not await replay.is_empty(context.catalog):
        raise Refused("the catalog is not empty; clear it first")
    rebuilt = Rebuilt()
    studies = groupby(context.blobs.journals(), key=lambda pair: pair[0])
    while (found := await asyncio.to_thread(_next_study, studies)) is not None:
        study, entries = found
        await _Study(context, study, rebuilt).replay(entries)
        rebuilt.studies += 1
        told(rebuilt)
    return rebuilt


def _next_study(
    studies: Iterator[tuple[str, Iterator[tuple[str, bytes]]]],
) -> tuple[str, list[journal.Entry]] | None:
    for study, lines in studies:
        return study, list(journal.entries(line for _, line in lines))
    return None


def in_order_of_commits(entries: list[journal.Entry]) -> list[journal.Entry]:
    """`entries` with each version after the one that it replaced (`supersede` lines), otherwise as they were: the lines
    of two workers may stand in another order than their commits."""
    entries = [entry for entry in entries if entry.versions]
    published = {entry.versions[0]: entry for entry in entries if entry.op == "publish"}
    replaced = dict(entry.versions[:2] for entry in entries if entry.op == "supersede" and len(entry.versions) == 2)
    placed: set[str] = set()
    ordered = []
    for entry in entries:
        if entry.op != "publish":
            ordered.append(entry)
            continue
        chain = [entry.versions[0]]
        while (old := replaced.get(chain[-1])) in published and old not in placed and old not in chain:
            chain.append(old)
        for version in reversed(chain):
            if version not in placed:
                placed.add(version)
                ordered.append(published[version])
    return ordered


class _Study:
    """One study's journal, done again."""

    def __init__(self, context: Context, study: str, rebuilt: Rebuilt) -> None:
        self._context = context
        self._study = study
        self._rebuilt = rebuilt
        self._table = InstanceTable(context.catalog)
        self._batch: dict[tuple[str, str], NewInstance] = {}
        self._policy = ""

    async def replay(self, entries: list[journal.Entry]) -> None:
        entries = in_order_of_commits(entries)
        gone = {version for entry in entries if entry.op in ("withdraw", "purge") for version in entry.versions}
        for entry in entries:
            if entry.op == "publish" and gone.isdisjoint(entry.versions):
                await self._publish(entry)
            elif entry.op == "delete":
                await self._flush()
                hours = self._context.undo_hours
                await replay.delete(self._context.catalog, self._study, entry.versions, entry.time, hours)
            elif entry.op == "undo":
                await self._flush()
                await replay.undo(self._context.catalog, self._study, entry.versions)
        await self._flush()

    async def _publish(self, entry: journal.Entry) -> None:
        try:
            row = await self._read(entry)
        except (BlobStoreFailed, BlobMissing):
            self._rebuilt.missing.append(entry.key)
            return
        except FileroomError:
            self._rebuilt.damaged.append(entry.key)
            return
        identity = (row.series, row.sop)
        if identity in self._batch or entry.policy != self._policy or len(self._batch) >= BATCH:
            await self._flush()
        self._policy = entry.policy
        self._batch[identity] = row

    async def _read(self, entry: journal.Entry) -> NewInstance:
        reader = HeaderReader(self._context.limits)
        checks = Checks()
        checks.dataset_offset = entry.dataset_offset
        async for chunk in self._context.blobs.read(entry.key, ByteRange(0, entry.length)):
            reader.feed(chunk)
            checks.update(chunk)
        header = reader.finish()
        digests, sums = checks.finish()
        if [digest.hex() for digest in digests] != [entry.digest, entry.digest_meta]:
            raise Refused("not the bytes that the journal names")
        return make_row(header, entry.versions[0], entry.length, digests, sums)

    async def _flush(self) -> None:
        if self._batch:
            await self._table.commit(list(self._batch.values()), self._policy or "replace")
            self._rebuilt.instances += len(self._batch)
            self._batch.clear()
