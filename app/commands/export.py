"""`fileroom export`: writes stored files, verified, into a folder that any archive can take, with a list of digests."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

from app.archive.context import Context
from app.blobs.base import ByteRange
from app.blobs.keys import make_key
from app.catalog import walk
from app.commands.workplace import complain, progress, work
from app.errors import FileroomError
from app.settings import Settings

VISIBLE = 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, and what."""
    parser.add_argument("folder", type=Path, help="gets <study>/<series>/<instance>.dcm and SHA256SUMS")
    parser.add_argument("--study", default="", metavar="UID", help="only this study")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Exports; 0 when every instance was written."""
    return work(settings, lambda context: _export(context, options.folder, options.study))


async def _export(context: Context, folder: Path, study: str) -> int:
    instances, size = await walk.count(context.catalog, VISIBLE, study)
    failed = 0
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with progress(size, what="exporting") as bar, (folder / "SHA256SUMS").open("w") as sums:
        async for row in walk.versions(context.catalog, VISIBLE, study):
            target = folder / row["study"] / row["series"] / f"{row['sop']}.dcm"
            try:
                digest = await _write(context, row, target)
                sums.write(f"{digest}  {target.relative_to(folder)}\n")
            except FileroomError as error:
                failed += 1
                complain(bar, f"{target.name}: {error.detail}")
            bar.update(row["length"])
    print(f"{instances - failed} of {instances} instances, {size / 1e6:,.1f} MB, are in {folder}.")
    return 1 if failed or (study and not instances) else 0


async def _write(context: Context, row: Any, target: Path) -> str:
    """Writes one file under another name first, so that an interruption leaves no half a file; its SHA-256."""
    await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    draft = target.with_suffix(".part")
    key = make_key(row["study"], row["series"], row["sop"], row["version"])
    with draft.open("wb") as file:
        part = ByteRange(0, row["length"])
        async for chunk in context.blobs.read_verified(key, part, row["checks"], row["length"]):
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    os.replace(draft, target)
    return digest.hexdigest()
