"""Times and dates with times of queries: less than the whole value stands for the span that it leaves open.

`1030` is 10:30:00.000000 to 10:30:59.999999, `202402` the month (PS3.5 6.2, TM and DT; PS3.4 C.2.2.2.5)."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import datetime, timedelta

from app.dicom.values import time_key

_TIME = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?", re.ASCII)
_DATETIME = re.compile(r"(\d{4}(?:\d{2}){0,5})(?:\.(\d{1,6}))?([+-]\d{4})?", re.ASCII)
_RANGE = re.compile(r"(\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?)?-(\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?)?", re.ASCII)
_LATEST = "235959.999999"
_FARTHEST_WEST = 12 * 60
"""Minutes; the offset of -1200 is the last one that a hyphen can begin."""


def time_span(text: str) -> tuple[str, str] | None:
    """First and last time, `HHMMSS.FFFFFF`, that `text` stands for; None when it is no time."""
    low = time_key(text) if _TIME.fullmatch(text) else ""
    if not low:
        return None
    given = text.replace(":", "")
    return low, given + _LATEST[len(given) :]


def _span(text: str) -> tuple[str, str] | None:
    match = _DATETIME.fullmatch(text)
    if match is None or (match[2] and len(match[1]) != 14):
        return None
    given = match[1]
    low = given + "00000101000000"[len(given) :]
    try:
        month = (given + "12")[4:6]
        high = given + f"0000{month}{monthrange(int(given[:4]), int(month))[1]}235959"[len(given) :]
        fraction = match[2] or ""
        ends = [_moment(low, fraction.ljust(6, "0")), _moment(high, fraction.ljust(6, "9"))]
        if match[3]:
            minutes = int(match[3][1:3]) * 60 + int(match[3][3:])
            offset = timedelta(minutes=minutes if match[3][0] == "+" else -minutes)
            ends = [end - offset for end in ends]
    except (ValueError, OverflowError):
        return None
    first, last = (end.strftime("%Y%m%d%H%M%S.%f").rjust(21, "0") for end in ends)
    return first, last


def _moment(digits: str, fraction: str) -> datetime:
    return datetime(
        int(digits[:4]),
        int(digits[4:6]),
        int(digits[6:8]),
        int(digits[8:10]),
        int(digits[10:12]),
        min(int(digits[12:14]), 59),
        int(fraction),
    )


def datetime_key(text: str) -> str:
    """`YYYYMMDDHHMMSS.FFFFFF` in UTC of a DT value, taken for UTC when it names no offset; "" when it is none."""
    span = _span(text.strip())
    return span[0] if span else ""


def read_datetime_range(text: str) -> tuple[str, str] | None:
    """First and last moment of a DT key, "" for an open end. A hyphen before four digits that can be an offset from UTC
    (up to -1200) is that offset's sign; any other is a range's."""
    whole = _DATETIME.fullmatch(text)
    if whole is not None and not _is_range(whole[3]):
        return _span(text)
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or not (match[1] or match[2]):
        return None
    first = _span(match[1]) if match[1] else ("", "")
    last = _span(match[2]) if match[2] else ("", "")
    return (first[0], last[1]) if first and last else None


def _is_range(offset: str | None) -> bool:
    if not offset:
        return False
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return offset[0] == "-" and (int(offset[3:]) > 59 or minutes > _FARTHEST_WEST)
