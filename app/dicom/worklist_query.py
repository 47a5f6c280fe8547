"""What a search for worklist items asks beyond its keys: how its dates and times go together (PS3.4 Table K.6-1), and
where products differ from the standard (Medasys DxServer 7: a range of times without a date is about today; it is
ignored when the dates cover more than one day)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from app.dicom.matching import Criterion, Range, Value
from app.dicom.worklist_keys import STEP_SEQUENCE

START_DATE, START_TIME = (STEP_SEQUENCE, 0x00400002), (STEP_SEQUENCE, 0x00400003)
TimeWithoutDate = Literal["any", "today"]
TimesOverDays = Literal["moments", "each-day", "ignored"]
_FIRST, _LAST = "000000.000000", "235959.999999"
"""What a range of times that lacks an end begins and ends with."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """How start dates and times are read. `time_without_date`: a range of times alone is about any day, or today.
    `times_over_days`: with a range of several days, the range of times is one from moment to moment, one for each day,
    or ignored."""

    time_without_date: TimeWithoutDate = "any"
    times_over_days: TimesOverDays = "moments"


def constrain(criteria: Iterable[Criterion], constraints: Constraints, today: str, *, timed: bool) -> list[Criterion]:
    """The criteria with those about the step's start as `constraints` read them; `timed` says that a range of times was
    asked for, since a single time is a short range, too. `today` is YYYYMMDD."""
    found = list(criteria)
    times = next((one for one in found if one.path == START_TIME and isinstance(one.match, Range)), None)
    days = next((one for one in found if one.path == START_DATE), None)
    if times is None or not timed:
        return found
    if days is None:
        if constraints.time_without_date == "today":
            found.append(Criterion(START_DATE, "date", Value(today)))
        return found
    if not _covers_days(days) or constraints.times_over_days == "each-day":
        return found
    found.remove(times)
    if constraints.times_over_days == "moments":
        found.remove(days)
        found.append(_moments(days, times))
    return found


def _covers_days(days: Criterion) -> bool:
    return isinstance(days.match, Range) and days.match.low != days.match.high


def _moments(days: Criterion, times: Criterion) -> Criterion:
    """One range from the first day's time to the last day's (PS3.4 Table K.6-1)."""
    assert isinstance(days.match, Range)
    assert isinstance(times.match, Range)
    low = days.match.low and days.match.low + (times.match.low or _FIRST)
    high = days.match.high and days.match.high + (times.match.high or _LAST)
    return Criterion(START_DATE, "date", Range(low, high), START_TIME[1])
