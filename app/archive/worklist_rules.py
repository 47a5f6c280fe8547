"""Table: what becomes of worklist items when somebody tells that their step was begun, done or called off: the state
they get, and the setting that says when they are hidden. Hidden items are removed after `keep_days`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Literal


class State(IntEnum):
    """What the catalog keeps of an item's progress."""

    SCHEDULED = 0
    IN_PROGRESS = 1
    COMPLETED = 2
    DISCONTINUED = 3
    CANCELLED = 4


class Event(Enum):
    """Who tells what; the first four are Performed Procedure Step Status (0040,0252) and its reason."""

    STARTED = "MPPS IN PROGRESS"
    COMPLETED = "MPPS COMPLETED"
    DISCONTINUED = "MPPS DISCONTINUED"
    WRONG_ENTRY = "MPPS DISCONTINUED, wrong worklist entry selected (DCM 110514)"
    IMAGES = "images of the step are stored"
    CANCELLED = "the order is cancelled or discontinued"


AT_ONCE = "at once"


@dataclass(frozen=True, slots=True)
class Rule:
    """`hidden` names the field of `WorklistRules` with the minutes, or is `AT_ONCE`; "" shows the item (again)."""

    state: State
    hidden: str


RULES: Mapping[Event, Rule] = MappingProxyType(
    {
        Event.STARTED: Rule(State.IN_PROGRESS, "started_minutes"),
        Event.COMPLETED: Rule(State.COMPLETED, "done_minutes"),
        Event.DISCONTINUED: Rule(State.DISCONTINUED, "done_minutes"),
        Event.WRONG_ENTRY: Rule(State.SCHEDULED, ""),
        Event.IMAGES: Rule(State.COMPLETED, "images_minutes"),
        Event.CANCELLED: Rule(State.CANCELLED, AT_ONCE),
    }
)


@dataclass(frozen=True, slots=True)
class WorklistRules:
    """The settings of the worklist. Minutes below 0 mean never."""

    started_minutes: float = -1.0
    done_minutes: float = 0.0
    images_minutes: float = 60.0
    keep_days: float = 30.0
    time_without_date: Literal["any", "today"] = "any"
    times_over_days: Literal["moments", "each-day", "ignored"] = "moments"

    def minutes(self, event: Event) -> float | None:
        """Minutes after which the event hides an item; None: it stays in sight."""
        name = RULES[event].hidden
        if name == AT_ONCE:
            return 0.0
        minutes: float = getattr(self, name) if name else -1.0
        return None if minutes < 0 else minutes
