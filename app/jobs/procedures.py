"""What follows from performed procedure steps, and what storage commitment waits for, as far as neither could be done
at once. Both sleep until the next due time, a ring of the bell or a notice; what neither told is found a little later.
"""

from __future__ import annotations

import asyncio
import logging

from app.archive import commitments, performed_steps
from app.archive.context import Context
from app.catalog import locks
from app.catalog.bell import await_ring
from app.errors import FileroomError

log = logging.getLogger("fileroom.jobs")

PAUSE_SECONDS = 2.0
"""Rest between two looks, however often the bell rings."""
_IDLE_SECONDS = 10.0


async def work(context: Context) -> None:
    """Settles steps until cancelled. Of all nodes one does at a time."""
    with context.catalog.bell.watch() as bell:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            bell.clear()
            due: float | None = PAUSE_SECONDS
            try:
                due = await performed_steps.next_due(context)
                if due is not None and due <= 0:
                    async with locks.only_one(context.catalog, locks.PROCEDURES) as mine:
                        if mine:
                            await performed_steps.settle(context)
                    continue
            except FileroomError as error:
                log.warning("performed procedure steps are looked at later: %s", error.detail)
            await await_ring(bell, _until(due))


async def commit(context: Context) -> None:
    """Works on storage commitment requests until cancelled, one at a time."""
    with context.catalog.bell.watch() as bell:
        while True:
            bell.clear()
            due: float | None = PAUSE_SECONDS
            try:
                if await commitments.work(context):
                    continue
                due = await commitments.next_look(context)
            except FileroomError as error:
                log.warning("a storage commitment request is looked at later: %s", error.detail)
            await await_ring(bell, _until(due))


def _until(due: float | None) -> float:
    """Seconds to sleep when something is due in `due` seconds, or nothing is."""
    return _IDLE_SECONDS if due is None else min(max(due, 0.05), _IDLE_SECONDS)
