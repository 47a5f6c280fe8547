"""The peer on whose behalf a bridge asks. The bridge authenticates as itself and tells in headers who called it; the
archive looks the peer up itself, so that a bridge can narrow what is allowed and never widen it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

import orjson

from app.catalog import peers
from app.catalog.engine import Catalog
from app.dicom.peer import Peer, unregistered
from app.errors import BadRequest, Forbidden

CACHE_SECONDS = 1.0
"""Longest time for which a change of the peers goes unnoticed."""
_PREFIX = b"fileroom-"
_CALLING, _CALLED, _ASSOCIATION = b"fileroom-calling-ae", b"fileroom-called-ae", b"fileroom-association"
_NAMES = frozenset({_CALLING, _CALLED, _ASSOCIATION})
_IDENTITY = re.compile(rb"[0-9A-Za-z._-]{1,64}")
_MOST_KNOWN = 4096


class Assertion:
    """What a bridge says of a request: who called which AE title of it, in which association."""

    __slots__ = ("association", "called", "calling")

    def __init__(self, calling: bytes, called: bytes, association: str) -> None:
        self.calling = calling
        self.called = called
        self.association = association


def assertion_of(headers: Iterable[tuple[bytes, bytes]]) -> Assertion | None:
    """The assertion in the headers Fileroom-Calling-AE, Fileroom-Called-AE and Fileroom-Association; None without any
    of them. Raises `BadRequest` when one is missing, twice there or malformed."""
    found: dict[bytes, bytes] | None = None
    for name, value in headers:
        if name.startswith(_PREFIX) and name in _NAMES:
            if found is None:
                found = {}
            if name in found:
                raise BadRequest("a header of an asserted peer stands twice")
            found[name] = value
    if found is None:
        return None
    if len(found) < len(_NAMES):
        raise BadRequest("an asserted peer needs Fileroom-Calling-AE, Fileroom-Called-AE and Fileroom-Association")
    association = found[_ASSOCIATION]
    if _IDENTITY.fullmatch(association) is None:
        raise BadRequest("Fileroom-Association has 1 to 64 letters, digits and the characters . _ -")
    return Assertion(found[_CALLING], found[_CALLED], association.decode())


class AssertedPeers:
    """The registered peers as one worker knows them. `admits_unknown`: who is not registered may ask for all that a
    bridge may."""

    def __init__(self, catalog: Catalog, *, admits_unknown: bool) -> None:
        self._catalog = catalog
        self._admits_unknown = admits_unknown
        self._lock = asyncio.Lock()
        self._parsed: dict[tuple[str, str], Peer] = {}
        self._table: dict[str, Peer] = {}
        self._known: dict[tuple[bytes, bytes], Peer] = {}
        self._until = 0.0

    async def find(self, assertion: Assertion) -> Peer:
        """The peer that an assertion names; raises `Forbidden` when it may not call, `BadRequest` or
        `DatabaseDown`."""
        if time.monotonic() >= self._until:
            await self._refresh()
        key = (assertion.calling, assertion.called)
        peer = self._known.get(key)
        if peer is None:
            peer = self._judge(*map(_ae_title, key))
            if len(self._known) < _MOST_KNOWN:
                self._known[key] = peer
        return peer

    def _judge(self, calling: str, called: str) -> Peer:
        peer = self._table.get(calling)
        if peer is None:
            if not self._admits_unknown:
                raise Forbidden("the calling AE title is not registered")
            return unregistered(calling)
        if not peer.may_call(called):
            raise Forbidden("the calling AE title may not call this AE title")
        return peer

    async def _refresh(self) -> None:
        async with self._lock:
            if time.monotonic() < self._until:
                return
            rows = await peers.everyone(self._catalog)
            self._parsed = {row: self._parsed.get(row) or _read(*row) for row in rows}
            self._table = {peer.ae_title: peer for peer in self._parsed.values()}
            self._known = {}
            self._until = time.monotonic() + CACHE_SECONDS


def _read(aet: str, text: str) -> Peer:
    """A peer that we cannot read, such as a newer Fileroom's, may nothing."""
    try:
        return Peer.from_json(aet, orjson.loads(text))
    except BadRequest:
        return Peer(aet, may=())


def _ae_title(value: bytes) -> str:
    title = unquote_to_bytes(value).decode("latin-1")
    return unregistered(title).ae_title
