"""What the sweeper does: bytes of ended deletions go, blobs without a row go after two sightings a grace period apart,
and jobs that ended long ago go. A row without a blob is never touched here: that is for `verify`, and an alarm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from app.archive.context import Context
from app.archive.delete import record
from app.blobs.base import BlobInfo
from app.blobs.keys import make_key, parse_key
from app.catalog import deletions, prefetch, queue
from app.failpoints import Failpoint, hit

BATCH = 1000
JOBS = 100
"""Ended jobs that are removed at a time, since each may list thousands of instances."""
FAILED_DAYS = 4
"""So many times longer failed jobs are kept than others: somebody may want to have them done again."""


@dataclass(slots=True)
class Swept:
    """What one sweep did."""

    purged: int = 0
    orphans_seen: int = 0
    orphans_removed: int = 0
    jobs_removed: int = 0


async def sweep(context: Context) -> Swept:
    """One sweep. May be repeated and interrupted at any point."""
    done = Swept()
    await _purge(context, done)
    await _remove_orphans(context, done)
    await _forget_jobs(context, done)
    return done


async def _purge(context: Context, done: Swept) -> None:
    while names := await deletions.purge(context.catalog, BATCH):
        hit(Failpoint.DELETE_PURGING)
        for name in names:
            await context.blobs.remove(make_key(name.study, name.series, name.sop, name.version))
        await record(context, "purge", names)
        done.purged += len(names)


async def _remove_orphans(context: Context, done: Swept) -> None:
    orphans = []
    blobs = context.blobs.scan()
    young = time.time() - context.orphan_hours * 3600
    while batch := await asyncio.to_thread(_next, blobs):
        old = {info.key: parse_key(info.key) for info in batch if info.modified <= young}
        keys = {key: parsed for key, parsed in old.items() if parsed is not None}
        known = await deletions.known_versions(
            context.catalog, [key.version for key in keys.values()], {key.study for key in keys.values()}
        )
        orphans += [key for key, parsed in keys.items() if parsed.version not in known]
    done.orphans_seen = len(orphans)
    ripe = await deletions.sight_orphans(context.catalog, orphans, context.orphan_hours)
    for key in ripe:
        hit(Failpoint.SWEEP_REMOVING)
        await context.blobs.remove(key)
    await deletions.forget_orphans(context.catalog, ripe)
    done.orphans_removed = len(ripe)


async def _forget_jobs(context: Context, done: Swept) -> None:
    days = context.transfers.keep_days
    while removed := await queue.forget(context.catalog, days, days * FAILED_DAYS, JOBS):
        done.jobs_removed += removed
    await prefetch.forget(context.catalog, max(days, 1) * FAILED_DAYS)


def _next(blobs: Iterator[BlobInfo]) -> list[BlobInfo]:
    return list(islice(blobs, BATCH))
