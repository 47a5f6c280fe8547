"""The job process: sweeps from time to time, and works on the queue; what fails is logged and tried again."""

from __future__ import annotations

import asyncio
import logging

from app.archive.context import Context
from app.archive.sweep import sweep
from app.catalog import locks
from app.catalog.notices import Notices
from app.errors import FileroomError
from app.jobs import feed, prefetch, procedures, transfers, webhooks

log = logging.getLogger("fileroom.jobs")

TRANSFERS = 4
"""Transfers that one process sends at a time."""


async def run(context: Context, sweep_seconds: float) -> None:
    """Does all of it until cancelled."""
    notices = Notices(context.catalog.url)
    async with asyncio.TaskGroup() as group:
        group.create_task(_sweep(context, sweep_seconds))
        group.create_task(procedures.work(context))
        group.create_task(procedures.commit(context))
        group.create_task(feed.sequence(context))
        group.create_task(feed.follow(context, notices))
        group.create_task(webhooks.work(context, notices))
        group.create_task(prefetch.look(context))
        group.create_task(prefetch.work(context, notices))
        for _ in range(TRANSFERS):
            group.create_task(transfers.work(context, notices))


async def _sweep(context: Context, sweep_seconds: float) -> None:
    """Sweeps every `sweep_seconds`. Of all nodes one sweeps at a time."""
    while True:
        await asyncio.sleep(sweep_seconds)
        try:
            async with locks.only_one(context.catalog, locks.SWEEPER) as mine:
                if mine:
                    done = await sweep(context)
                    log.info(
                        "swept: %d purged, %d orphans seen, %d removed",
                        done.purged,
                        done.orphans_seen,
                        done.orphans_removed,
                    )
        except FileroomError as error:
            log.warning("the sweep failed: %s", error.detail)
