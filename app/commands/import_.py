"""`fileroom import`: stores files, folders and ZIP archives; can be run again after an interruption."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path

from app.archive.context import Context
from app.archive.importing import Imported, import_files, sources
from app.archive.store import Storekeeper
from app.commands.workplace import complain, progress, work
from app.dicom.status import STATUSES, Outcome
from app.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to import."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, a folder or a ZIP archive")
    parser.add_argument("--quiet", action="store_true", help="only the summary; no line for each file left out")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Imports; 0 when nothing failed that can be stored later; files that are no DICOM are left out with a reason."""
    for path in options.paths:
        if not path.exists():
            print(f"fileroom import: {path} does not exist", file=sys.stderr)
            return 2
    return work(settings, lambda context: _import(context, options.paths, options.quiet))


async def _import(context: Context, paths: list[Path], quiet: bool) -> int:
    keeper = Storekeeper(context)
    files = await asyncio.to_thread(lambda: list(sources(paths)))
    counted: Counter[str] = Counter()
    with progress(sum(file.length for file in files), what="importing") as bar:
        async for imported in import_files(keeper, files):
            bar.update(imported.source.length)
            counted[_kind(imported)] += 1
            if (told := _told(imported)) and not quiet:
                complain(bar, f"{imported.source.name}: {told}")
    await keeper.drain()
    size = sum(file.length for file in files)
    print(
        f"{len(files)} files, {size / 1e6:,.1f} MB: {counted['stored'] + counted['warned']} stored "
        f"({counted['warned']} with warnings), {counted['skipped']} left out, {counted['failed']} failed."
    )
    return 1 if counted["failed"] else 0


def _told(imported: Imported) -> str:
    """What the user should know of the file, if there is something."""
    receipt = imported.receipt
    if receipt is not None and receipt.outcome is Outcome.STORED_BROKEN_OFF:
        return STATUSES[receipt.outcome].title.lower()
    return imported.skipped


def _kind(imported: Imported) -> str:
    receipt = imported.receipt
    if receipt is None:
        return "failed"
    if receipt.stored:
        return "warned" if receipt.warnings else "stored"
    return "failed" if receipt.retry else "skipped"
