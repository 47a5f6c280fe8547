"""What an HTTP status of the archive means to the bridge (PS3.18 8.5): an exception of `app.errors`, with the detail of
its problem document (RFC 9457). `app.dicom.status` makes a DIMSE status of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import orjson

from app.errors import (
    ArchiveUnreachable,
    BadRequest,
    FileroomError,
    Forbidden,
    LimitExceeded,
    NotAcceptable,
    NotAuthenticated,
    NotFound,
    Overloaded,
    RangeNotSatisfiable,
    StorageFull,
    Unreadable,
    UnsupportedMediaType,
)

LONGEST_PROBLEM = 64 * 1024
"""Bytes of an error's document that are read."""
_ERRORS: Mapping[int, type[FileroomError]] = MappingProxyType(
    {
        400: BadRequest,
        401: NotAuthenticated,
        403: Forbidden,
        404: NotFound,
        406: NotAcceptable,
        409: Unreadable,
        410: NotFound,
        415: UnsupportedMediaType,
        416: RangeNotSatisfiable,
        429: Overloaded,
        503: Overloaded,
        507: StorageFull,
    }
)


_PASSED_ON = ("reason", "attributes")
"""Members of a Fileroom's problem document that become those of `extra`."""


class ArchiveFailed(FileroomError):
    """The archive met a fault of its own (500), or refuses in a way that PS3.18 does not know."""


def error_of(status: int, headers: Mapping[bytes, bytes], body: bytes) -> FileroomError:
    """The exception for an answer that is no success. Statuses of gateways and redirections say that there is no
    archive at this address now."""
    problem = _problem(headers, body)
    detail, limit = _text(problem, "detail"), _text(problem, "limit")
    extra: dict[str, object] = {name: problem[name] for name in _PASSED_ON if name in problem}
    if b"retry-after" in headers:
        extra["retry_after"] = _seconds(headers)
    if status == 413:
        return LimitExceeded(limit or "request", detail or "over a limit of the archive")
    if status in (502, 504) or 300 <= status < 400 or status < 200:
        return ArchiveUnreachable(detail or f"the archive answered {status}", extra=extra)
    return _ERRORS.get(status, ArchiveFailed)(detail or f"the archive answered {status}", extra=extra)


def _problem(headers: Mapping[bytes, bytes], body: bytes) -> dict[str, object]:
    """A problem document; empty when there is none. Only such a document is safe to pass on: what other servers write
    may quote the data."""
    if not headers.get(b"content-type", b"").startswith(b"application/problem+json"):
        return {}
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _text(problem: dict[str, object], name: str) -> str:
    value = problem.get(name)
    return value if isinstance(value, str) else ""


def _seconds(headers: Mapping[bytes, bytes]) -> int:
    """Retry-After in seconds (RFC 9110 10.2.3); 0 for a date."""
    value = headers[b"retry-after"].strip()
    return int(value) if value.isdigit() and len(value) < 7 else 0
