"""What the job process does for the change feed: it numbers, tells what has become quiet, and asks the routes. Nobody
asks the catalog while nothing happens, but every few seconds, for what no ring and no notice told."""

from __future__ import annotations

import asyncio
import logging

from app.archive import routing
from app.archive.context import Context
from app.archive.search import Search
from app.catalog import changes
from app.catalog.bell import await_ring
from app.catalog.changes import Barrier
from app.catalog.notices import CHANGES, Notices
from app.errors import FileroomError

log = logging.getLogger("fileroom.jobs")

_SEQUENCE_SECONDS = 0.2
_FOLLOW_SECONDS = 0.5
_PAUSE_SECONDS = 2.0
_LOOK_SECONDS = 5.0


async def sequence(context: Context) -> None:
    """Moves the horizon of the feed, until cancelled: at a ring, and as long as it is behind."""
    barrier: Barrier | None = None
    with context.catalog.bell.watch() as bell:
        while True:
            bell.clear()
            try:
                barrier = await changes.sequence(context.catalog, barrier)
                await asyncio.sleep(_SEQUENCE_SECONDS)
                while barrier is None and not bell.is_set() and not await changes.is_behind(context.catalog):
                    await await_ring(bell, _LOOK_SECONDS)
            except FileroomError as error:
                log.warning("the change feed stands still: %s", error.detail)
                barrier = None
                await asyncio.sleep(_PAUSE_SECONDS)


async def follow(context: Context, notices: Notices) -> None:
    """Tells what is quiet and asks the routes about each event, until cancelled: when the horizon moves, and when the
    next series can be quiet."""
    search = Search(context)
    async with notices.watch(CHANGES) as watch:
        while True:
            try:
                due = await changes.next_due(context.catalog)
                if due is not None and due <= 0:
                    await _follow(context, search)
                    await asyncio.sleep(_FOLLOW_SECONDS)
                else:
                    await watch.wait(_LOOK_SECONDS if due is None else min(due, _LOOK_SECONDS))
            except FileroomError as error:
                log.warning("the routes are not followed: %s", error.detail)
                await asyncio.sleep(_PAUSE_SECONDS)


async def _follow(context: Context, search: Search) -> None:
    routes = await routing.registered(context)
    seconds = {context.quiet_seconds, *(route.seconds for route in routes if route.seconds)}
    await changes.watch_quiet(context.catalog, sorted(seconds))
    while await routing.follow(context, search):
        pass
