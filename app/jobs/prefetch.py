"""Prefetch of priors: asks the rules about worklist items, takes what they queued and has it brought here. Whatever
kills this process, its leases run out and another one goes on with what is not here yet."""

from __future__ import annotations

import asyncio
import logging

from app.archive import destinations, prefetch
from app.archive.context import Context
from app.archive.prefetch import Source, SourceAway
from app.archive.remote_peers import PeerSource
from app.archive.transfers import end
from app.catalog import prefetch as catalog
from app.catalog import queue
from app.catalog.bell import await_ring
from app.catalog.notices import QUEUE, Notices
from app.catalog.queue import PREFETCH, Job
from app.errors import DatabaseDown, FileroomError, NotFound, Refused, Unavailable
from app.jobs.wado import WebSource

log = logging.getLogger("fileroom.jobs")

AT_ONCE = 2
"""Prefetches that one process does at a time."""
_LOOK_SECONDS = 2.0
"""Between two looks while there are jobs that nobody can have yet."""
_IDLE_SECONDS = 30.0
"""The same without any: a new one is told of by a notice, which can be lost."""
_ITEMS_SECONDS = 5.0
"""Between two looks at the worklist, which other machines and commands change without a ring."""
_REST_SECONDS = 1.0
"""At least: the bell rings for stores too."""


async def look(context: Context) -> None:
    """Asks the rules about worklist items as soon as they come or are due, until cancelled."""
    with context.catalog.bell.watch() as bell:
        while True:
            pause = _REST_SECONDS
            bell.clear()
            try:
                while await prefetch.look(context):
                    pass
                due = await catalog.next_look(context.catalog)
                pause = _ITEMS_SECONDS if due is None else min(max(due, 0.0), _ITEMS_SECONDS)
            except FileroomError as error:
                log.warning("the worklist is looked at for priors later: %s", error.detail)
            await asyncio.sleep(_REST_SECONDS)
            await await_ring(bell, pause)


async def work(context: Context, notices: Notices) -> None:
    """Takes prefetches from the queue, until cancelled."""
    places = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group, notices.watch(QUEUE) as watch:
        while True:
            await places.acquire()
            pause = min(_LOOK_SECONDS, context.transfers.pause_seconds)
            try:
                claimed = await prefetch.claim(context)
                if claimed is not None:
                    group.create_task(_work(context, *claimed)).add_done_callback(lambda _: places.release())
                    continue
                if not await queue.is_open(context.catalog, PREFETCH):
                    pause = _IDLE_SECONDS
            except FileroomError as error:
                log.warning("the queue cannot be worked on: %s", error.detail)
            places.release()
            await watch.wait(pause)


async def _work(context: Context, lease: str, job: Job) -> None:
    doing = asyncio.ensure_future(_do(context, lease, job))
    beat = context.transfers.lease_seconds / 4
    try:
        while not (await asyncio.wait({doing}, timeout=beat))[0]:
            try:
                await prefetch.note_arrivals(context, lease)
            except DatabaseDown:
                log.warning("a lease could not be renewed")
        outcome, reason = await doing
        state = await end(context, lease, outcome, reason)
        log.info("prefetch %d is %s: %s", job.id, state, reason or outcome)
    except NotFound:
        log.info("prefetch %d is no longer ours", job.id)
    except FileroomError as error:
        log.warning("prefetch %d is gone on with later: %s", job.id, error.detail)
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


async def _do(context: Context, lease: str, job: Job) -> tuple[str, str]:
    """Outcome and reason. Raises `NotFound` when the lease is gone."""
    try:
        source = await _source(context, job)
    except NotFound:
        return "failed", "the source is not registered any more"
    try:
        if job.payload["echo"]:
            await source.echo()
        if not job.payload.get("listed"):
            await prefetch.list_priors(context, lease, job, source)
        return await prefetch.bring(context, lease, job, source)
    except SourceAway as error:
        return "unreachable", str(error)
    except NotFound:
        raise
    except Refused as error:
        return "failed", error.detail
    except Unavailable as error:  # it is the archive that cannot: nothing is to be fetched for a while
        return "unreachable", error.detail
    except FileroomError as error:
        return "again", error.detail
    except Exception:  # a prefetch that we cannot do must end no other
        log.exception("prefetch %d failed by a fault of ours", job.id)
        return "again", "a fault of the archive: see its log"
    finally:
        await source.close()


async def _source(context: Context, job: Job) -> Source:
    if "server" in job.payload["from"]:
        return WebSource(context, await destinations.one(context, job.destination))
    return PeerSource(context.bridges, job.destination)
