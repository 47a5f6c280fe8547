"""Delete in two steps: hidden in a transaction at once, bytes removed by the sweeper when the grace period is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.blobs import journal
from app.catalog import deletions
from app.errors import NotFound
from app.failpoints import Failpoint, hit


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deletion that took effect: its id, by which it can be undone, and how many instances it hid."""

    id: int
    instances: int


async def delete(context: Context, principal: str, study: str, series: str = "", sop: str = "") -> Deleted:
    """Hides a study, series or instance; raises `NotFound` when nothing of it is visible."""
    await context.audit(AuditEvent("delete", principal, study, series, sop))
    hidden = await deletions.hide(context.catalog, (study, series, sop), principal, context.undo_hours)
    if hidden is None:
        raise NotFound("no such resource")
    hit(Failpoint.DELETE_HIDDEN)
    deletion, versions = hidden
    await record(context, "delete", versions)
    return Deleted(deletion, len(versions))


async def undo(context: Context, principal: str, deletion: int) -> int:
    """Shows again what a deletion hid, less what was stored anew since; how many instances. Raises `NotFound`."""
    shown = await deletions.undo(context.catalog, deletion)
    if not shown:
        raise NotFound("no deletion with this number can be undone")
    await context.audit(AuditEvent("undo-delete", principal, shown[0].study))
    await record(context, "undo", shown)
    return len(shown)


async def record(context: Context, op: journal.Operation, versions: Sequence[deletions.VersionName]) -> None:
    """Writes what was done to `versions` durably into the journals of their studies."""
    studies: dict[str, list[str]] = {}
    for name in versions:
        studies.setdefault(name.study, []).append(name.version)
    await context.blobs.sync([], [(study, journal.tombstone(op, names)) for study, names in studies.items()])


async def listed(context: Context, most: int) -> list[deletions.Deletion]:
    """The newest deletions."""
    return await deletions.listed(context.catalog, most)
