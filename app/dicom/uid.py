"""The only UID validator (PS3.5 9.1): what passes here may become part of a blob key or a path."""

from __future__ import annotations

import re
from functools import lru_cache

from app.errors import Unreadable

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
MAX_LENGTH = 64


@lru_cache(4096)
def is_uid(text: str) -> bool:
    """Whether `text` is digits and dots, at most 64 characters; leading zeros are tolerated."""
    return len(text) <= MAX_LENGTH and _UID.fullmatch(text) is not None


def strip_padding(text: str) -> str:
    """`text` without the padding that senders put around UIDs: NULs (PS3.5 9.1) and spaces."""
    return text.strip(" \0")


def require_uid(text: str, what: str) -> str:
    """`text` without padding; raises `Unreadable` that names `what` when it is no UID."""
    uid = strip_padding(text)
    if not uid:
        raise Unreadable(f"{what} is missing or empty")
    if not is_uid(uid):
        raise Unreadable(f"{what} is not a UID of digits and dots with at most {MAX_LENGTH} characters")
    return uid
