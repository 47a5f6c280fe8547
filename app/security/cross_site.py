"""Requests that a page of another site makes in a reader's name (CSRF). Browsers add Basic credentials by themselves,
and without authentication whoever runs a browser here has every right: a foreign page must change nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from app.errors import Forbidden

_OURS = (b"same-origin", b"none")
"""Sec-Fetch-Site (W3C Fetch Metadata 2.3) of our own pages, and of what people type."""


def refuse_cross_site(headers: Iterable[tuple[bytes, bytes]], origins: Collection[str]) -> None:
    """Raises `Forbidden` when a browser says that a page of another origin than ours and `origins` asks. Only browsers
    send Sec-Fetch-Site and Origin; a Bearer token is never added by itself."""
    found = dict(headers)
    site, origin = found.get(b"sec-fetch-site"), found.get(b"origin")
    if site in _OURS or (site is None and origin is None):
        return
    if site is None and origin is not None and origin.partition(b"://")[2] == found.get(b"host"):
        return
    if found.get(b"authorization", b"").lower().startswith(b"bearer "):
        return
    if "*" in origins or (origin is not None and origin.decode("latin-1") in origins):
        return
    raise Forbidden("a page of another site may not change anything here; `cors_origins` names those that may")
