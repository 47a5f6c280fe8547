"""Bulk values of one instance: the places that ingest recorded, by tag path."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from app.archive.context import Context
from app.archive.frames import Place, entry_place
from app.archive.retrieve import Instance, find_instances, missing, require_uids, stored_members
from app.catalog import lookups
from app.dicom import media_types as media
from app.dicom.elements import WORD
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import NotFound

_ENCAPSULATED_DOCUMENT = "00420011"
_DOCUMENT_TYPE = "00420012"


@dataclass(frozen=True, slots=True)
class BulkValue:
    """One value. `is_pixels`: it holds the frames; `is_encapsulated`: each of them apart."""

    path: str
    place: Place
    is_pixels: bool = False
    is_encapsulated: bool = False


async def find_values(context: Context, study: str, series: str, sop: str) -> tuple[Instance, list[BulkValue]]:
    """An instance and all its bulk values, in the order of the data set; raises `NotFound`."""
    require_uids(study, series, sop)
    found = await lookups.instance_with_bulk(context.catalog, study, series, sop)
    if found is None:
        raise missing()
    instance, recorded = found
    return instance, [_value(instance, *one) for one in (orjson.loads(recorded) if recorded else ())]


async def find_all(
    context: Context, study: str, series: str | None, sop: str | None
) -> list[tuple[Instance, list[BulkValue]]]:
    """The instances of a study or series, or one instance, each with its bulk values; raises `NotFound`."""
    if series is not None and sop is not None:
        return [await find_values(context, study, series, sop)]
    instances = await find_instances(context, study, series)
    recorded = await lookups.bulk_of(context.catalog, [instance.id for instance in instances])
    return [
        (instance, [_value(instance, *one) for one in orjson.loads(recorded.get(instance.id) or b"[]")])
        for instance in instances
    ]


def _value(instance: Instance, path: str, vr: str, offset: int, length: int) -> BulkValue:
    swaps = transfer_syntax(instance.transfer_syntax).big_endian
    place = Place(offset, max(length, 0), WORD.get(vr, 1) if swaps else 1)
    holds_frames = instance.frame_kind != 0 and path == f"{instance.pixel_tag:08X}"
    return BulkValue(path, place, holds_frames, holds_frames and length < 0)


def pick(instance: Instance, values: list[BulkValue], path: str) -> BulkValue:
    """The value at `path`; raises `NotFound`."""
    for value in values:
        if value.path == path.upper().rstrip("/"):
            return value
    raise NotFound("the instance has no such bulk value")


def pixels(instance: Instance, values: list[BulkValue]) -> BulkValue:
    """The value that holds the frames; raises `NotFound`. Pixel data short enough to stand in the metadata counts
    too."""
    for value in values:
        if value.is_pixels:
            return value
    if instance.frame_kind == 0:
        raise NotFound("the instance has no pixel data")
    swaps = transfer_syntax(instance.transfer_syntax).big_endian
    place = Place(instance.pixel_offset, instance.pixel_length, instance.word if swaps else 1)
    return BulkValue(f"{instance.pixel_tag:08X}", place, True, instance.frame_kind == 2)


async def places(context: Context, instance: Instance, value: BulkValue) -> list[Place]:
    """Where the value lies: one place, or one for each frame of encapsulated pixel data."""
    if not value.is_encapsulated:
        return [value.place]
    entries = await lookups.all_frames(context.catalog, instance.id)
    return [entry_place(entries, at) for at in range(instance.frame_count)]


async def document_type(context: Context, instance: Instance, value: BulkValue) -> str:
    """The MIME Type of Encapsulated Document (0042,0012) when the value is that document; else nothing."""
    if value.path != _ENCAPSULATED_DOCUMENT:
        return ""
    members = await stored_members(context, instance)
    named = members.get(_DOCUMENT_TYPE, {}).get("Value") or [""]
    mime = media.canonical(str(named[0]).strip())
    return mime if media.is_media_type(mime) else ""
