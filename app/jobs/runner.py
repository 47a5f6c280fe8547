"""The job process: runs what is due, one job at a time; what fails is logged and tried again at the next turn."""

from __future__ import annotations

import asyncio
import logging

from app.archive.context import Context
from app.archive.sweep import sweep
from app.catalog import locks
from app.errors import FileroomError

log = logging.getLogger("fileroom.jobs")


async def run(context: Context, sweep_seconds: float) -> None:
    """Sweeps every `sweep_seconds` until cancelled. Of all nodes one sweeps at a time."""
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
