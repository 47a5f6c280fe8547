"""`fileroom reindex`: rebuilds the catalog from blobs and journals alone."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from tqdm import tqdm

from app.archive import reindex as deed
from app.archive.context import Context
from app.catalog import replay
from app.commands.workplace import work
from app.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whether a catalog that holds something may be thrown away."""
    parser.add_argument(
        "--clear", action="store_true", help="forget the present catalog first; stop the archive before"
    )


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Rebuilds; 0 when every version that the journals name was found whole."""
    return work(settings, lambda context: _reindex(context, options.clear))


def _count(bar: tqdm[NoReturn]) -> None:
    bar.update()


async def _reindex(context: Context, clear: bool) -> int:
    if clear:
        await replay.clear(context.catalog)
    with tqdm(desc="reindexing", unit=" studies", file=sys.stderr, mininterval=0.5) as bar:
        rebuilt = await deed.reindex(context, lambda _: _count(bar))
    for word, keys in (("missing", rebuilt.missing), ("damaged", rebuilt.damaged)):
        for key in keys:
            print(f"{word}: {key}", file=sys.stderr)
    print(
        f"{rebuilt.studies} studies, {rebuilt.instances} versions rebuilt; {len(rebuilt.missing)} missing, "
        f"{len(rebuilt.damaged)} damaged."
    )
    return 1 if rebuilt.missing or rebuilt.damaged else 0
