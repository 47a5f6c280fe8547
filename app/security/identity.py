"""Who sends a request: the local user without authentication, else the holder of an API token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from app.catalog import tokens
from app.catalog.engine import Catalog
from app.errors import NotAuthenticated
from app.security.host_names import refuse_foreign_host
from app.security.policy import BRIDGE, SCOPES

PREFIX = "frm_"
CACHE_SECONDS = 4.0
"""Longest time for which a revoked token is still believed."""
_CACHE_LIMIT = 4096
_NO_CREDENTIALS = "send a token: Authorization: Bearer frm_... or, as the password, Basic"
_BAD_CREDENTIALS = "the token is not valid"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is behind a request, and what the door may let through for them."""

    name: str
    scopes: frozenset[str]


_OWN_BRIDGE = Principal("own-bridge", frozenset({BRIDGE}))


def new_token() -> str:
    """A token of 256 random bits. The prefix lets secret scanners know it."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """What is kept of a token. It is random, so a fast hash hides it well enough."""
    return hashlib.sha256(token.encode()).digest()


def token_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The token in Authorization (RFC 6750 Bearer; RFC 7617 Basic with the token as password).

    Raises `NotAuthenticated` when there is none, or more than one."""
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1:
        raise NotAuthenticated(_NO_CREDENTIALS)
    scheme, _, credentials = values[0].partition(b" ")
    credentials = credentials.strip()
    if scheme.lower() == b"basic":
        try:
            credentials = base64.b64decode(credentials, validate=True).partition(b":")[2]
        except binascii.Error:
            raise NotAuthenticated(_NO_CREDENTIALS) from None
    elif scheme.lower() != b"bearer":
        raise NotAuthenticated(_NO_CREDENTIALS)
    return credentials.decode("latin-1")


class TokenHolders:
    """Finds the holder of a token, and believes an answer of the catalog for `CACHE_SECONDS`. `own` is the token of the
    bridge that was started with this archive; no catalog knows it."""

    def __init__(self, catalog: Catalog, own: str = "") -> None:
        self._catalog = catalog
        self._own = digest_of(own) if own else None
        self._known: dict[bytes, tuple[float, Principal | None]] = {}

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Who sends these headers; raises `NotAuthenticated`, or `DatabaseDown`."""
        digest = digest_of(token_of(headers))
        if digest == self._own:
            return _OWN_BRIDGE
        now = time.monotonic()
        known = self._known.get(digest)
        if known is None or known[0] < now:
            known = (now + CACHE_SECONDS, await self._look_up(digest))
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            self._known[digest] = known
        if known[1] is None:
            raise NotAuthenticated(_BAD_CREDENTIALS)
        return known[1]

    async def _look_up(self, digest: bytes) -> Principal | None:
        found = await tokens.find(self._catalog, digest)
        return Principal(*found) if found else None


class Everybody:
    """Without authentication: whoever reaches us may do all. `app.serve` listens on loopback only then; `hosts` are
    names that we answer to beside those of this machine."""

    _local = Principal("local", frozenset(SCOPES))

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower().encode() for host in hosts)

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """The local user; raises `Forbidden` for a page that came in by a name of its own."""
        refuse_foreign_host(headers, self._hosts)
        return self._local
