"""The body of a Store request, chunk by chunk as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Request

from app.dicom.limits import Limits
from app.dicom.peer import Peer
from app.errors import LimitExceeded


class Disconnected(Exception):
    """The client went away before its body was whole."""


async def body_chunks(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body as it comes; raises `LimitExceeded` over the limit of a request, `Disconnected` when it breaks off."""
    receive = request.receive
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        if chunk:
            total += len(chunk)
            if total > limits.request:
                raise LimitExceeded("request", "the request is longer than the limit")
            yield chunk
        if not message.get("more_body"):
            return


def policy_of(request: Request) -> str:
    """What the peer on whose behalf a bridge stores wants done with other content under a stored SOP Instance UID;
    empty: what is done with everybody's."""
    peer: Peer | None = request.scope.get("peer")
    return "" if peer is None else peer.behaviour.duplicate_policy
