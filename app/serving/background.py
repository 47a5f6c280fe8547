"""The process beside the workers: runs the jobs and the HL7 feed until SIGTERM, and ends them in the middle, which they
bear."""

from __future__ import annotations

import asyncio
import signal
import socket

from app.archive.context import Context
from app.jobs import worklist
from app.jobs.runner import run
from app.serving.feed import serve_feed
from app.settings import Settings


def work(context: Context, settings: Settings, feed: list[socket.socket]) -> None:
    """Runs the jobs of one process, and the feed on its listening sockets, until a signal ends it."""
    asyncio.run(_until_signal(context, settings, feed))


async def _until_signal(context: Context, settings: Settings, feed: list[socket.socket]) -> None:
    task = asyncio.ensure_future(_work(context, settings, feed))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        await context.catalog.close()


async def _work(context: Context, settings: Settings, feed: list[socket.socket]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(run(context, settings.sweep_seconds))
        group.create_task(worklist.work(context, settings.worklist_seconds))
        if feed:
            group.create_task(serve_feed(context, settings, feed))
