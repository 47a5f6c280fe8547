"""`fileroom verify`: re-reads what is stored and compares it with the digests taken at ingest."""

from __future__ import annotations

import argparse

from app.archive import verify as deed
from app.archive.context import Context
from app.commands.workplace import complain, progress, work
from app.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to verify."""
    parser.add_argument("--study", default="", metavar="UID", help="only this study")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Verifies; 0 when every byte is as it was stored."""
    return work(settings, lambda context: _verify(context, options.study))


async def _verify(context: Context, study: str) -> int:
    versions, size = await deed.total(context, study)
    damaged = 0
    with progress(size, what="verifying") as bar:
        async for verified in deed.verify(context, study):
            bar.update(verified.length)
            if verified.problem:
                damaged += 1
                complain(bar, f"{verified.key}: {verified.problem}")
    print(f"{versions} files, {size / 1e6:,.1f} MB, verified: {damaged} damaged.")
    return 1 if damaged else 0
