"""What commands that work on the archive without its HTTP door share: a context, and a progress bar."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

from tqdm import tqdm

from app.archive.context import Context
from app.catalog.embedded import database
from app.catalog.migrate import prepare
from app.main import make_context
from app.settings import Settings


def work(settings: Settings, deed: Callable[[Context], Awaitable[int]]) -> int:
    """Runs `deed` beside a serving archive or without one; its exit status. Starts the embedded server if need be."""

    async def run(url: str) -> int:
        await prepare(url)
        context = make_context(settings, url)
        try:
            return await deed(context)
        finally:
            await context.catalog.close()

    with database(settings.database_url, settings.data) as url:
        return asyncio.run(run(url))


def progress(total: int, *, what: str) -> tqdm[NoReturn]:
    """A bar over `total` bytes with rate and remaining time, on standard error."""
    return tqdm(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr, mininterval=0.5)


def complain(bar: tqdm[NoReturn], line: str) -> None:
    """A line above the bar."""
    bar.write(line, file=sys.stderr)
