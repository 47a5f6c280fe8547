"""The provider's side: answers association requests by a policy, and serves what it accepted (PS3.8 7.1)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable

from app.dicom.peer import unregistered
from app.dicom.uid import is_uid
from app.errors import FileroomError, Unreadable
from dimse_bridge.association.associate_pdus import (
    AssociateRequest,
    decode_request,
    encode_accept,
    encode_reject,
)
from dimse_bridge.association.association import Association
from dimse_bridge.association.context import DEFAULT_MAX_LENGTH, DEFAULT_TIMEOUTS, Timeouts
from dimse_bridge.association.endings import REASON_INVALID_PARAMETER, AssociationEnded
from dimse_bridge.association.negotiation import (
    CONGESTION,
    REASONS,
    Acceptance,
    Caller,
    LocalAE,
    Policy,
    Rejection,
    negotiate,
)
from dimse_bridge.association.states import Event, State
from dimse_bridge.association.upper_layer import UpperLayer

log = logging.getLogger("fileroom.bridge")

Serve = Callable[[Association], Awaitable[None]]


async def accept_all(request: AssociateRequest, caller: Caller) -> Acceptance | Rejection:
    """A policy for tests and tools: every AE title may do everything, from everywhere."""
    return negotiate(request, LocalAE(request.called), unregistered(request.calling))


class Acceptor(UpperLayer):
    """One connection that a peer opened."""

    _opening = Event.TRANSPORT_INDICATION

    def __init__(self, policy: Policy, serve: Serve, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> None:
        super().__init__(timeouts, DEFAULT_MAX_LENGTH, state=State.IDLE)
        self._policy = policy
        self._serve = serve
        self.task: asyncio.Task[None] | None = None
        """Judges the request and serves the association; None before the request."""
        self.association: Association | None = None

    def on_request(self, body: bytes) -> None:
        """AE-6."""
        try:
            request = decode_request(body)
        except Unreadable as error:
            self.on_invalid(REASON_INVALID_PARAMETER, error.detail)
            return
        self._timer.stop()
        self.state = State.AWAITING_LOCAL_RESPONSE
        self.task = self._loop.create_task(self._run(request))

    async def _run(self, request: AssociateRequest) -> None:
        try:
            answer = await self.judge(request)
        except FileroomError as error:
            log.warning("an association request could not be judged: %s", error.detail)
            answer = CONGESTION
        except Exception:  # boundary: whatever fails here, the peer gets an answer
            log.exception("an association request could not be judged")
            answer = CONGESTION
        if self.state is not State.AWAITING_LOCAL_RESPONSE:
            return
        if isinstance(answer, Rejection):
            who = {"peer": request.calling, "called": request.called, "address": self.address}
            log.info("association rejected: %s", answer.cause, extra={"fields": who})
            self.fire(Event.REJECT, encode_reject(answer.result, answer.source, answer.reason))
            return
        await self._serve_accepted(request, answer)

    async def judge(self, request: AssociateRequest) -> Acceptance | Rejection:
        """What the policy says."""
        return await self._policy(request, self._caller())

    async def _serve_accepted(self, request: AssociateRequest, answer: Acceptance) -> None:
        identity = secrets.token_hex(6)
        self.association = association = Association(
            self,
            identity=identity,
            calling=request.calling,
            called=answer.called,
            peer=answer.peer,
            contexts=answer.contexts,
            max_send_length=answer.max_send_length,
        )
        self._log_refused(request, answer, identity)
        self._reader.allow(answer.accept.user.max_length)
        self.fire(Event.ACCEPT, encode_accept(answer.accept, request))
        try:
            await self._serve(association)
        except AssociationEnded:
            pass
        except Exception:  # boundary: a service that fails ends its own association only
            log.exception("association %s: a service failed", identity)
        association.abort(cause="the service ended")

    def _log_refused(self, request: AssociateRequest, answer: Acceptance, identity: str) -> None:
        for context in request.contexts:
            if context.id in answer.refused:
                uid = context.abstract_syntax
                told = {"association": identity, "sop_class": uid if is_uid(uid) else "no UID"}
                reason = REASONS[answer.refused[context.id]]
                log.info("context %d refused: %s", context.id, reason, extra={"fields": told})

    def _caller(self) -> Caller:
        return Caller(self.address, self.transport_info("ssl_object") is not None, self.certificate)


class Listener:
    """Accepts on sockets of its own, in one process. `async with` closes it and its associations."""

    def __init__(self, server: asyncio.Server, acceptors: set[Acceptor]) -> None:
        self._server = server
        self._acceptors = acceptors

    @property
    def port(self) -> int:
        """The port of the first socket."""
        listener: socket.socket = self._server.sockets[0]
        return int(listener.getsockname()[1])

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops, aborts what is under way and waits for the services."""
        self._server.close()
        tasks = [acceptor.task for acceptor in self._acceptors if acceptor.task is not None]
        for acceptor in tuple(self._acceptors):
            acceptor.fire(Event.TRANSPORT_CLOSED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def serve_associations(
    host: str,
    port: int,
    policy: Policy,
    serve: Serve,
    *,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    tls: ssl.SSLContext | None = None,
) -> Listener:
    """Listens in this process and serves each association with `serve`; port 0 takes a free one."""
    acceptors: set[Acceptor] = set()

    def make() -> Acceptor:
        acceptor = Acceptor(policy, serve, timeouts)
        acceptors.add(acceptor)
        acceptor.closed.add_done_callback(lambda _: acceptors.discard(acceptor))
        return acceptor

    server = await asyncio.get_running_loop().create_server(make, host, port, ssl=tls)
    return Listener(server, acceptors)
