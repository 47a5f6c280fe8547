"""Re-reads stored bytes and compares them with the digests taken at ingest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from app.archive.context import Context
from app.blobs.base import ByteRange
from app.blobs.checksum import Checks
from app.blobs.keys import make_key
from app.catalog import walk
from app.errors import BlobMissing, BlobStoreFailed, Corrupt

EVERY_STATE_BUT_DELETED = 2


@dataclass(frozen=True, slots=True)
class Verified:
    """One version. `problem` is empty when its bytes are whole."""

    key: str
    length: int
    problem: str


async def total(context: Context, study: str = "") -> tuple[int, int]:
    """Number and bytes of the versions that `verify` will read."""
    return await walk.count(context.catalog, EVERY_STATE_BUT_DELETED, study)


async def verify(context: Context, study: str = "") -> AsyncIterator[Verified]:
    """Reads every version that is not deleted, of one study or of all ("")."""
    async for row in walk.versions(context.catalog, EVERY_STATE_BUT_DELETED, study):
        key = make_key(row["study"], row["series"], row["sop"], row["version"])
        yield Verified(key, row["length"], await problem_of(context, row))


async def problem_of(context: Context, row: Any) -> str:
    """What is wrong with the bytes of a version, "" when they are whole. `row` names it and has its length, the offset
    of its data set and its digests."""
    key = make_key(row["study"], row["series"], row["sop"], row["version"])
    checks = Checks()
    checks.dataset_offset = row["dataset_offset"]
    try:
        async for chunk in context.blobs.read(key, ByteRange(0, row["length"])):
            checks.update(chunk)
        whole = checks.finish()[0] == (row["digest"], row["digest_meta"])
    except BlobMissing as error:
        context.count_corrupt()
        return error.detail
    except BlobStoreFailed as error:
        return f"cannot be read: {error.detail}"
    except Corrupt:
        whole = False
    if not whole:
        context.count_corrupt()
    return "" if whole else "the bytes are not those that were stored"
