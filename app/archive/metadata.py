"""Retrieve of metadata: stored DICOM JSON joined as it is, never parsed. What was asked for stays in memory under its
revision, which is read in each request: nothing has to be told to other workers, and reads see writes.

Each series is also kept compressed, as a segment of `app.archive.gzip_join`: a gzip answer of a whole study is its
series' segments one after the other, so that compression is done once a revision."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from app.archive.context import Context
from app.archive.gzip_join import GzipJoin, Segment, join_segments, make_segment
from app.archive.packed_json import unpack
from app.archive.retrieve import missing, require_uids
from app.archive.sized_cache import SizedCache
from app.catalog import lookups
from app.catalog.lookups import Metadata, SeriesRevision
from app.dicom.header import BULK_MARK
from app.dicom.xml_model import to_xml

_MARK = BULK_MARK.encode()
_FIRST_BATCH = 32
_BATCH = 128


class Key(NamedTuple):
    """What a kept answer belongs to."""

    kind: str
    id: int
    revision: int
    root: str


@dataclass(slots=True)
class Kept:
    """Objects with commas between them, and the same compressed once somebody asked."""

    text: bytes
    segment: Segment | None = None

    def __len__(self) -> int:
        """Bytes it takes in memory."""
        return len(self.text) + (len(self.segment.blocks) if self.segment else 0)


MetadataCache = SizedCache[Key, Kept]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found: `kept` when all of it is in memory; `parts` give it in any case."""

    tag: str
    kept: list[Kept] | None
    parts: AsyncGenerator[Kept, None]


@dataclass(frozen=True, slots=True)
class Metadatas:
    """Finds metadata for one public root, compressed or not."""

    context: Context
    cache: MetadataCache
    root: str
    compress: bool

    async def of_study(self, study: str, series: str | None) -> Answer:
        """All instances of a study, or of one of its series; raises `NotFound`."""
        found = await find_series(self.context, study, series)
        kept = [one for series in found if (one := self._kept(self._key(series)))]
        return Answer(tag_of(found, self.root), kept if len(kept) == len(found) else None, self._all(study, found))

    async def of_instance(self, study: str, series: str, sop: str) -> Answer:
        """One instance; raises `NotFound`."""
        require_uids(study, series, sop)
        found = await lookups.instance_metadata(self.context.catalog, study, series, sop)
        if found is None:
            raise missing()
        version, row = found
        key = Key("instance", row.id, 0, self.root)
        kept = self._kept(key)
        if kept is None:
            kept = self._make([row], study, series)
            self.cache.put(key, kept)
        root_hash = hashlib.sha256(self.root.encode()).hexdigest()[:8]
        return Answer(f"{version}-{root_hash}", [kept], _one(kept))

    def _kept(self, key: Key) -> Kept | None:
        """What the cache has under `key`; None unless it is there in the form that is wanted."""
        kept = self.cache.get(key)
        return None if kept is None or (self.compress and kept.segment is None) else kept

    def _key(self, series: SeriesRevision) -> Key:
        return Key("series", series.id, series.revision, self.root)

    async def _all(self, study: str, found: Sequence[SeriesRevision]) -> AsyncGenerator[Kept, None]:
        for series in found:
            async for part in self._parts(study, series):
                yield part

    async def _parts(self, study: str, series: SeriesRevision) -> AsyncGenerator[Kept, None]:
        """The series in one part when it is kept, else batch by batch, and kept then."""
        kept = self._kept(self._key(series))
        if kept is not None:
            yield kept
            return
        made: list[Kept] = []
        size = 0
        ids = await lookups.instance_ids(self.context.catalog, series.id)
        batches: list[list[int]] = [
            ids[:_FIRST_BATCH],
            *(ids[at : at + _BATCH] for at in range(_FIRST_BATCH, len(ids), _BATCH)),
        ]
        for batch in batches:
            rows = await lookups.metadata(self.context.catalog, batch)
            part = await asyncio.to_thread(self._make, rows, study, series.uid)
            size += len(part)
            if size <= self.cache.largest:
                made.append(part)
            else:
                made.clear()
            yield part
        if made and size <= self.cache.largest:
            self.cache.put(self._key(series), join_parts(made))

    def _make(self, rows: Sequence[Metadata], study: str, series: str) -> Kept:
        text = join_objects(rows, self.root, study, series)
        return Kept(text, make_segment(text) if self.compress else None)


async def _one(kept: Kept) -> AsyncGenerator[Kept, None]:
    yield kept


def join(kept: Sequence[Kept], compress: bool) -> list[bytes]:
    """The pieces of one JSON array."""
    if not compress:
        pieces = [b","] * (2 * len(kept) + 1)
        pieces[0], pieces[-1] = b"[", b"]"
        pieces[1::2] = [one.text for one in kept]
        return pieces
    member = GzipJoin()
    pieces = [member.begin()]
    for at, one in enumerate(kept):
        pieces.append(member.literal(b"," if at else b"[") + member.segment(_segment(one)))
    pieces.append(member.literal(b"]") + member.finish())
    return pieces


async def stream(parts: AsyncGenerator[Kept, None], compress: bool) -> AsyncGenerator[bytes, None]:
    """One JSON array, as its parts come."""
    member = GzipJoin()
    lead = b"["
    async for part in parts:
        if compress:
            head = member.begin() if lead == b"[" else b""
            yield head + member.literal(lead) + member.segment(_segment(part))
        else:
            yield lead + part.text
        lead = b","
    yield member.literal(b"]") + member.finish() if compress else b"]"


async def xml_documents(parts: AsyncGenerator[Kept, None]) -> AsyncGenerator[bytes, None]:
    """One document of the Native DICOM Model for each object."""
    async for part in parts:
        for document in await asyncio.to_thread(_to_xml, part.text):
            yield document


def _to_xml(text: bytes) -> list[bytes]:
    return [to_xml(members) for members in orjson.loads(b"[" + text + b"]")]


def _segment(kept: Kept) -> Segment:
    return kept.segment or make_segment(kept.text)


async def find_series(context: Context, study: str, series: str | None) -> list[SeriesRevision]:
    """The visible series of a study, or the one asked for; raises `NotFound`."""
    require_uids(study, *(() if series is None else (series,)))
    if series is None:
        found = await lookups.series_of_study(context.catalog, study)
    else:
        one = await lookups.one_series(context.catalog, study, series)
        found = [one] if one else []
    if not found:
        raise missing()
    return found


def tag_of(series: Sequence[SeriesRevision], root: str) -> str:
    """A tag that changes with any of these series, and with the address that their links begin with."""
    text = "\0".join([root, *(f"{one.id} {one.revision} {one.updated}" for one in series)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def join_objects(rows: Sequence[Metadata], root: str, study: str, series: str) -> bytes:
    """The objects of `rows`, with commas between them and the mark replaced by addresses."""
    before = f"{root}/studies/{study}/series/{series}/instances/"
    texts = []
    for row in rows:
        text = unpack(row.json)
        if _MARK in text:
            text = text.replace(_MARK, f"{before}{row.sop}/bulkdata/".encode())
        texts.append(text)
    return b",".join(texts)


def join_parts(parts: Sequence[Kept]) -> Kept:
    """Several parts as one."""
    text = b",".join([part.text for part in parts])
    segments = [part.segment for part in parts if part.segment]
    if len(segments) < len(parts):
        return Kept(text)
    comma = make_segment(b",")
    alternating = [comma] * (2 * len(segments) - 1)
    alternating[::2] = segments
    return Kept(text, join_segments(alternating))
