"""Keyset cursors: where a page ended, as an opaque text. What comes back is checked: it becomes bound parameters."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from app.errors import BadRequest

_LAST = 2**63 - 1


def write_cursor(values: Sequence[object]) -> str:
    """The cursor that holds these key values."""
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def read_cursor(cursor: str, kinds: Sequence[type]) -> list[Any]:
    """The key values of a cursor; raises `BadRequest` when they are not of these kinds."""
    try:
        values = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise BadRequest("cursor is not one that this server gave") from None
    if not isinstance(values, list) or len(values) != len(kinds):
        raise BadRequest("cursor belongs to another search")
    if not all(type(value) is kind and _fits(value) for value, kind in zip(values, kinds, strict=True)):
        raise BadRequest("cursor is not one that this server gave")
    return values


def _fits(value: object) -> bool:
    return abs(value) <= _LAST if isinstance(value, int) else "\0" not in str(value)
