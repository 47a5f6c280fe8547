"""What follows from performed procedure steps, and what storage commitment waits for, as far as neither could be done
at once."""

from __future__ import annotations

import asyncio
import logging

from app.archive import commitments, performed_steps
from app.archive.context import Context
from app.catalog import locks
from app.catalog.notices import QUEUE, Notices
from app.errors import FileroomError

log = logging.getLogger("fileroom.jobs")

PAUSE_SECONDS = 2.0


async def work(context: Context) -> None:
    """Looks every other second until cancelled: two queries of indexes that are empty on most days. Of all nodes one
    looks at a time."""
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        try:
            async with locks.only_one(context.catalog, locks.PROCEDURES) as mine:
                if mine:
                    await performed_steps.settle(context)
        except FileroomError as error:
            log.warning("performed procedure steps are looked at later: %s", error.detail)


async def commit(context: Context, notices: Notices) -> None:
    """Works on storage commitment requests until cancelled, one at a time; looks every other second for one."""
    async with notices.watch(QUEUE) as watch:
        while True:
            try:
                if await commitments.work(context):
                    continue
            except FileroomError as error:
                log.warning("a storage commitment request is looked at later: %s", error.detail)
            await watch.wait(PAUSE_SECONDS)
