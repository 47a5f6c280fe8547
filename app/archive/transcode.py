"""A stored instance in another transfer syntax, made while it is sent (PS3.18 8.7.3.4): the data set before the pixels
with the attributes that change, then frame after frame, then what follows. Two frames are in the codecs at a time;
a file of 10,000 frames is never in memory.

Lossy only when it was asked for by name: then the instance is another one, with a SOP Instance UID of its own, and
says what was done to it (PS3.3 C.7.6.1.1.5)."""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from app.archive import frames
from app.archive.context import Context
from app.archive.decoded_frames import frame_in
from app.archive.frames import PieceCache, Place
from app.archive.icons import decoded_icons
from app.archive.retrieve import Instance, Pieces, read, read_at_once, stored_members
from app.catalog import lookups
from app.dicom.convert import Conversion, encoding_of, rewrite_meta
from app.dicom.convert_elements import Edits, Reencoder
from app.dicom.octets import Piece
from app.dicom.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE, is_native, transfer_syntax
from app.errors import LimitExceeded, NotAcceptable, Refused, Undecodable
from app.pixels import picture as pictures
from app.pixels import targets
from app.pixels.picture import Picture

BROKEN_OFF = "the stored data set ends inside an element, so it can only be sent as it is stored"
TOO_SHORT = "the stored pixel data is shorter than its attributes say, so it cannot be transcoded"
_AHEAD = 2
"""Frames that are in the codecs while one is sent."""
_LONGEST_VALUE = 0xFFFFFFFE
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_ITEM = struct.Struct("<HHI")
_DELIMITER = _ITEM.pack(0xFFFE, 0xE0DD, 0)
_AT_ONCE = 64 * 1024
_METHODS = {
    targets.JPEG_BASELINE: "ISO_10918_1",
    targets.JPEG_EXTENDED: "ISO_10918_1",
    targets.JPEG_LS_NEAR: "ISO_14495_1",
    targets.JPEG_2000_LOSSY: "ISO_15444_1",
    targets.HTJ2K_LOSSY: "ISO_15444_15",
    targets.JPEG_XL_LOSSY: "ISO_18181_1",
}
"""Lossy Image Compression Method of what we compress with loss (PS3.3 C.7.6.1.1.5.1)."""
_ALWAYS_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 53, 55))
_QUALITY = 90


async def pieces(context: Context, cache: PieceCache, instance: Instance, syntax: str) -> Pieces:
    """The whole file in `syntax`. Raises `NotAcceptable`, `Undecodable` or `DecoderFailed` before the first piece when
    that is impossible from the start."""
    if instance.broken_off:
        raise NotAcceptable(BROKEN_OFF)
    if instance.frame_kind == 0 or (is_native(instance.transfer_syntax) and is_native(syntax)):
        source = _converted(context, instance, syntax)
    else:
        source = _transcoded(context, cache, instance, syntax)
    try:
        async with aclosing(source):
            async for piece in source:
                yield piece
    except (Undecodable, NotAcceptable, LimitExceeded):
        raise
    except Refused as error:
        name = transfer_syntax(syntax).name
        raise NotAcceptable(f"the instance cannot be sent as {name}: {error.detail}") from error


async def _converted(context: Context, instance: Instance, syntax: str) -> Pieces:
    """Without a codec."""
    stored = instance.transfer_syntax if is_native(instance.transfer_syntax) else EXPLICIT_LE
    conversion = Conversion(
        stored, instance.dataset_offset, instance.sop_class, instance.sop, context.limits, to=syntax
    )
    async for piece in read(context, instance, 0, instance.length):
        for out in await asyncio.to_thread(conversion.feed, piece):
            yield out
    for out in conversion.finish():
        yield out


async def _transcoded(context: Context, cache: PieceCache, instance: Instance, syntax: str) -> Pieces:
    members = await stored_members(context, instance)
    picture = pictures.from_json(members, instance.transfer_syntax, instance.pixel_tag)
    if is_too_short(instance, picture):
        raise NotAcceptable(TOO_SHORT)
    if not targets.holds(picture.decoded, syntax):
        raise NotAcceptable(f"the pixels cannot be in {transfer_syntax(syntax).name}")
    async with aclosing(_frames(context, cache, instance, picture, syntax)) as made:
        first = await anext(made, b"")
        edits = _edits(instance, members, picture, syntax, len(first))
        icons = await decoded_icons(context, instance, members)
        async for piece in _header(context, instance, syntax, edits, icons):
            yield piece
        if transfer_syntax(syntax).encapsulated:
            async for piece in _encapsulated(first, made):
                yield piece
        else:
            async for piece in _native(instance, picture, syntax, first, made):
                yield piece
    async for piece in _rest(context, instance, syntax):
        yield piece


def is_too_short(instance: Instance, picture: Picture) -> bool:
    """Whether the pixel data has fewer whole frames than Number of Frames says: transcoded, the instance would say
    something wrong, and lack what is there of another frame."""
    return instance.frame_count < picture.number_of_frames


# ---------------------------------------------------------------------------------------------------------- attributes


def derived_uid(instance: Instance, syntax: str) -> str:
    """The SOP Instance UID of what is made of this version with loss: always the same one (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{instance.sop} {instance.version} {syntax}').int}"


def _edits(instance: Instance, members: dict[str, Any], picture: Picture, syntax: str, first: int) -> Edits:
    """What the attributes become; `first` is the length of the first frame."""
    becomes = targets.encoded(picture.decoded, syntax)
    edits: dict[int, tuple[str, bytes] | None] = dict.fromkeys(_OFFSET_TABLES)
    edits[0x00280004] = ("CS", _text(becomes.photometric_interpretation))
    if picture.samples_per_pixel > 1:
        edits[0x00280006] = ("US", struct.pack("<H", becomes.planar_configuration))
    if becomes.bits_stored != picture.bits_stored:
        edits[0x00280101] = ("US", struct.pack("<H", becomes.bits_stored))
        edits[0x00280102] = ("US", struct.pack("<H", becomes.high_bit))
    if syntax in _METHODS:
        edits |= _lossy(instance, members, picture, syntax, first)
    elif instance.transfer_syntax in _ALWAYS_LOSSY and not _values(members, "00282110"):
        edits[0x00282110] = ("CS", b"01")
    return edits


def _lossy(
    instance: Instance, members: dict[str, Any], picture: Picture, syntax: str, first: int
) -> dict[int, tuple[str, bytes] | None]:
    """Another instance, derived from the stored one."""
    ratio = picture.decoded.frame_length / max(first, 1)
    kind = ["DERIVED", *_values(members, "00080008")[1:]]
    quality = f", quality {_QUALITY}" if _METHODS[syntax] == "ISO_10918_1" else ""
    return {
        0x00080008: ("CS", _text("\\".join(kind))),
        0x00080018: ("UI", _text(derived_uid(instance, syntax), b"\0")),
        0x00082111: ("ST", _text(f"Lossy compression: {transfer_syntax(syntax).name}{quality}")),
        0x00282110: ("CS", b"01"),
        0x00282112: ("DS", _text("\\".join([*_values(members, "00282112"), f"{ratio:.2f}"]))),
        0x00282114: ("CS", _text("\\".join([*_values(members, "00282114"), _METHODS[syntax]]))),
    }


def _values(members: dict[str, Any], tag: str) -> list[str]:
    return [str(value) for value in members.get(tag, {}).get("Value", []) if value is not None]


def _text(text: str, padding: bytes = b" ") -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)


# --------------------------------------------------------------------------------------------------- around the pixels


async def _header(
    context: Context, instance: Instance, syntax: str, edits: Edits, icons: Mapping[tuple[int, ...], Edits]
) -> Pieces:
    """Everything up to the pixel element, preamble and file meta included."""
    meta = await read_at_once(context, instance, 0, instance.dataset_offset) if instance.dataset_offset else b""
    renamed = syntax in _METHODS
    sop = derived_uid(instance, syntax) if renamed else instance.sop
    yield rewrite_meta(meta, instance.sop_class, sop, syntax, renamed=renamed)
    source = encoding_of(instance.transfer_syntax)
    reencoder = Reencoder(source, context.limits, target=encoding_of(syntax), edits=edits, item_edits=icons)
    start = 0 if transfer_syntax(instance.transfer_syntax).deflated else instance.dataset_offset
    end = await _element_begin(context, instance)
    async for piece in frames.stored_span(context, instance, start, end - start):
        for out in await _fed(reencoder, piece):
            yield out
    for out in reencoder.finish():
        yield out


async def _fed(reencoder: Reencoder, piece: Piece) -> list[Piece]:
    return reencoder.feed(piece) if len(piece) <= _AT_ONCE else await asyncio.to_thread(reencoder.feed, piece)


async def _element_begin(context: Context, instance: Instance) -> int:
    """Where the pixel element begins: its header has 12 bytes with a VR, 8 without."""
    encoding = encoding_of(instance.transfer_syntax)
    tag = struct.pack(f"{encoding.order}HH", instance.pixel_tag >> 16, instance.pixel_tag & 0xFFFF)
    before = b"".join(
        [bytes(piece) async for piece in frames.stored_span(context, instance, instance.pixel_offset - 12, 12)]
    )
    return instance.pixel_offset - (12 if before.startswith(tag) else 8)


async def _rest(context: Context, instance: Instance, syntax: str) -> Pieces:
    """What follows the pixels: padding or signatures, nothing as a rule."""
    row = transfer_syntax(instance.transfer_syntax)
    begin = instance.pixel_offset + instance.pixel_length
    if row.deflated or begin >= instance.length:
        return
    begin += 8 if row.encapsulated else 0
    reencoder = Reencoder(encoding_of(instance.transfer_syntax), context.limits, target=encoding_of(syntax))
    async for piece in read(context, instance, begin, instance.length - begin):
        for out in await _fed(reencoder, piece):
            yield out


# -------------------------------------------------------------------------------------------------------------- pixels


async def frames_in(
    context: Context,
    cache: PieceCache,
    instance: Instance,
    picture: Picture,
    places: Iterable[Place],
    syntax: str,
) -> AsyncGenerator[bytes, None]:
    """The frames at `places` in `syntax`, in their order."""
    makings = (frame_in(context, cache, instance, picture, place, syntax) for place in places)
    async with aclosing(_ahead(makings)) as made:
        async for frame in made:
            yield frame


async def _ahead(makings: Iterable[Coroutine[Any, Any, bytes]]) -> AsyncGenerator[bytes, None]:
    """What is made, a little of it before it is asked for."""
    under_way: deque[asyncio.Task[bytes]] = deque()
    try:
        for making in makings:
            under_way.append(asyncio.ensure_future(making))
            if len(under_way) > _AHEAD:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _frames(
    context: Context, cache: PieceCache, instance: Instance, picture: Picture, syntax: str
) -> AsyncGenerator[bytes, None]:
    """All frames in `syntax`. A deflated data set is inflated once, not up to each of its frames."""
    if not transfer_syntax(instance.transfer_syntax).deflated:
        places = await _places(context, instance)
        async with aclosing(frames_in(context, cache, instance, picture, places, syntax)) as made:
            async for frame in made:
                yield frame
        return
    gathered = bytearray()
    size = picture.frame_length
    async for piece in frames.stored_span(context, instance, instance.pixel_offset, size * instance.frame_count):
        gathered += piece
        while len(gathered) >= size:
            yield await context.codecs.transcode(picture, bytes(gathered[:size]), syntax)
            del gathered[:size]


async def _places(context: Context, instance: Instance) -> Iterable[Place]:
    if instance.frame_kind == 1:
        return (frames.native_place(instance, number) for number in range(1, instance.frame_count + 1))
    entries = await lookups.all_frames(context.catalog, instance.id)
    return (frames.entry_place(entries, at) for at in range(instance.frame_count))


async def _encapsulated(first: bytes, following: AsyncIterator[bytes]) -> Pieces:
    """Pixel Data of undefined length: an empty offset table, a fragment for each frame (PS3.5 A.4)."""
    yield struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + _ITEM.pack(0xFFFE, 0xE000, 0)
    async for frame in _after(first, following):
        yield _ITEM.pack(0xFFFE, 0xE000, len(frame) + len(frame) % 2)
        yield frame
        if len(frame) % 2:
            yield b"\0"
    yield _DELIMITER


async def _native(
    instance: Instance, picture: Picture, syntax: str, first: bytes, following: AsyncIterator[bytes]
) -> Pieces:
    """Pixel Data whose length is known beforehand; frames that are no whole bytes follow each other bit by bit."""
    bits = picture.decoded.frame_bits
    length = (bits * instance.frame_count + 7) // 8
    padded = length + length % 2
    if padded > _LONGEST_VALUE:
        raise NotAcceptable("the pixel data is too long for a transfer syntax without compression")
    if syntax == IMPLICIT_LE:
        yield _ITEM.pack(0x7FE0, 0x0010, padded)
    else:
        vr = b"OW" if picture.bits_allocated > 8 else b"OB"
        yield struct.pack("<HH2sHI", 0x7FE0, 0x0010, vr, 0, padded)
    rest, filled = 0, 0
    async for frame in _after(first, following):
        if not bits % 8:
            yield frame
            continue
        rest |= int.from_bytes(frame, "little") << filled
        filled += bits
        yield (rest & (1 << filled // 8 * 8) - 1).to_bytes(filled // 8, "little")
        rest, filled = rest >> filled // 8 * 8, filled % 8
    if filled:
        yield rest.to_bytes(1, "little")
    if length % 2:
        yield b"\0"


async def _after(first: bytes, following: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for frame in following:
        yield frame
