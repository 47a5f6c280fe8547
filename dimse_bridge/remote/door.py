"""The resources of the bridge's other direction: `/peers/{AET}/echo`, `/studies…` and `/retrieve`, for who has the
token that the bridge and its archive share. The archive decides who may use them."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol

import orjson

from app.dicom.attributes import Level
from app.dicom.peer import ae_title
from app.dicom.status import STATUSES, Outcome, outcome_of
from app.errors import BadRequest, FileroomError, NotAuthenticated, NotCallable, NotFound
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.remote.called import Called, told
from dimse_bridge.remote.http import Reply, Request, Server
from dimse_bridge.remote.retrieve import read_wish, retrieve
from dimse_bridge.remote.search import read_search, search
from dimse_bridge.user.echo import echo

log = logging.getLogger("fileroom.bridge.remote")

Handler = Callable[[Request, Called], Awaitable[Reply]]
PROBLEM = "application/problem+json"


class House(Protocol):
    """What the door needs of the bridge."""

    @property
    def archive(self) -> Archive:
        """Where what is retrieved by C-GET goes."""

    async def called(self, aet: str, *, patience: bool) -> Called | None:
        """The peer of this AE title as it is registered now, waited for so long as the settings say where `patience`
        is False; None when there is none. Its host is empty when it cannot be called."""


class Door(Server):
    """Answers whoever has the token."""

    def __init__(self, house: House, token: str) -> None:
        super().__init__(self._admit, refusal)
        self._house = house
        self._expected = f"Bearer {token}".encode("latin-1")

    async def _admit(self, request: Request) -> Reply:
        started = time.monotonic()
        try:
            given = request.headers.get("authorization", "").encode("latin-1", "replace")
            if not secrets.compare_digest(given, self._expected):
                raise NotAuthenticated("the token is not that of this bridge")
            reply = await self._ask(request)
        except FileroomError as error:
            log.warning("remote peer: %s", error.detail)
            return refusal(error)
        fields = {"method": request.method, "status": reply.status, "seconds": round(time.monotonic() - started, 4)}
        log.info("remote peer asked", extra={"fields": fields})
        return reply

    async def _ask(self, request: Request) -> Reply:
        found = self._route(request)
        if found is None:
            raise NotFound("no such resource")
        aet, is_retrieve, handler = found
        try:
            peer = await self._house.called(ae_title(aet), patience=is_retrieve)
        except BadRequest as error:
            raise NotFound("no such peer") from error
        if peer is None:
            raise NotFound("no such peer")
        if not peer.host:
            raise NotCallable("the peer is registered without an address")
        return await handler(request, peer)

    def _route(self, request: Request) -> tuple[str, bool, Handler] | None:
        """AE title, whether instances are to come, and who answers."""
        match request.method, request.path:
            case "POST", ("peers", aet, "echo"):
                return aet, False, _echo
            case "POST", ("peers", aet, "retrieve"):
                return aet, True, self._retrieve
            case "GET", ("peers", aet, "studies"):
                return aet, False, _searcher("STUDY")
            case "GET", ("peers", aet, "studies", study, "series"):
                return aet, False, _searcher("SERIES", study)
            case "GET", ("peers", aet, "studies", study, "series", series, "instances"):
                return aet, False, _searcher("IMAGE", study, series)
        return None

    async def _retrieve(self, request: Request, peer: Called) -> Reply:
        return await retrieve(peer, read_wish(request.body), self._house.archive, described)


async def _echo(request: Request, peer: Called) -> Reply:
    started = time.monotonic()
    with told():
        await echo(peer)
    body = {"aet": peer.ae_title, "seconds": round(time.monotonic() - started, 4)}
    return Reply(HTTPStatus.OK, "application/json", orjson.dumps(body))


def _searcher(level: Level, study: str = "", series: str = "") -> Handler:
    async def answer(request: Request, peer: Called) -> Reply:
        known = peer.peer.character_set
        asked = read_search(level, request.query, study=study, series=series, character_set=known)
        return await search(peer, asked)

    return answer


def described(error: Exception) -> Mapping[str, object]:
    """The problem document of an error (RFC 9457)."""
    status = STATUSES[outcome_of(error)]
    body: dict[str, object] = {"type": "about:blank", "title": status.title, "status": status.http}
    if isinstance(error, FileroomError):
        body["detail"] = error.detail
        body.update(error.extra)
    return body


def refusal(error: Exception) -> Reply:
    """The answer to a request that failed."""
    status = STATUSES[outcome_of(error)]
    headers = (("www-authenticate", "Bearer"),) if outcome_of(error) is Outcome.NOT_AUTHENTICATED else ()
    return Reply(status.http, PROBLEM, orjson.dumps(described(error)), headers)
