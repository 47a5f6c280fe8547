"""Retrieve: which instances a resource is, and their bytes. Every piece is compared with its checksum before it is
given.

The set of instances is read once, by one statement; the bytes of a version never change, so what is sent is what was
current at that moment, whatever happens meanwhile. The next file or piece is read while one is being sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from app.archive.context import Context
from app.archive.packed_json import members_of
from app.blobs.base import ByteRange
from app.blobs.keys import make_key
from app.catalog import lookups
from app.dicom.octets import Piece
from app.dicom.transfer_syntaxes import transfer_syntax
from app.dicom.uid import is_uid
from app.errors import Corrupt, NotFound

log = logging.getLogger(__name__)
Instance = lookups.Instance
Pieces = AsyncGenerator[Piece, None]

_NEVER_OVER_LONG = 32 << 20
"""Files up to this length never hold pixel data that is too long for Explicit VR Little Endian."""
_LONGEST_VALUE = 0xFFFFFFFE
_LONG_JSON = 1 << 18
"""Bytes of packed JSON over which it is unpacked in a thread."""
_IMAGE_SIZE = ("00280010", "00280011", "00280002", "00280100")


def require_uids(*uids: str) -> None:
    """Raises `NotFound` when a part of the address cannot be a UID: the same answer as for one that is not there."""
    for uid in uids:
        if not is_uid(uid):
            raise missing()


def missing() -> NotFound:
    """The one answer to whatever is not there, or not visible."""
    return NotFound("no such resource")


async def find_instance(context: Context, study: str, series: str, sop: str) -> Instance:
    """The current version of one instance; raises `NotFound`."""
    require_uids(study, series, sop)
    found = await lookups.instance(context.catalog, study, series, sop)
    if found is None:
        raise missing()
    return found


async def find_instances(context: Context, study: str, series: str | None) -> list[Instance]:
    """The current versions of a study's or series' instances; raises `NotFound` when there is none."""
    require_uids(study, *(() if series is None else (series,)))
    if series is None:
        found = await lookups.instances_of_study(context.catalog, study)
    else:
        found = await lookups.instances_of_series(context.catalog, study, series)
    if not found:
        raise missing()
    return found


async def read(context: Context, instance: Instance, offset: int, length: int) -> Pieces:
    """Bytes `offset` to `offset + length` of the stored file; raises `Corrupt` before a wrong byte is given."""
    key = make_key(instance.study, instance.series, instance.sop, instance.version)
    part = ByteRange(offset, length)
    try:
        async for piece in context.blobs.read_verified(key, part, instance.checks, instance.length):
            yield piece
    except Corrupt:
        raise_alarm(context, instance)
        raise


async def read_at_once(context: Context, instance: Instance, offset: int, length: int) -> bytes:
    """As `read`, for few bytes."""
    key = make_key(instance.study, instance.series, instance.sop, instance.version)
    try:
        return await context.blobs.pread_verified(key, offset, length, instance.checks, instance.length)
    except Corrupt:
        raise_alarm(context, instance)
        raise


async def read_piece(context: Context, instance: Instance, number: int) -> Piece:
    """As `read`, one whole MiB of the file, or its last piece."""
    key = make_key(instance.study, instance.series, instance.sop, instance.version)
    try:
        return await context.blobs.read_piece(key, number, instance.checks, instance.length)
    except Corrupt:
        raise_alarm(context, instance)
        raise


async def stored_members(context: Context, instance: Instance) -> dict[str, Any]:
    """The DICOM JSON made of it when it was stored, for those who look for values in it: BulkDataURIs are the bare tag
    paths. Raises `NotFound` when the instance has gone meanwhile."""
    packed = await lookups.json_of(context.catalog, instance.id)
    if packed is None:
        raise missing()
    return await asyncio.to_thread(members_of, packed) if len(packed) > _LONG_JSON else members_of(packed)


def raise_alarm(context: Context, instance: Instance) -> None:
    """Counts it, and says in the log which instance must be looked at; `fileroom verify` tells the file."""
    fields = {"study": instance.study, "series": instance.series, "instance": instance.sop}
    context.count_corrupt()
    log.error("stored bytes do not match their checksum", extra={"fields": fields})


def may_be_over_long(instance: Instance) -> bool:
    """Whether it is worth asking `is_over_long`."""
    row = transfer_syntax(instance.transfer_syntax)
    return instance.length > _NEVER_OVER_LONG and row.encapsulated and not row.lossy


async def is_over_long(context: Context, instance: Instance) -> bool:
    """Whether compressed pixel data would be too long for Explicit VR Little Endian (PS3.18 8.7.3.4): 4 GiB or more."""
    members = await stored_members(context, instance)
    bits = instance.frame_count
    for tag in _IMAGE_SIZE:
        values = members.get(tag, {}).get("Value") or [1]
        bits *= values[0] if isinstance(values[0], int) else 1
    return bits // 8 >= _LONGEST_VALUE
