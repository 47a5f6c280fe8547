"""Import of worklist files: data sets with or without a PS3.10 header, as DCMTK's wlmscpfs keeps them in `.wl` files.

The same file again replaces its item, so that a folder can be imported whenever it changed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import orjson

from app.archive.context import Context
from app.archive.worklist import row_of
from app.catalog import worklist as catalog
from app.dicom import worklist as items
from app.dicom.part10 import HeaderReader
from app.errors import Refused, Unreadable

_LONGEST = 1 << 20


class Imported(NamedTuple):
    """What became of one file. `reason` says why it is no item; empty when it is one now, `created` a new one."""

    path: Path
    created: bool
    reason: str


def files(folder: Path) -> list[Path]:
    """The `.wl` files below a folder, by name; a file stands for itself."""
    if not folder.is_dir():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wl" and path.is_file())


async def import_files(context: Context, paths: list[Path]) -> AsyncIterator[Imported]:
    """Imports files one after the other. Raises `DatabaseDown`."""
    for path in paths:
        try:
            created = await _import(context, await asyncio.to_thread(_read, path))
        except Refused as refused:
            yield Imported(path, False, refused.detail)
        except OSError as error:
            yield Imported(path, False, f"cannot be read: {error.strerror}")
        else:
            yield Imported(path, created, "")


def _read(path: Path) -> items.Item:
    with path.open("rb") as file:
        data = file.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise Unreadable(f"it is longer than {_LONGEST} bytes")
    reader = HeaderReader()
    reader.feed(data)
    return items.read_item(orjson.loads(reader.finish_json()))


async def _import(context: Context, item: items.Item) -> bool:
    study, step = items.text_of(item, items.STUDY_UID), items.text_of(items.step_of(item), items.STEP_ID)
    known = await catalog.of_step(context.catalog, study, step)
    key = known[0]["key"] if known else uuid.uuid4().hex
    return await catalog.put(context.catalog, row_of(item, key, "file"))
