"""The user's side: opens a connection, proposes presentation contexts and gives the association (PS3.8 7.1)."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from app.dicom.peer import Peer
from app.errors import Unreadable
from dimse_bridge.association.associate_pdus import (
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    UserInformation,
    decode_accept,
    decode_reject,
    encode_request,
)
from dimse_bridge.association.association import Association
from dimse_bridge.association.context import DEFAULT_TIMEOUTS, Context, Proposed, Timeouts
from dimse_bridge.association.endings import (
    REASON_INVALID_PARAMETER,
    Aborted,
    AssociationEnded,
    Rejected,
    Unreachable,
)
from dimse_bridge.association.negotiation import LocalAE, send_length
from dimse_bridge.association.states import Event, State
from dimse_bridge.association.upper_layer import UpperLayer

MAX_CONTEXTS = 128
"""Odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""


class Requestor(UpperLayer):
    """One connection that we opened."""

    _opening = Event.TRANSPORT_CONFIRMED

    def __init__(self, request: bytes, timeouts: Timeouts, max_length: int) -> None:
        super().__init__(timeouts, max_length, state=State.AWAITING_TRANSPORT)
        self._request = request
        self.answered: asyncio.Future[AssociateAccept | None] = self._loop.create_future()
        self.closed.add_done_callback(lambda _: self._answer(None))

    def _send_request(self, argument: object) -> None:
        self._put(self._request)
        self.state = State.AWAITING_RESPONSE
        self._timer.start(self.timeouts.acse)

    def on_accepted(self, body: bytes) -> None:
        """AE-3."""
        try:
            accept = decode_accept(body)
        except Unreadable as error:
            self.on_invalid(REASON_INVALID_PARAMETER, error.detail)
            return
        self._timer.stop()
        self.state = State.ESTABLISHED
        self._answer(accept)

    def on_rejected(self, body: bytes) -> None:
        """AE-4."""
        try:
            ending = Rejected(*decode_reject(body))
        except Unreadable as error:
            self.on_invalid(REASON_INVALID_PARAMETER, error.detail)
            return
        self._end(ending)
        self._close()

    def _end(self, ending: AssociationEnded) -> None:
        super()._end(ending)
        self._answer(None)

    def _answer(self, accept: AssociateAccept | None) -> None:
        if not self.answered.done():
            self.answered.set_result(accept)


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    *,
    calling: str | LocalAE,
    called: str,
    contexts: Sequence[Proposed],
    tls: ssl.SSLContext | None = None,
    certificate: str = "",
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    max_length: int = 0,
    peer: Peer | None = None,
    opened: Callable[[], Awaitable[object]] | None = None,
) -> AsyncIterator[Association]:
    """An association with the AE `called`; released at the end of the block, aborted when the block raises. Raises
    `Unreachable`, `Rejected` or `Aborted`. `certificate` is the SHA-256 of the one that the peer must show, if any;
    `max_length` 0 takes that of the calling AE; `opened` is called when the request is on its way."""
    ours = calling if isinstance(calling, LocalAE) else LocalAE(calling)
    request = _request(ours, called, contexts, max_length or ours.max_length)
    layer = await _open(host, port, tls, Requestor(encode_request(request), timeouts, request.user.max_length))
    try:
        if certificate and layer.certificate != certificate:
            raise Unreachable("the peer's certificate is not the registered one")
        if opened is not None:
            await opened()
        accept = await layer.answered
        if accept is None:
            raise (layer.ending or Aborted("the connection was lost")).with_traceback(None)
        association = Association(
            layer,
            identity=secrets.token_hex(6),
            calling=ours.title,
            called=called,
            peer=peer or Peer(called, host, port),
            contexts=_accepted(request, accept),
            max_send_length=send_length(accept.user.max_length, ours.max_send_length),
        )
        yield association
        await association.release()
    finally:
        layer.abort(0, 0, "aborted")


async def _open(host: str, port: int, tls: ssl.SSLContext | None, layer: Requestor) -> Requestor:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(layer.timeouts.connect):
            await loop.create_connection(
                lambda: layer,
                host,
                port,
                ssl=tls,
                server_hostname=host if tls is not None else None,
                ssl_shutdown_timeout=layer.timeouts.artim if tls is not None else None,
            )
    except (OSError, ssl.SSLError) as error:  # TimeoutError is one of OSError
        raise Unreachable(f"no connection: {type(error).__name__}") from error
    return layer


def _request(ours: LocalAE, called: str, contexts: Sequence[Proposed], max_length: int) -> AssociateRequest:
    if not 0 < len(contexts) <= MAX_CONTEXTS:
        raise ValueError(f"an association proposes 1 to {MAX_CONTEXTS} presentation contexts")
    roles = {one.abstract_syntax: (one.scu_role, one.scp_role) for one in contexts if one.scp_role or not one.scu_role}
    user = UserInformation(max_length, ours.implementation_class, ours.implementation_version, roles)
    proposed = tuple(
        ProposedContext(2 * number + 1, one.abstract_syntax, tuple(one.transfer_syntaxes))
        for number, one in enumerate(contexts)
    )
    return AssociateRequest(called, ours.title, proposed, user)


def _accepted(request: AssociateRequest, accept: AssociateAccept) -> dict[int, Context]:
    """The contexts that the peer accepted as it was asked; a transfer syntax that was not proposed is none."""
    proposed = {context.id: context for context in request.contexts}
    found: dict[int, Context] = {}
    for answer in accept.contexts:
        ours = proposed.get(answer.id)
        if ours is None or answer.result != 0 or answer.transfer_syntax not in ours.transfer_syntaxes:
            continue
        asked = request.user.roles.get(ours.abstract_syntax)
        granted = accept.user.roles.get(ours.abstract_syntax)
        # Without an answer to the role selection item the default roles stand (PS3.7 D.3.3.4).
        scu, scp = (
            (True, False) if asked is None or granted is None else (asked[0] and granted[0], asked[1] and granted[1])
        )
        if scu or scp:
            found[ours.id] = Context(ours.id, ours.abstract_syntax, answer.transfer_syntax, scu=scu, scp=scp)
    return found
