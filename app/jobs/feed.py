"""What the job process does for the change feed: it numbers, tells what has become quiet, and asks the routes."""

from __future__ import annotations

import asyncio
import logging

from app.archive import routing
from app.archive.context import Context
from app.archive.search import Search
from app.catalog import changes
from app.catalog.changes import Barrier
from app.errors import FileroomError

log = logging.getLogger("fileroom.jobs")

_SEQUENCE_SECONDS = 0.2
_FOLLOW_SECONDS = 0.5
_PAUSE_SECONDS = 2.0


async def sequence(context: Context) -> None:
    """Moves the horizon of the feed, until cancelled."""
    barrier: Barrier | None = None
    while True:
        try:
            barrier = await changes.sequence(context.catalog, barrier)
            await asyncio.sleep(_SEQUENCE_SECONDS)
        except FileroomError as error:
            log.warning("the change feed stands still: %s", error.detail)
            barrier = None
            await asyncio.sleep(_PAUSE_SECONDS)


async def follow(context: Context) -> None:
    """Tells what is quiet and asks the routes about each event, until cancelled."""
    search = Search(context)
    while True:
        try:
            routes = await routing.registered(context)
            seconds = {context.quiet_seconds, *(route.seconds for route in routes if route.seconds)}
            await changes.watch_quiet(context.catalog, sorted(seconds))
            while await routing.follow(context, search):
                pass
            await asyncio.sleep(_FOLLOW_SECONDS)
        except FileroomError as error:
            log.warning("the routes are not followed: %s", error.detail)
            await asyncio.sleep(_PAUSE_SECONDS)
