"""Named steps at which a test makes the process die, fail or wait. Without FILEROOM_FAILPOINTS one costs a comparison.

FILEROOM_FAILPOINTS is a comma-separated list of `<name>=<action>[@n]`: action `kill` (SIGKILL to this process), `raise`
(BlobStoreFailed) or `sleep:<milliseconds>`, at the n-th hit of this process, at every hit without `@n`. Or it is
`@<file>`: the list then stands in the file, which may come at any time; who acts first removes it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from app.errors import BlobStoreFailed


class Failpoint(Enum):
    """Every step that has a name, in the order of the deeds."""

    STORE_CREATED = "store.created"
    STORE_WRITTEN = "store.written"
    STORE_SYNCED = "store.synced"
    STORE_COMMITTING = "store.committing"
    STORE_COMMITTED = "store.committed"
    STORE_ANSWERED = "store.answered"
    DELETE_HIDDEN = "delete.hidden"
    DELETE_PURGING = "delete.purging"
    SWEEP_REMOVING = "sweep.removing"


@dataclass(slots=True)
class Plan:
    """What happens at one step. `nth` is 0 for every hit."""

    action: str
    milliseconds: float = 0.0
    nth: int = 0
    hits: int = 0

    def is_due(self) -> bool:
        """Counts a hit; whether it is one to act at."""
        self.hits += 1
        return not self.nth or self.hits == self.nth

    def act(self, point: Failpoint) -> None:
        """Dies, fails or waits."""
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "raise":
            raise BlobStoreFailed(f"failpoint {point.value}")
        time.sleep(self.milliseconds / 1000)


def parse(text: str) -> dict[Failpoint, Plan]:
    """The plans of a list; raises ValueError when a name or an action is unknown."""
    plans = {}
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, what = item.partition("=")
        what, _, nth = what.partition("@")
        action, _, milliseconds = what.partition(":")
        if action not in ("kill", "raise", "sleep"):
            raise ValueError(f"unknown action of a failpoint: {item}")
        plans[Failpoint(name)] = Plan(action, float(milliseconds or 0), int(nth or 0))
    return plans


def _from_file(path: Path, point: Failpoint) -> Plan | None:
    """The plan of a file for `point`, if nobody took it before."""
    try:
        plan = parse(path.read_text()).get(point)
        if plan is not None:
            path.unlink()
    except FileNotFoundError:
        return None
    return plan


_text = os.environ.get("FILEROOM_FAILPOINTS", "")
_file = Path(_text[1:]) if _text.startswith("@") else None
_plans = {} if _file else parse(_text)


def hit(point: Failpoint) -> None:
    """Does what was planned for this step; nothing else ever."""
    if _plans or _file:
        plan = _from_file(_file, point) if _file else _plans.get(point)
        if plan is not None and plan.is_due():
            plan.act(point)
