"""Looks from time to time which worklist items are done because their images are stored."""

from __future__ import annotations

import asyncio
import logging

from app.archive.context import Context
from app.archive.worklist import settle
from app.errors import FileroomError

log = logging.getLogger("fileroom.jobs")


async def work(context: Context, seconds: float) -> None:
    """Looks every `seconds` until cancelled. Several processes may: the second one finds nothing left to do."""
    while True:
        await asyncio.sleep(seconds)
        try:
            done = await settle(context)
        except FileroomError as error:
            log.warning("the worklist was not looked through: %s", error.detail)
        else:
            if done:
                log.info("worklist items that have images: %d", done)
