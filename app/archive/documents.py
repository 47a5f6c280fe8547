"""Instances that are a document or a video inside: where its bytes lie, so that it can be sent as itself, in any
ranges."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.archive import bulk
from app.archive.context import Context
from app.archive.frames import entry_place, require_frame, stored_span
from app.archive.retrieve import Instance, read_at_once, stored_members
from app.catalog import lookups
from app.dicom import media_types as media
from app.dicom.octets import Piece
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import Corrupt, NotAcceptable

ENCAPSULATED_DOCUMENT = "00420011"
_DOCUMENT_TYPE = "00420012"
_DOCUMENT_LENGTH = "00420015"
_ITEM = struct.Struct("<2HL")
_FRAGMENTS = 100_000
_BROKEN_OFF = "the stored data set ends inside an element: the document may not be whole, but can be had as bulk data"
_NO_PICTURE = "the instance has neither images nor a document: its metadata can be retrieved, but it cannot be rendered"


@dataclass(frozen=True, slots=True)
class Document:
    """`spans` are offsets and lengths that follow each other, in the file or its inflated data set; `inline` is the
    whole of one that is short enough to stand in the metadata."""

    instance: Instance
    media_type: str
    spans: Sequence[tuple[int, int]]
    inline: bytes = b""

    @property
    def length(self) -> int:
        """Bytes of all of it."""
        return sum(length for _, length in self.spans) or len(self.inline)

    async def read(self, context: Context, start: int, size: int) -> AsyncGenerator[Piece, None]:
        """`size` bytes from `start`."""
        if not self.spans:
            yield self.inline[start : start + size]
            return
        for offset, length in self.spans:
            if size <= 0:
                return
            here = min(length - start, size)
            if here > 0:
                async for piece in stored_span(context, self.instance, offset + start, here):
                    yield piece
                size -= here
            start = max(start - length, 0)


async def find_document(context: Context, instance: Instance) -> Document:
    """The encapsulated document of an instance without pixel data. Raises `NotAcceptable` when it holds nothing that
    could be shown."""
    members = await stored_members(context, instance)
    element = members.get(ENCAPSULATED_DOCUMENT)
    if element is None:
        raise NotAcceptable(_NO_PICTURE)
    if instance.broken_off:
        raise NotAcceptable(_BROKEN_OFF)
    media_type = _media_type(members)
    if "InlineBinary" in element:
        return Document(instance, media_type, (), _cut(_decoded(element["InlineBinary"]), members))
    _, values = await bulk.find_values(context, instance.study, instance.series, instance.sop)
    place = bulk.pick(instance, values, ENCAPSULATED_DOCUMENT).place
    told = _first(members, _DOCUMENT_LENGTH)
    padding = place.length - told if isinstance(told, int) else 0
    return Document(instance, media_type, ((place.offset, place.length - (padding if padding == 1 else 0)),))


async def find_video(context: Context, instance: Instance) -> Document:
    """The video of an instance whose transfer syntax is one: its fragments, one after the other (PS3.5 8.2.5)."""
    require_frame(instance, 1)
    entries = await lookups.scattered_frames(context.catalog, instance.id, [1])
    place = entry_place(entries, 0)
    media_type = transfer_syntax(instance.transfer_syntax).media_type
    if not place.fragmented:
        return Document(instance, media_type, ((place.offset, place.length),))
    spans: list[tuple[int, int]] = []
    at, end = place.offset, place.offset + place.length
    while at < end and len(spans) < _FRAGMENTS:
        group, element, length = _ITEM.unpack(await read_at_once(context, instance, at, _ITEM.size))
        if (group, element) != (0xFFFE, 0xE000):
            raise Corrupt("no item where a fragment of pixel data was recorded")
        spans.append((at + _ITEM.size, length))
        at += _ITEM.size + length
    return Document(instance, media_type, spans)


def _first(members: Mapping[str, Any], tag: str) -> Any:
    return ((members.get(tag) or {}).get("Value") or [None])[0]


def _media_type(members: Mapping[str, Any]) -> str:
    named = media.canonical(str(_first(members, _DOCUMENT_TYPE) or "").strip())
    return named if media.is_media_type(named) else media.OCTET_STREAM


def _decoded(inline: str) -> bytes:
    try:
        return base64.b64decode(inline)
    except (binascii.Error, ValueError):
        return b""


def _cut(content: bytes, members: Mapping[str, Any]) -> bytes:
    """Without the byte that makes its length even."""
    told = _first(members, _DOCUMENT_LENGTH)
    return content[:told] if isinstance(told, int) and len(content) - told == 1 else content
