"""The change feed as its readers see it."""

from __future__ import annotations

from typing import Any

from app.archive.context import Context
from app.catalog import changes
from app.catalog.changes import Change
from app.errors import BadRequest


async def page(context: Context, after: int, most: int) -> list[Change]:
    """Events behind the cursor `after`. Raises `BadRequest` for a cursor that this archive never gave: its catalog was
    made anew, and the reader must begin again."""
    found = await changes.page(context.catalog, after, most)
    if not found and after > await changes.horizon(context.catalog):
        raise BadRequest("the cursor is beyond the end of the feed: begin again with after=0")
    return found


async def newest(context: Context) -> int:
    """The cursor behind everything that is in the feed now."""
    return await changes.horizon(context.catalog)


def described(change: Change) -> dict[str, Any]:
    """An event as it is told: UIDs, and nothing else of patients."""
    told = {"id": change.id, "at": change.at.isoformat(), "kind": change.kind, "study": change.study}
    told |= {name: uid for name, uid in (("series", change.series), ("instance", change.sop)) if uid}
    return told | change.detail
