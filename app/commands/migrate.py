"""`fileroom migrate`: brings the catalog up to date, or restores a dump of it."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from app.catalog.embedded import database, restore
from app.catalog.migrate import HEAD, prepare
from app.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where a dump lies."""
    parser.add_argument("--restore", type=Path, metavar="DUMP", help="first load a dump made by pg_dump -Fc")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Restores if asked to, then migrates."""
    with database(settings.database_url, settings.data) as url:
        if options.restore:
            restore(url, options.restore)
        asyncio.run(prepare(url))
    print(f"The catalog is at step {HEAD}.")
    return 0
