"""The guard in front of every route: who is it, may they, and how long may the body be. Pure ASGI, so that it costs
microseconds; it runs before anything looks a resource up, so its refusals tell nothing about what exists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BadRequest, FileroomError, Forbidden, LimitExceeded, UnsupportedMediaType
from app.security.asserted import AssertedPeers, Assertion, assertion_of
from app.security.cross_site import refuse_cross_site
from app.security.identity import Principal
from app.security.policy import BRIDGE, PUBLIC, Rule, peer_may, rule_for

SMALL_BODY = 1 << 20
"""Bytes of a request's body anywhere but at Store."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class Identify(Protocol):
    """Finds the principal of a request."""

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Who sends these headers; raises `NotAuthenticated`."""


class Guard:
    """Lets a request through with `scope["principal"]`, and for an asserted peer with `scope["peer"]` and
    `scope["association"]`; or answers with what `answer` makes of the error.

    `store_body` is the longest body at Store, in bytes; `origins` are those of pages that may change things here."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        identity: Identify,
        peers: AssertedPeers,
        answer: Callable[[FileroomError], ASGIApp],
        store_body: int,
        origins: Collection[str] = (),
    ) -> None:
        self._app = app
        self._identity = identity
        self._peers = peers
        self._answer = answer
        self._store_body = store_body
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        method: str = scope["method"]
        try:
            rule = rule_for(method, scope["path"])
            scope["principal"] = await self._admit(rule, scope)
            if method not in _SAFE:
                refuse_cross_site(scope["headers"], self._origins)
            if method not in _WITHOUT_BODY:
                receive = _limited(scope, receive, self._store_body if rule and rule.stores else SMALL_BODY)
        except FileroomError as error:
            await self._answer(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, rule: Rule | None, scope: Scope) -> str:
        """The principal's name. A request that no rule names goes on for the router to answer 404 or 405: no route
        is behind it, or the archive would not have started."""
        if rule is not None and rule.scope == PUBLIC:
            return "anonymous"
        headers = scope["headers"]
        principal = await self._identity.identify(headers)
        assertion = assertion_of(headers)
        if assertion is not None:
            await self._narrow(principal, assertion, rule, scope)
        elif rule is not None and not rule.opens_for(principal.scopes):
            raise Forbidden(f"the token lacks the scope `{rule.scope}`")
        return principal.name

    async def _narrow(self, principal: Principal, assertion: Assertion, rule: Rule | None, scope: Scope) -> None:
        """Lets a bridge do what the peer that called it may, and nothing else."""
        if BRIDGE not in principal.scopes:
            raise Forbidden(f"the token lacks the scope `{BRIDGE}`, which asserting a calling AE title needs")
        peer = await self._peers.find(assertion)
        if rule is not None and not peer_may(peer.may, scope["method"], scope["path"]):
            raise Forbidden("the peer may not do this")
        scope["peer"] = peer
        scope["association"] = assertion.association


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    """`receive`, refusing a body over `limit`: by its Content-Length at once, else as soon as it is over."""
    chunked = True
    for name, value in scope["headers"]:
        if name == b"content-length":
            chunked = False
            if not value.isdigit():
                raise BadRequest("Content-Length is no number")
            if len(value) > 18 or int(value) > limit:
                raise _too_long(limit)
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMediaType("bodies with a Content-Encoding are not accepted")
    return _Counted(receive, limit) if chunked else receive


class _Counted:
    """Counts a body whose length nobody announced."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._length = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._length += len(message.get("body", b""))
        if self._length > self._limit:
            raise _too_long(self._limit)
        return message


def _too_long(limit: int) -> LimitExceeded:
    return LimitExceeded("request", f"the body of this request may have {limit} bytes at most")
