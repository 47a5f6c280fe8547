"""What reindex asks of the catalog beside the store transaction: is it empty, and deletes done again from a journal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from app.catalog.engine import Catalog

_EMPTY = "SELECT NOT EXISTS (SELECT FROM instance)"
_CLEAR = "TRUNCATE study, series, instance, instance_data, conflict, deletion, orphan"
_DELETE = "SELECT replay_delete($1, $2, $3, $4)"
_UNDO = "SELECT replay_undo($1, $2)"


async def is_empty(catalog: Catalog) -> bool:
    """Whether the catalog knows no instance at all."""
    return bool(await catalog.fetchval(_EMPTY))


async def clear(catalog: Catalog) -> None:
    """Forgets everything that blobs and journals can tell again; tokens stay."""
    await catalog.execute(_CLEAR)


async def delete(catalog: Catalog, study: str, versions: Sequence[str], at: float, undo_hours: float) -> None:
    """Hides `versions` as they were hidden at `at` (seconds since the epoch)."""
    await catalog.execute(_DELETE, study, list(versions), datetime.fromtimestamp(at, UTC), undo_hours)


async def undo(catalog: Catalog, study: str, versions: Sequence[str]) -> None:
    """Shows `versions` again."""
    await catalog.execute(_UNDO, study, list(versions))
