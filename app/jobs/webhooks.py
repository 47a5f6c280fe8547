"""Delivers for webhooks: woken by the change feed and by due times, several webhooks at a time. Whatever kills this
process, its leases run out and another one sends the same messages again."""

from __future__ import annotations

import asyncio
import logging

from app.archive import webhooks
from app.archive.context import Context
from app.archive.signed_post import Sender
from app.catalog.notices import CHANGES, Notices
from app.catalog.webhooks import Lease
from app.errors import FileroomError

log = logging.getLogger("fileroom.jobs")

MOST = 8
"""Webhooks for which one process delivers at a time."""
_LOOK_SECONDS = 30.0
_PAUSE_SECONDS = 2.0


async def work(context: Context, notices: Notices) -> None:
    """Delivers until cancelled."""
    sender = Sender(context.webhooks.seconds)
    under_way: set[asyncio.Task[None]] = set()
    try:
        async with notices.watch(CHANGES) as watch:
            while True:
                pause = await _start(context, sender, under_way)
                notice = asyncio.ensure_future(watch.wait(pause))
                _, under_way = await asyncio.wait({notice, *under_way}, return_when=asyncio.FIRST_COMPLETED)
                notice.cancel()
                under_way.discard(notice)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await sender.close()


async def _start(context: Context, sender: Sender, under_way: set[asyncio.Task[None]]) -> float:
    """Begins what is due; seconds until somebody should look again."""
    try:
        while len(under_way) < MOST:
            lease = await webhooks.claim(context)
            if lease is None:
                return await webhooks.seconds_left(context, _LOOK_SECONDS)
            under_way.add(asyncio.create_task(_deliver(context, sender, lease)))
    except FileroomError as error:
        log.warning("webhooks are looked at later: %s", error.detail)
        return _PAUSE_SECONDS
    return _LOOK_SECONDS


async def _deliver(context: Context, sender: Sender, lease: Lease) -> None:
    try:
        await webhooks.deliver(context, sender, lease)
    except FileroomError as error:
        log.warning("webhook %s is delivered later: %s", lease.name, error.detail)
    except asyncio.CancelledError:
        await webhooks.release(context, lease)
        raise
    except Exception:  # whatever it is, the other webhooks must be delivered
        log.exception("webhook %s cannot be delivered by a fault of ours", lease.name)
