"""What follows from performed procedure steps, as far as it could not be done at once."""

from __future__ import annotations

import asyncio
import logging

from app.archive import performed_steps
from app.archive.context import Context
from app.catalog import locks
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
