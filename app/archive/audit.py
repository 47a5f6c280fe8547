"""The named place where accesses and changes are told: audit (PS3.15 A.5) will be written here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to which study, series or instance. `action` is a word of PS3.15 A.5: `delete`, `undo-delete`, …"""

    action: str
    principal: str
    study: str = ""
    series: str = ""
    sop: str = ""


AuditHook = Callable[[AuditEvent], Awaitable[None]]


async def unrecorded(event: AuditEvent) -> None:
    """The hook of an archive without an audit trail."""
