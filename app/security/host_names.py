"""Which names an archive without authentication answers to. A page of another site may have its own name point at this
machine (DNS rebinding) and then read answers as of its own origin; the Host it asks for still is that name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from app.errors import Forbidden

_ADDRESS = re.compile(rb"[0-9.]+|\[[0-9A-Fa-f:.%]+\]")
_UNREGISTERED = (b".localhost", b".test", b".example", b".invalid", b".local", b".internal")
"""RFC 6761, RFC 6762, and what ICANN keeps for private use: names that no stranger can have."""


def refuse_foreign_host(headers: Iterable[tuple[bytes, bytes]], known: Collection[bytes]) -> None:
    """Raises `Forbidden` when Host (RFC 9110 7.2) is a name that a stranger could have registered: neither an address,
    nor a name without a dot, nor of a private domain, nor in `known`."""
    for name, value in headers:
        if name == b"host":
            host = value.strip().lower()
            if not host.endswith(b"]"):
                host = host.rpartition(b":")[0] or host
            host = host.rstrip(b".")
            if b"." not in host or host in known or host.endswith(_UNREGISTERED) or _ADDRESS.fullmatch(host):
                continue
            raise Forbidden("without authentication only local names are answered; FILEROOM_PUBLIC_ROOT adds one")
