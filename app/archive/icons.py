"""Icon images (PS3.3 F.7, Icon Image Sequence), which are compressed as the image itself is, wherever they are nested.
In another transfer syntax they would be unreadable, so they become native, which nested pixel data may be in any (PS3.5
A.4)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from app.archive.context import Context
from app.archive.retrieve import Instance, read_at_once
from app.catalog import lookups
from app.dicom.convert_elements import Edits
from app.dicom.octets import ItemStripper
from app.errors import Corrupt, Undecodable
from app.pixels import picture as pictures

_PIXELS = "7FE00010"
_FRAMES = "52009230"
"""Per-Frame Functional Groups Sequence: thousands of items, and no group has pixel data."""
_FIRST_ITEM = b"\xfe\xff\x00\xe0"
_LONGEST = 16 << 20
"""Bytes of a compressed icon."""
_TOGETHER = 64 << 20
"""Bytes of all icons of an instance when they are decoded."""

Path = tuple[int, ...]
"""To an item: tag of a sequence, number of its item from 1, and so on down."""


class _Icon(NamedTuple):
    """An item with pixel data: where it is, and its DICOM JSON."""

    path: Path
    item: Mapping[str, Any]

    @property
    def bulk_path(self) -> str:
        """What metadata call the place of its pixels."""
        steps = (f"{step:08X}" if at % 2 == 0 else str(step) for at, step in enumerate(self.path))
        return "/".join((*steps, _PIXELS))


async def decoded_icons(context: Context, instance: Instance, members: Mapping[str, Any]) -> dict[Path, Edits]:
    """What makes the instance's icons native: changes to items, by their paths; nothing when no icon is compressed.
    Raises `Undecodable` or `DecoderFailed`."""
    found = list(_icons(members, ()))
    if not found:
        return {}
    places = await _places(context, instance) if any("BulkDataURI" in icon.item[_PIXELS] for icon in found) else {}
    made: dict[Path, Edits] = {}
    room = _TOGETHER
    for icon in found:
        stored = await _stored(context, instance, icon, places)
        if not stored.startswith(_FIRST_ITEM):
            continue
        picture = pictures.from_json(icon.item, instance.transfer_syntax)
        room -= picture.frame_length
        if room < 0:
            raise Undecodable(f"the icon images have more than {_TOGETHER} bytes together")
        made[icon.path] = await _native(context, picture, stored)
    return made


def _icons(members: Mapping[str, Any], path: Path) -> Iterator[_Icon]:
    """The items below `members` that have pixel data."""
    for tag, element in members.items():
        if element.get("vr") != "SQ" or tag == _FRAMES:
            continue
        for number, item in enumerate(element.get("Value") or (), 1):
            below = (*path, int(tag, 16), number)
            if item and _PIXELS in item:
                yield _Icon(below, item)
            yield from _icons(item or {}, below)


async def _native(context: Context, picture: pictures.Picture, stored: bytes) -> Edits:
    table = int.from_bytes(stored[4:8], "little")
    try:
        frame = b"".join(bytes(piece) for piece in ItemStripper().feed(stored[8 + table :]))
    except Corrupt as error:
        raise Undecodable("the compressed icon image is in no fragments") from error
    native = await context.codecs.decode(picture, frame)
    decoded = picture.decoded
    photometric = decoded.photometric_interpretation.encode()
    edits: dict[int, tuple[str, bytes] | None] = {
        0x00280004: ("CS", photometric + b" " * (len(photometric) % 2)),
        0x7FE00010: ("OW" if decoded.bits_allocated > 8 else "OB", native + bytes(len(native) % 2)),
    }
    if decoded.samples_per_pixel > 1:
        edits[0x00280006] = ("US", struct.pack("<H", decoded.planar_configuration))
    return edits


async def _places(context: Context, instance: Instance) -> dict[str, tuple[int, int]]:
    """Offset and length of the values that metadata refer to, by path."""
    recorded = await lookups.bulk_of(context.catalog, [instance.id])
    return {path: (at, length) for path, _, at, length in orjson.loads(recorded.get(instance.id) or b"[]")}


async def _stored(context: Context, instance: Instance, icon: _Icon, places: Mapping[str, tuple[int, int]]) -> bytes:
    """The value of the icon's Pixel Data as it is in the file, which the metadata hold or refer to."""
    element = icon.item[_PIXELS]
    if "InlineBinary" in element:
        return base64.b64decode(element["InlineBinary"])
    offset, length = places.get(icon.bulk_path, (0, 0))
    return await read_at_once(context, instance, offset, length) if 0 < length <= _LONGEST else b""
