"""Icon images (PS3.3 F.7, Icon Image Sequence) that are compressed as the image itself is. In another transfer syntax
they would be unreadable, so they become native, which nested pixel data may be in any (PS3.5 A.4)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

import orjson

from app.archive.context import Context
from app.archive.retrieve import Instance, read_at_once
from app.catalog import lookups
from app.dicom.convert_elements import Edits
from app.dicom.octets import ItemStripper
from app.errors import Corrupt, Undecodable
from app.pixels import picture as pictures

SEQUENCE = 0x00880200
_PIXELS = "7FE00010"
_PATH = f"{SEQUENCE:08X}/1/{_PIXELS}"
_FIRST_ITEM = b"\xfe\xff\x00\xe0"
_LONGEST = 16 << 20
"""Bytes of a compressed icon."""


async def decoded_icons(context: Context, instance: Instance, members: Mapping[str, Any]) -> dict[int, Edits]:
    """What makes the instance's icon native: changes to items of sequences, by the sequence's tag; nothing when it has
    no compressed icon. Raises `Undecodable` or `DecoderFailed`."""
    items = members.get(f"{SEQUENCE:08X}", {}).get("Value") or [{}]
    icon = items[0] or {}
    stored = await _stored(context, instance, icon.get(_PIXELS) or {})
    if not stored.startswith(_FIRST_ITEM):
        return {}
    if len(items) > 1:
        raise Undecodable("more than one compressed icon image")
    table = int.from_bytes(stored[4:8], "little")
    try:
        frame = b"".join(bytes(piece) for piece in ItemStripper().feed(stored[8 + table :]))
    except Corrupt as error:
        raise Undecodable("the compressed icon image is in no fragments") from error
    picture = pictures.from_json(icon, instance.transfer_syntax)
    native = await context.codecs.decode(picture, frame)
    decoded = picture.decoded
    photometric = decoded.photometric_interpretation.encode()
    edits: dict[int, tuple[str, bytes] | None] = {
        0x00280004: ("CS", photometric + b" " * (len(photometric) % 2)),
        0x7FE00010: ("OW" if decoded.bits_allocated > 8 else "OB", native + bytes(len(native) % 2)),
    }
    if decoded.samples_per_pixel > 1:
        edits[0x00280006] = ("US", struct.pack("<H", decoded.planar_configuration))
    return {SEQUENCE: edits}


async def _stored(context: Context, instance: Instance, element: Mapping[str, Any]) -> bytes:
    """The value of the icon's Pixel Data as it is in the file, which the metadata hold or refer to."""
    if "InlineBinary" in element:
        return base64.b64decode(element["InlineBinary"])
    if "BulkDataURI" not in element:
        return b""
    recorded = await lookups.bulk_of(context.catalog, [instance.id])
    for path, _, offset, length in orjson.loads(recorded.get(instance.id) or b"[]"):
        if path == _PATH and 0 < length <= _LONGEST:
            return await read_at_once(context, instance, offset, length)
    return b""
