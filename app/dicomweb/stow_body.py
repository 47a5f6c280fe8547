"""The body of a Store request, chunk by chunk as it comes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import lru_cache

from fastapi import Request

from app.dicom.limits import Limits
from app.dicom.peer import Peer
from app.errors import LimitExceeded


class Disconnected(Exception):
    """The client went away before its body was whole."""


_ONE_TYPE = re.compile(rb"[Cc]ontent-[Tt]ype:[ \t]*([0-9A-Za-z/+.;=\" \-]{1,200})")
_PLAIN_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=?]{1,70}")


class Start:
    """The first bytes of a body, and whether more are to come."""

    __slots__ = ("chunk", "more")

    def __init__(self, chunk: bytes, more: bool) -> None:
        self.chunk = chunk
        self.more = more

    @classmethod
    async def of(cls, request: Request) -> Start:
        """Waits for them; raises `Disconnected`."""
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        return cls(message.get("body", b""), message.get("more_body", False))

    def only_part(self, boundary: bytes) -> tuple[str, bytes] | None:
        """Content-Type and content of the one part of a multipart body that came at once and in the plainest form, as
        that of a sender of small instances; None: the body is for the reader that knows every form."""
        body = self.chunk
        delimiter = b"\r\n--" + boundary
        if self.more or not body.startswith(delimiter[2:] + b"\r\n") or not _is_plain(boundary):
            return None
        begin = len(delimiter)
        content = body.find(b"\r\n\r\n", begin - 2) + 4
        stop = body.find(delimiter, max(content - 2, 0))
        if content < 4 or stop < content or body[stop + len(delimiter) :] not in (b"--", b"--\r\n"):
            return None
        given = _type_in(body[begin : content - 4])
        return None if given is None else (given, body[content:stop])


@lru_cache(16)
def _is_plain(boundary: bytes) -> bool:
    return _PLAIN_BOUNDARY.fullmatch(boundary) is not None


@lru_cache(16)
def _type_in(headers: bytes) -> str | None:
    found = _ONE_TYPE.fullmatch(headers)
    return None if found is None else found[1].strip().decode("ascii")


async def body_chunks(request: Request, limits: Limits, start: Start | None = None) -> AsyncIterator[bytes]:
    """The body as it comes, after its `start` if that was taken; raises `LimitExceeded` over the limit of a request,
    `Disconnected` when it breaks off."""
    receive = request.receive
    total = 0
    while True:
        if start is None:
            message = await receive()
        else:
            message, start = {"type": "http.request", "body": start.chunk, "more_body": start.more}, None
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
