"""`fileroom jobs`: what is done in the background, as a process of its own. `fileroom serve` starts one by itself."""

from __future__ import annotations

import argparse
import asyncio
import signal

from app.archive.context import Context
from app.catalog.embedded import database
from app.jobs.runner import run as run_jobs
from app.main import make_context
from app.settings import Settings
from app.telemetry.logging import configure_logging


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options: everything is a setting."""


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Works until a signal ends it."""
    configure_logging(settings)
    with database(settings.database_url, settings.data) as url:
        work(make_context(settings, url), settings)
    return 0


def work(context: Context, settings: Settings) -> None:
    """The jobs of one process, until SIGTERM."""
    asyncio.run(_until_signal(context, settings))


async def _until_signal(context: Context, settings: Settings) -> None:
    task = asyncio.ensure_future(run_jobs(context, settings.sweep_seconds))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        await context.catalog.close()
