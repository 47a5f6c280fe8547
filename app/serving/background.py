"""The process beside the workers: runs the jobs until SIGTERM, and ends them in the middle, which they bear."""

from __future__ import annotations

import asyncio
import signal

from app.archive.context import Context
from app.jobs.runner import run
from app.settings import Settings


def work(context: Context, settings: Settings) -> None:
    """Runs the jobs of one process until a signal ends it."""
    asyncio.run(_until_signal(context, settings))


async def _until_signal(context: Context, settings: Settings) -> None:
    task = asyncio.ensure_future(run(context, settings.sweep_seconds))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        await context.catalog.close()
