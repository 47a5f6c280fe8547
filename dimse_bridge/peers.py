"""Who may associate: the archive's peers, asked for when an association comes and believed for a second; or those of a
TOML file. While the archive is away the last known table stands."""

from __future__ import annotations

import asyncio
import logging
import time
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from app.dicom.peer import Peer, unregistered
from app.errors import BadRequest, CannotStart, FileroomError, Unavailable
from dimse_bridge.settings import OurAE, Settings

log = logging.getLogger("fileroom.bridge.peers")

BELIEVED_SECONDS = 1.0
"""Longest time for which a change of the archive's peers goes unnoticed."""
Fetch = Callable[[str], Awaitable[tuple[str, Mapping[str, object]] | None]]
"""Asks the archive for `GET /peers` with the ETag that is known ("" for none): (ETag, decoded body), or None when it is
unchanged. Raises `Unavailable`, or whatever the archive refused with."""


@dataclass(frozen=True, slots=True)
class Table:
    """Peers by AE title, and whether those who are not among them may call."""

    peers: Mapping[str, Peer]
    admits_unknown: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """Who wants an association: AE titles without padding, a numeric address, and by TLS the SHA-256 (hex) of the
    certificate that was shown, if any."""

    calling: str
    called: str
    address: str
    tls: bool = False
    certificate: str = ""


class NotAdmitted(Exception):
    """An association is rejected: result, source and reason of A-ASSOCIATE-RJ (PS3.8 9.3.4), and why, for the log."""

    def __init__(self, result: int, source: int, reason: int, why: str) -> None:
        super().__init__(why)
        self.result = result
        self.source = source
        self.reason = reason
        self.why = why


_PERMANENT, _TRANSIENT = 1, 2
_USER, _PRESENTATION = 1, 3
_CALLING_NOT_RECOGNIZED, _CALLED_NOT_RECOGNIZED = 3, 7
_CONGESTION = 1
_EMPTY = Table(MappingProxyType({}), False)


class Registry:
    """The peers that one bridge process knows."""

    def __init__(self, settings: Settings, fetch: Fetch) -> None:
        self._settings = settings
        self._fetch = fetch
        self._table = _EMPTY
        self._etag = ""
        self._known_until = 0.0
        self._has_table = False
        self._fetching: asyncio.Task[None] | None = None
        self._admits_unknown = settings.unknown_peers == "admit" or (
            settings.unknown_peers == "auto" and settings.is_local
        )
        if settings.dimse_peers:
            self._table = Table(read_file(Path(settings.dimse_peers)), self._admits_unknown)
            self._has_table = True

    async def admit(self, caller: Caller, ours: Sequence[OurAE]) -> tuple[Peer, OurAE]:
        """The calling peer, and which AE title of ours it reached; raises `NotAdmitted`. `ours` answer on the port."""
        peer = (await self._current()).peers.get(caller.calling)
        if peer is None:
            peer = self._unknown(caller)
        ae = next((ae for ae in ours if ae.aet == caller.called), None)
        if ae is None and peer.behaviour.check_called_ae:
            raise _rejected(_CALLED_NOT_RECOGNIZED, "the called AE title is none of ours")
        ae = ae or ours[0]
        if not peer.may_call(ae.aet):
            raise _rejected(_CALLED_NOT_RECOGNIZED, "the peer may not call this AE title")
        _check_origin(peer, caller)
        return peer, ae

    async def destination(self, aet: str) -> Peer | None:
        """The peer of this AE title, if it is registered with an address where we can call it."""
        peer = (await self._current()).peers.get(aet)
        return peer if peer is not None and peer.host else None

    def _unknown(self, caller: Caller) -> Peer:
        if not self._has_table:
            raise NotAdmitted(_TRANSIENT, _PRESENTATION, _CONGESTION, "the archive's peers are not known yet")
        if not self._table.admits_unknown:
            raise _rejected(_CALLING_NOT_RECOGNIZED, "the calling AE title is not registered")
        try:
            return unregistered(caller.calling, self._settings.dimse_behaviour)
        except BadRequest as error:
            raise _rejected(_CALLING_NOT_RECOGNIZED, "the calling AE title is none") from error

    async def _current(self) -> Table:
        """The table as it was at most `BELIEVED_SECONDS` ago, or the last one when the archive does not say."""
        if self._settings.dimse_peers or time.monotonic() < self._known_until:
            return self._table
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._refresh())
            self._fetching.add_done_callback(self._fetched)
        await asyncio.shield(self._fetching)
        return self._table

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _refresh(self) -> None:
        try:
            answer = await self._fetch(self._etag)
            if answer is not None:
                self._etag, body = answer
                self._table = self._read(body)
            self._has_table = True
        except Unavailable as error:
            log.warning("the archive's peers cannot be read; the last known ones stand: %s", error.detail)
        except FileroomError as error:
            log.error("the archive does not tell its peers: %s", error.detail)
        self._known_until = time.monotonic() + BELIEVED_SECONDS

    def _read(self, body: Mapping[str, object]) -> Table:
        """What the archive answered; a peer that we cannot read, such as a newer archive's, is left out."""
        peers = body.get("peers")
        if not isinstance(peers, dict):
            raise BadRequest("its answer holds no peers")
        found = {}
        for aet, value in peers.items():
            try:
                found[str(aet)] = Peer.from_json(str(aet), value)
            except BadRequest as error:
                log.error("a peer cannot be read and is not admitted: %s", error.detail)
        return Table(MappingProxyType(found), self._admits_unknown and body.get("unknown") == "admit")


def read_file(path: Path) -> Mapping[str, Peer]:
    """The peers of a TOML file, which has a table for each: `["CT 1"]`, `host = …`. Raises `CannotStart`."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise CannotStart(f"FILEROOM_DIMSE_PEERS: {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CannotStart(f"FILEROOM_DIMSE_PEERS: {path} is no TOML: {error}.") from error
    peers = {}
    for aet, value in tables.items():
        try:
            peer = Peer.from_json(aet, value)
        except BadRequest as error:
            raise CannotStart(f"FILEROOM_DIMSE_PEERS: {path}: [{aet!r}]: {error.detail}.") from error
        peers[peer.ae_title] = peer
    return MappingProxyType(peers)


def _check_origin(peer: Peer, caller: Caller) -> None:
    """Raises `NotAdmitted` when somebody else seems to use the peer's AE title."""
    if not peer.may_call_from(caller.address):
        raise _rejected(_CALLING_NOT_RECOGNIZED, "the peer may not call from this address")
    if (peer.tls or peer.certificate) and not caller.tls:
        raise _rejected(_CALLING_NOT_RECOGNIZED, "the peer must call by TLS")
    if peer.certificate and peer.certificate != caller.certificate:
        raise _rejected(_CALLING_NOT_RECOGNIZED, "the certificate is not the peer's")


def _rejected(reason: int, why: str) -> NotAdmitted:
    return NotAdmitted(_PERMANENT, _USER, reason, why)
