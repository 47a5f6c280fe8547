"""Frames and bulk values of one instance: from the places that ingest recorded to bytes, without parsing the file.

Little endian octets leave, whatever was stored: words of a big endian file are swapped, frames that begin inside a byte
are moved to its beginning, a deflated data set is inflated up to the place, fragments lose their item headers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from app.archive.context import Context
from app.archive.retrieve import Instance, Pieces, missing, read, read_at_once, require_uids
from app.blobs.checksum import PIECE
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
    if last > instance.frame_count:
        raise NotFound(f"the instance has {instance.frame_count} frames")
    if instance.frame_kind == _NATIVE:
        return instance, [native_place(instance, number) for number in numbers]
    if not dense:
        entries = await lookups.scattered_frames(context.catalog, instance.id, numbers)
        return instance, [entry_place(entries, at) for at in range(len(numbers))]
    return instance, [entry_place(entries, number - first) for number in numbers]


def native_place(instance: Instance, number: int) -> Place:
    """Where a native frame lies, by arithmetic."""
    begin = (number - 1) * instance.frame_bits
    end = begin + instance.frame_bits
    word = instance.frame_word if transfer_syntax(instance.transfer_syntax).big_endian else 1
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


async def value(context: Context, instance: Instance, place: Place) -> Piece:
    """A whole value, for one of at most a few MiB."""
    if is_plain(instance, place):
        return await read_at_once(context, instance, place.offset, place.length)
    return b"".join([piece async for piece in value_pieces(context, instance, place)])


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
    context: Context, instance: Instance, places: Sequence[Place]
) -> AsyncGenerator[tuple[int, Piece], None]:
    """Several values one after the other: (which of `places`, its next piece). Small ones that lie close together are
    taken from one verified read."""
    window = _Window(context, instance)
    for at, place in enumerate(places):
        if place.length <= PIECE and not _is_deflated(instance):
            span = await window.get(place.offset, place.length)
            yield at, whole_value(span, place)
        else:
            async for piece in value_pieces(context, instance, place):
                yield at, piece


def whole_value(span: Piece, place: Place) -> Piece:
    """The value in the stored bytes `span` of `place`."""
    if place.word != 1:
        span = Swapper(place.word).feed(span)
    if place.bits:
        return shift_bits(span, place.skip, place.bits)
    return b"".join(ItemStripper().feed(span)) if place.fragmented else span


class _Window:
    """The bytes read last, so that neighbours among small values do not read and verify the same MiB again."""

    def __init__(self, context: Context, instance: Instance) -> None:
        self._context = context
        self._instance = instance
        self._bytes = b""
        self._start = 0

    async def get(self, offset: int, length: int) -> memoryview:
        """`length` bytes from `offset` of the file."""
        if not self._start <= offset <= offset + length <= self._start + len(self._bytes):
            begin = offset // PIECE * PIECE
            end = min(-(-(offset + length) // PIECE) * PIECE, self._instance.length)
            self._bytes = await read_at_once(self._context, self._instance, begin, max(end, offset + length) - begin)
            self._start = begin
        view = memoryview(self._bytes)
        return view[offset - self._start : offset - self._start + length]


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
