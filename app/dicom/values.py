"""Search keys of single values: dates, times and integers in the form that the catalog's columns hold."""

from __future__ import annotations

import re
from datetime import date

_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")


def date_key(text: str) -> str:
    """`YYYYMMDD` of a DA value (PS3.5 6.2, with the separators of ACR-NEMA tolerated); "" when it is no date."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return ""
    year, month, day = (int(part) for part in match.groups())
    try:
        date(year, month, day)
    except ValueError:
        return ""
    return f"{year:04d}{month:02d}{day:02d}"


def time_key(text: str) -> str:
    """`HHMMSS.FFFFFF` of a TM value (PS3.5 6.2); absent parts are zero; "" when it is no time."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return ""
    hour, minute, second, fraction = match.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return ""
    return f"{hour}{minute or '00'}{second or '00'}.{(fraction or '').ljust(6, '0')}"


def integer_key(text: str) -> int | None:
    """The number of an IS value, None when it is none or does not fit 64 bits."""
    first = text.split("\\", 1)[0].strip()
    return int(first) if _INTEGER.fullmatch(first) else None


def text_key(text: str) -> str:
    """`text` as the catalog can hold it: without NULs and lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
