"""Who may associate: the archive's peers, asked for when an association comes and believed for a second; or those of a
TOML file. While the archive is away the last known table stands."""

from __future__ import annotations

import asyncio
import logging
import time
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from app.dicom.peer import Peer, unregistered
from app.errors import ArchiveUnreachable, BadRequest, CannotStart, FileroomError, Unavailable
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.settings import Settings

log = logging.getLogger("fileroom.bridge.peers")

BELIEVED_SECONDS = 1.0
"""Longest time for which a change of the archive's peers goes unnoticed."""
_PATIENCE_SECONDS = 3.0
_AGAIN_SECONDS = 0.1
Fetch = Callable[[str], Awaitable[tuple[str, Any] | None]]
"""Asks the archive for its peers with the ETag that is known ("" for none): (ETag, document), or None when that is
unchanged. Raises `Unavailable`, or whatever the archive refused with."""


@dataclass(frozen=True, slots=True)
class Table:
    """Peers by AE title, and whether those who are not among them may call."""

    peers: Mapping[str, Peer]
    admits_unknown: bool


def ask(beside: Archive) -> Fetch:
    """How the archive is asked: `/peers` stands beside its DICOMweb root."""

    def fetch(etag: str) -> Awaitable[tuple[str, Any] | None]:
        return beside.get_changed("/peers", etag)

    return fetch


class Registry:
    """The peers that one bridge process knows."""

    def __init__(self, settings: Settings, fetch: Fetch) -> None:
        self._fetch = fetch
        self._answered = False
        self._archive_url = settings.archive_url
        self._preset = settings.dimse_behaviour
        self._lets_unknown = settings.unknown_peers == "admit" or (
            settings.unknown_peers == "auto" and settings.is_local
        )
        self._is_file = bool(settings.dimse_peers)
        self._table: Table | None = None
        if self._is_file:
            self._table = Table(read_file(Path(settings.dimse_peers)), self._lets_unknown)
        self._etag = ""
        self._known_until = 0.0
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, calling: str) -> Peer | None:
        """The peer of a calling AE title; None when it may not call. Raises `ArchiveUnreachable` as long as the archive
        never said who its peers are."""
        table = await self._current()
        peer = table.peers.get(calling)
        if peer is None and table.admits_unknown:
            try:
                return unregistered(calling, self._preset)
            except BadRequest:
                return None
        return peer

    def is_registered(self, aet: str) -> bool:
        """Whether the AE title is one of the known peers."""
        return self._table is not None and aet in self._table.peers

    async def reaches_archive(self) -> bool:
        """Whether the archive answers now."""
        if self._is_file:
            return await _takes_connections(self._archive_url)
        await self._refresh()
        return self._answered

    async def destination(self, aet: str) -> Peer | None:
        """The peer of this AE title, if it is registered with an address where we can call it."""
        peer = (await self._current()).peers.get(aet)
        return peer if peer is not None and peer.host else None

    async def called(self, aet: str) -> Peer | None:
        """The registered peer of this AE title as the archive knows it now: somebody may have registered it just
        before asking for it."""
        self._known_until = 0.0
        return (await self._current()).peers.get(aet)

    async def _current(self) -> Table:
        """The table as it was at most `BELIEVED_SECONDS` ago, or the last one when the archive does not say."""
        if not self._is_file and time.monotonic() >= self._known_until:
            if self._fetching is None:
                self._fetching = asyncio.ensure_future(self._refresh())
                self._fetching.add_done_callback(self._fetched)
            await asyncio.shield(self._fetching)
        if self._table is None:
            raise ArchiveUnreachable("the archive's peers are not known yet")
        return self._table

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = await self._fetch(self._etag)
            self._answered = True
            if answer is not None:
                self._table = self._read(answer[1])
                self._etag = answer[0]
        except (Unavailable, TimeoutError):
            self._answered = False
            log.warning("the archive does not answer; its last known peers stand")
        except FileroomError as error:
            self._answered = False
            log.error("the archive does not tell its peers: %s", error.detail)
        believed = BELIEVED_SECONDS if self._table is not None else _AGAIN_SECONDS
        self._known_until = time.monotonic() + believed

    def _read(self, document: Any) -> Table:
        """What the archive answered; a peer that we cannot read, such as a newer archive's, is left out."""
        peers = document.get("peers") if isinstance(document, dict) else None
        if not isinstance(peers, dict):
            raise BadRequest("its answer holds no peers")
        found = {}
        for aet, value in peers.items():
            try:
                found[aet] = Peer.from_json(aet, value)
            except BadRequest as error:
                log.error("a peer cannot be read and is not admitted: %s", error.detail)
        return Table(MappingProxyType(found), self._lets_unknown and document.get("unknown") == "admit")


async def _takes_connections(url: str) -> bool:
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            _, writer = await asyncio.open_connection(address.hostname, port)
    except OSError:
        return False
    writer.close()
    return True


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
