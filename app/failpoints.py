"""Named steps at which a test makes the process die, fail or wait. Without FILEROOM_FAILPOINTS one costs a comparison.

FILEROOM_FAILPOINTS is a comma-separated list of `<name>=<action>[@n]`: action `kill` (SIGKILL to this process), `raise`
(BlobStoreFailed) or `sleep:<milliseconds>`; it happens at the n-th hit of this process, at every hit without `@n`."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from enum import Enum

from app.errors import BlobStoreFailed


class Failpoint(Enum):
    """Every step that has a name, in the order of the deeds."""

    STORE_CREATED = "store.created"
    STORE_WRITTEN = "store.written"
    STORE_SYNCED = "store.synced"
    STORE_COMMITTING = "store.committing"
    STORE_COMMITTED = "store.committed"
    STORE_ANSWERED = "store.answered"
    DELETE_JOURNALLED = "delete.journalled"
    DELETE_HIDDEN = "delete.hidden"
    DELETE_PURGING = "delete.purging"
    DELETE_PURGED = "delete.purged"
    SWEEP_SEEN = "sweep.seen"
    SWEEP_REMOVING = "sweep.removing"
    SWEEP_REMOVED = "sweep.removed"


@dataclass(slots=True)
class _Plan:
    action: str
    milliseconds: float
    nth: int | None
    hits: int = 0


def parse(text: str) -> dict[Failpoint, _Plan]:
    """The plan of FILEROOM_FAILPOINTS; raises ValueError when a name or an action is unknown."""
    plans = {}
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, what = item.partition("=")
        what, _, nth = what.partition("@")
        action, _, milliseconds = what.partition(":")
        if action not in ("kill", "raise", "sleep"):
            raise ValueError(f"unknown action of a failpoint: {item}")
        plans[Failpoint(name)] = _Plan(action, float(milliseconds or 0), int(nth) if nth else None)
    return plans


_plans = parse(os.environ.get("FILEROOM_FAILPOINTS", ""))


def hit(point: Failpoint) -> None:
    """Does what the environment planned for this step; nothing else ever."""
    if _plans:
        _act(point)


def _act(point: Failpoint) -> None:
    plan = _plans.get(point)
    if plan is None:
        return
    plan.hits += 1
    if plan.nth is not None and plan.hits != plan.nth:
        return
    if plan.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif plan.action == "raise":
        raise BlobStoreFailed(f"failpoint {point.value}")
    else:
        time.sleep(plan.milliseconds / 1000)
