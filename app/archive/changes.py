"""The change feed as its readers see it."""

from __future__ import annotations

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
