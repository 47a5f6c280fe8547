"""From a stored instance to its picture, and from a stored frame to a decoded or transcoded one."""

from __future__ import annotations

from dataclasses import dataclass

from app.archive import frames
from app.archive.context import Context
from app.archive.frames import PieceCache, Place
from app.archive.retrieve import Instance, raise_alarm, stored_members
from app.blobs.checksum import PIECE, pieces_of
from app.blobs.keys import make_key
from app.dicom.transfer_syntaxes import EXPLICIT_LE, transfer_syntax
from app.errors import Corrupt, NotFound
from app.pixels import picture as pictures
from app.pixels.cage import Payload
from app.pixels.picture import Picture

_REMEMBERED = 4096
_DEAR = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (90, 91, 92, 93, 110, 111, 112))
"""Transfer syntaxes whose frames cost more to code than to keep."""


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """Bytes of a stored file, to be read where a caged child looks for them (`app.pixels.cage.Source`): its verified
    MiBs `numbers`, of which `length` bytes from `start` are meant."""

    context: Context
    instance: Instance
    numbers: range
    start: int
    length: int

    @property
    def room(self) -> int:
        """Bytes of the MiBs."""
        return min(self.numbers.stop * PIECE, self.instance.length) - self.numbers.start * PIECE

    async def read_into(self, room: memoryview) -> None:
        """Reads and verifies them; raises `Corrupt` or `BlobStoreFailed`."""
        one = self.instance
        key = make_key(one.study, one.series, one.sop, one.version)
        try:
            await self.context.blobs.read_into(key, self.numbers, one.checks, one.length, room)
        except Corrupt:
            raise_alarm(self.context, one)
            raise


async def payload_of(context: Context, cache: PieceCache, instance: Instance, place: Place) -> Payload:
    """The stored frame at `place`, for the codecs. That of an instance with one frame is read when a child is ready for
    it; neighbours among many share MiBs, which are kept."""
    if instance.frame_count != 1 or not place.length or not frames.is_plain(instance, place):
        return await frames.value(context, cache, instance, place)
    numbers = pieces_of(place.offset, place.length, instance.length)
    return StoredSpan(context, instance, numbers, place.offset - numbers.start * PIECE, place.length)


async def picture_of(context: Context, instance: Instance) -> Picture:
    """What the instance's attributes say of its frames; remembered by version. Raises `NotFound` when it has none,
    `Undecodable` or `LimitExceeded` when they make no sense."""
    known = context.pictures.get(instance.version)
    if known is not None:
        return known
    if instance.frame_kind == 0:
        raise NotFound("the instance has no frames")
    members = await stored_members(context, instance)
    picture = pictures.from_json(members, instance.transfer_syntax, instance.pixel_tag)
    while len(context.pictures) >= _REMEMBERED:
        context.pictures.pop(next(iter(context.pictures)))
    context.pictures[instance.version] = picture
    return picture


async def decoded_frame(
    context: Context, cache: PieceCache, instance: Instance, picture: Picture, place: Place
) -> bytes:
    """The frame at `place` as `picture.decoded` describes it. Raises `Undecodable`, `DecoderFailed`, `Overloaded`."""
    return await frame_in(context, cache, instance, picture, place, EXPLICIT_LE)


async def frame_in(
    context: Context,
    cache: PieceCache,
    instance: Instance,
    picture: Picture,
    place: Place,
    syntax: str,
    quality: int = 0,
) -> bytes:
    """The frame at `place` in transfer syntax `syntax`, made anew or as it was made before. Raises as `decoded_frame`,
    and `NotAcceptable` for pixels that the syntax cannot hold."""
    dear = syntax in _DEAR or picture.transfer_syntax in _DEAR
    key = f"{instance.version} {place.offset}.{place.skip} {syntax} {quality}"
    if dear and (kept := context.derived.get(key)) is not None:
        return kept
    stored = await payload_of(context, cache, instance, place)
    if transfer_syntax(syntax).encapsulated:
        made = await context.codecs.transcode(picture, stored, syntax, quality=quality)
    else:
        made = await context.codecs.decode(picture, stored)
    if dear:
        context.derived.put(key, made)
    return made
