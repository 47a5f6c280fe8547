"""Work that at most one process of all nodes does at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.catalog.engine import Catalog

SWEEPER = 0x46495357
PROCEDURES = 0x46495052

_TRY = "SELECT pg_try_advisory_lock($1)"
_FREE = "SELECT pg_advisory_unlock($1)"


@asynccontextmanager
async def only_one(catalog: Catalog, number: int) -> AsyncIterator[bool]:
    """Whether this process may do the work `number` now; the right ends with the block, or with the process."""
    async with catalog.connection() as connection:
        mine = await connection.fetchval(_TRY, number)
        try:
            yield bool(mine)
        finally:
            if mine:
                await connection.execute(_FREE, number)
