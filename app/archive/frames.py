"""Frames and bulk values of one instance: from the places that ingest recorded to bytes, without parsing the file.

Little endian octets leave, whatever was stored: words of a big endian file are swapped, frames that begin inside a byte
are moved to its beginning, a deflated data set is inflated up to the place, fragments lose their item headers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from app.archive.context import Context
from app.archive.retrieve import Instance, Pieces, missing, read, read_piece, require_uids
from app.archive.sized_cache import SizedCache
from app.blobs.checksum import PIECE, pieces_of
from app.catalog import lookups
from app.dicom.header import FRAGMENTED, FRAME_ENTRY
from app.dicom.inflate import Inflater
from app.dicom.octets import ItemStripper, Piece, Swapper, shift_bits
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import Corrupt, NotFound

_DENSE = 8192
"""Frame entries read in one stretch although not all of them are wanted."""
AT_ONCE = 4 << 20
"""Values up to this length are read before the answer begins."""
_NATIVE = 1


PieceCache = SizedCache[tuple[str, int], Piece]
"""Verified MiBs by version and number."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies: `length` bytes from `offset`, as in `app.dicom.header`. `skip` bits are left out in front,
    and `bits` follow them, when the value does not begin or end with a byte."""

    offset: int
    length: int
    word: int = 1
    fragmented: bool = False
    skip: int = 0
    bits: int = 0

    @property
    def size(self) -> int | None:
        """Bytes that it gives; None when that is not known before it was read."""
        if self.fragmented:
            return None
        return (self.bits + 7) // 8 if self.bits else self.length


async def find_frames(
    context: Context, study: str, series: str, sop: str, numbers: Sequence[int]
) -> tuple[Instance, list[Place]]:
    """An instance and the places of its frames `numbers`, counted from 1; raises `NotFound`."""
    require_uids(study, series, sop)
    first, last = min(numbers), max(numbers)
    if last > context.limits.frames:
        first = 1
    dense = last - first < max(_DENSE, 8 * len(numbers))
    found = await lookups.instance_with_frames(context.catalog, study, series, sop, first, last if dense else first)
    if found is None:
        raise missing()
    instance, entries = found
    if instance.frame_kind == 0:
        raise NotFound("the instance has no frames")
    require_frame(instance, last)
    if instance.frame_kind == _NATIVE:
        return instance, [native_place(instance, number) for number in numbers]
    if not dense:
        entries = await lookups.scattered_frames(context.catalog, instance.id, numbers)
        return instance, [entry_place(entries, at) for at in range(len(numbers))]
    return instance, [entry_place(entries, number - first) for number in numbers]


def require_frame(instance: Instance, number: int) -> None:
    """Raises `NotFound` when the instance has no frame `number`, counted from 1."""
    if number > instance.frame_count:
        there = f"the instance has {instance.frame_count} frames"
        raise NotFound(f"{there}: its data set ends inside an element" if instance.broken_off else there)


def native_place(instance: Instance, number: int) -> Place:
    """Where a native frame lies, by arithmetic."""
    begin = (number - 1) * instance.frame_bits
    end = begin + instance.frame_bits
    word = instance.word if transfer_syntax(instance.transfer_syntax).big_endian else 1
    low = min(begin // (8 * word) * word, instance.pixel_length)
    high = min(-(-end // (8 * word)) * word, instance.pixel_length)
    place = instance.pixel_offset + low
    if begin == 8 * low and end == 8 * high:
        return Place(place, high - low, word)
    return Place(place, high - low, word, skip=begin - 8 * low, bits=instance.frame_bits)


def entry_place(entries: bytes, at: int) -> Place:
    """Where an encapsulated frame lies, by its recorded entry."""
    if len(entries) < FRAME_ENTRY.size * (at + 1):
        raise NotFound("the place of this frame is not known")
    offset, length = FRAME_ENTRY.unpack_from(entries, FRAME_ENTRY.size * at)
    return Place(offset & ~FRAGMENTED, length, fragmented=bool(offset & FRAGMENTED))


def is_plain(instance: Instance, place: Place) -> bool:
    """Whether the value is the stored bytes as they are."""
    return place.word == 1 and not place.bits and not place.fragmented and not _is_deflated(instance)


async def value(context: Context, cache: PieceCache, instance: Instance, place: Place) -> list[Piece]:
    """A whole value, for one of at most a few MiB."""
    if _is_deflated(instance):
        return [piece async for piece in value_pieces(context, instance, place)]
    return finished(await read_pieces(context, cache, instance, place.offset, place.length), place)


def finished(stored: list[Piece], place: Place) -> list[Piece]:
    """The value in the stored bytes of `place`."""
    if place.word == 1 and not place.bits and not place.fragmented:
        return stored
    if place.fragmented:
        stripper = ItemStripper()
        return [out for piece in stored for out in stripper.feed(piece)]
    swapper = Swapper(place.word)
    whole = b"".join([*(swapper.feed(piece) for piece in stored), swapper.finish()])
    return [shift_bits(whole, place.skip, place.bits) if place.bits else whole]


async def read_pieces(context: Context, cache: PieceCache, instance: Instance, offset: int, length: int) -> list[Piece]:
    """`length` bytes from `offset` of the file, without a copy. The MiBs of an instance with many frames are kept, so
    that neighbours do not read and verify the same one again."""
    found: list[Piece] = []
    for number in pieces_of(offset, length, instance.length):
        key = (instance.version, number)
        piece = cache.get(key)
        if piece is None:
            piece = await read_piece(context, instance, number)
            if instance.frame_count > 1:
                cache.put(key, piece)
        low, high = max(offset - number * PIECE, 0), offset + length - number * PIECE
        found.append(memoryview(piece)[low:high])
    return found


async def value_pieces(context: Context, instance: Instance, place: Place) -> Pieces:
    """A value as it is read. One that begins inside a byte is gathered first: it is a bitmap of one frame."""
    source = stored_span(context, instance, place.offset, place.length)
    if place.bits:
        gathered = bytearray()
        async for piece in _swapped(source, place.word):
            gathered += piece
        yield shift_bits(gathered, place.skip, place.bits)
        return
    if place.fragmented:
        stripper = ItemStripper()
        async for piece in source:
            for out in stripper.feed(piece):
                yield out
        return
    async for piece in _swapped(source, place.word):
        yield piece


async def values(
    context: Context, cache: PieceCache, instance: Instance, places: Sequence[Place]
) -> AsyncGenerator[tuple[int, Piece], None]:
    """Several values one after the other: (which of `places`, its next piece); at least one piece of each."""
    for at, place in enumerate(places):
        if place.length <= PIECE and not _is_deflated(instance):
            for piece in await value(context, cache, instance, place) or [b""]:
                yield at, piece
        else:
            async for piece in value_pieces(context, instance, place):
                yield at, piece


async def stored_span(context: Context, instance: Instance, offset: int, length: int) -> Pieces:
    """Bytes of the file, or of the inflated data set when the stored one is deflated."""
    if not _is_deflated(instance):
        async for piece in read(context, instance, offset, length):
            yield piece
        return
    start = instance.dataset_offset
    inflater = Inflater(context.limits)
    at, end = 0, offset + length
    async for piece in read(context, instance, start, instance.length - start):
        for out in inflater.feed(bytes(piece)):
            low, high = max(offset - at, 0), min(end - at, len(out))
            if low < high:
                yield memoryview(out)[low:high]
            at += len(out)
        if at >= end:
            return
    if at < end:
        raise Corrupt("the inflated data set ends before the value")


def _is_deflated(instance: Instance) -> bool:
    return transfer_syntax(instance.transfer_syntax).deflated


async def _swapped(source: AsyncIterator[Piece], word: int) -> Pieces:
    if word == 1:
        async for piece in source:
            yield piece
        return
    swapper = Swapper(word)
    async for piece in source:
        yield swapper.feed(piece)
    yield swapper.finish()
