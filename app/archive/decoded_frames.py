"""From a stored instance to its picture, and from a stored frame to a decoded or transcoded one."""

from __future__ import annotations

import zlib

import orjson

from app.archive import frames
from app.archive.context import Context
from app.archive.frames import PieceCache, Place
from app.archive.retrieve import Instance, missing
from app.catalog import lookups
from app.dicom.header import BULK_MARK
from app.dicom.octets import Piece
from app.dicom.transfer_syntaxes import EXPLICIT_LE, transfer_syntax
from app.errors import NotFound
from app.pixels import picture as pictures
from app.pixels.picture import Picture

_REMEMBERED = 4096
_DEAR = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (90, 91, 92, 93, 110, 111, 112))
"""Transfer syntaxes whose frames cost more to code than to keep."""


async def picture_of(context: Context, instance: Instance) -> Picture:
    """What the instance's attributes say of its frames; remembered by version. Raises `NotFound` when it has none,
    `Undecodable` or `LimitExceeded` when they make no sense."""
    known = context.pictures.get(instance.version)
    if known is not None:
        return known
    if instance.frame_kind == 0:
        raise NotFound("the instance has no frames")
    compressed = await lookups.json_of(context.catalog, instance.id)
    if compressed is None:
        raise missing()
    members = orjson.loads(zlib.decompress(compressed).replace(BULK_MARK.encode(), b""))
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
    stored: list[Piece] = await frames.value(context, cache, instance, place)
    if transfer_syntax(syntax).encapsulated:
        made = await context.codecs.transcode(picture, stored, syntax, quality=quality)
    else:
        made = await context.codecs.decode(picture, stored)
    if dear:
        context.derived.put(key, made)
    return made
