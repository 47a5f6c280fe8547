"""The upper layer of PS3.8 as an asyncio protocol: the state machine of `states`, the ARTIM timer, reading and writing.

Laws: whatever comes is an event of Table 9-10 and nothing else changes the state; an association has one loop timer,
which runs only while something is waited for; the first ending is the one that is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, cast

from app.errors import Unreadable
from dimse_bridge.association.context import Timeouts
from dimse_bridge.association.endings import (
    REASON_INVALID_PARAMETER,
    REASON_NOT_SPECIFIED,
    REASON_UNEXPECTED_PDU,
    SILENCE,
    SOURCE_PROVIDER,
    SOURCE_USER,
    Aborted,
    AssociationEnded,
    Released,
)
from dimse_bridge.association.messages import Inbox, ProtocolViolation
from dimse_bridge.association.pdus import RELEASE_RP_BYTES, RELEASE_RQ_BYTES, PDUReader, abort_bytes
from dimse_bridge.association.states import TRANSITIONS, Event, State
from dimse_bridge.association.timer import Timer

_WRITE_HIGH = 512 * 1024
_EVENTS = (
    Event.RQ_PDU, Event.AC_PDU, Event.RJ_PDU, Event.P_DATA_PDU, Event.RELEASE_RQ_PDU, Event.RELEASE_RP_PDU,
    Event.ABORT_PDU,
)  # fmt: skip
"""By the number of the PDU's type, from 1."""


class UpperLayer(asyncio.Protocol):
    """One end of one connection. The sides of it are `acceptor.Acceptor` and `requestor.Requestor`."""

    _opening: ClassVar[Event]

    def __init__(self, timeouts: Timeouts, max_length: int, *, state: State) -> None:
        self._loop = asyncio.get_running_loop()
        self.timeouts = timeouts
        self.state = state
        self.ending: AssociationEnded | None = None
        self.inbox = Inbox(self, timeouts.dimse)
        self.release_indicated = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._reader = PDUReader(self, max_length)
        self._timer = Timer(self._loop, self._on_timer)
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._room: asyncio.Future[None] | None = None
        self._held: list[bytes | memoryview] = []
        self.received = 0
        self.sent = 0

    # -------------------------------------------------------------- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection, or its TLS session, stands."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class
        transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self._socket = _socket_of(transport)
        self.fire(self._opening)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.received += len(data)
        if self._reader.stopped:
            return
        self._reader.feed(data)
        if (self.inbox.is_midway or self._reader.is_midway) and self._socket is not None:
            # A peer with Nagle's algorithm on holds the rest back until this is acknowledged: of a message, and of a
            # PDU, too, since many write its head apart.
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            except OSError:
                pass  # the peer has gone: the loop will say so

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        if self._socket is not None:
            self._socket.detach()
        if self.state is not State.IDLE:
            self.fire(Event.TRANSPORT_CLOSED)
        self._timer.close()
        self._make_room()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """The peer takes less than we send."""
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """There is room again."""
        self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    @property
    def address(self) -> str:
        """The peer's numeric address."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if name else ""

    def transport_info(self, name: str) -> Any:
        """What the transport knows, such as `ssl_object`."""
        return self._transport.get_extra_info(name) if self._transport else None

    @property
    def certificate(self) -> str:
        """SHA-256 (lower case hex) of the certificate that the peer showed by TLS; empty when there is none."""
        session = self.transport_info("ssl_object")
        shown = session.getpeercert(binary_form=True) if session is not None else None
        return hashlib.sha256(shown).hexdigest() if shown else ""

    # -------------------------------------------------------------- what the inbox needs

    def pause(self) -> None:
        """Reads no more until `resume`: TCP holds the peer back."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def expect(self, seconds: float | None) -> None:
        """The peer owes something within `seconds`."""
        if self.ending is None:
            self._timer.start(seconds)

    def expect_nothing(self) -> None:
        """The peer owes nothing."""
        if self.ending is None:
            self._timer.stop()

    # -------------------------------------------------------------- writing

    async def write(self, pieces: Sequence[bytes | memoryview], *, soon: bool = False) -> None:
        """Sends bytes of P-DATA-TF PDUs; waits while the peer takes none. With `soon` few bytes leave together with
        what follows, at the latest at the end of this turn of the loop. Raises `AssociationEnded`."""
        if self.ending is not None:
            raise self.ending.with_traceback(None)
        assert self._transport is not None
        self.sent += sum(map(len, pieces))
        if soon and self._room is None:
            if not self._held:
                self._loop.call_soon(self._put, b"")
            self._held += pieces
            return
        held, self._held = self._held, []
        self._transport.writelines([*held, *pieces])
        while self._room is not None:
            self.expect(self.timeouts.dimse)
            try:
                await asyncio.shield(self._room)
            finally:
                self.expect_nothing()
            if self.ending is not None:
                raise self.ending.with_traceback(None)

    def _put(self, pdu: bytes) -> None:
        held, self._held = self._held, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join((*held, pdu)))

    # -------------------------------------------------------------- events

    def fire(self, event: Event, argument: Any = None) -> None:
        """Applies PS3.8 Table 9-10. A blank cell is a local primitive that came too late: nothing happens."""
        action = TRANSITIONS.get((event, self.state))
        if action is not None:
            _ACTIONS[action](self, argument)

    def on_p_data(self) -> None:
        """A P-DATA-TF begins."""
        if self.state is not State.ESTABLISHED:
            self.fire(Event.P_DATA_PDU)

    def on_fragment(self, context_id: int, control: int, value: bytes, ends: bool) -> None:
        """Bytes of a PDV."""
        if self.state is not State.ESTABLISHED and self.state is not State.AWAITING_RELEASE_RP:
            return
        try:
            self.inbox.take(context_id, control, value, ends)
        except ProtocolViolation as violation:
            if violation.provider:
                self.on_invalid(REASON_INVALID_PARAMETER, violation.cause)
            else:
                self.abort(SOURCE_USER, REASON_NOT_SPECIFIED, violation.cause)
        except Unreadable as error:
            self.abort(SOURCE_USER, REASON_NOT_SPECIFIED, error.detail)

    def on_pdu(self, kind: int, body: bytes) -> None:
        """A whole PDU of another type."""
        self.fire(_EVENTS[kind - 1], body)

    def on_invalid(self, reason: int, cause: str) -> None:
        """Bytes that are no PDU that may be."""
        self._reader.stopped = True
        self.fire(Event.INVALID_PDU, (SOURCE_PROVIDER, reason, cause))

    def abort(self, source: int, reason: int, cause: str) -> None:
        """A-ABORT request of the local user."""
        self.fire(Event.ABORT_REQUEST, (source, reason, cause))

    def _on_timer(self) -> None:
        if self.state in (State.AWAITING_REQUEST, State.AWAITING_CLOSE):
            self.fire(Event.ARTIM_EXPIRED)
        else:
            self.abort(SOURCE_USER, REASON_NOT_SPECIFIED, SILENCE)

    # -------------------------------------------------------------- actions, PS3.8 Tables 9-6 to 9-9

    def on_request(self, body: bytes) -> None:
        """AE-6: an A-ASSOCIATE-RQ came. The acceptor's."""

    def on_accepted(self, body: bytes) -> None:
        """AE-3: an A-ASSOCIATE-AC came. The requestor's."""

    def on_rejected(self, body: bytes) -> None:
        """AE-4: an A-ASSOCIATE-RJ came. The requestor's."""

    def _send_request(self, argument: Any) -> None:
        """AE-2. The requestor's."""

    def _await_request(self, argument: Any) -> None:
        self.state = State.AWAITING_REQUEST
        self._timer.start(self.timeouts.artim)

    def _send_accept(self, pdu: bytes) -> None:
        self._timer.stop()
        self._put(pdu)
        self.state = State.ESTABLISHED

    def _send_reject(self, pdu: bytes) -> None:
        self._put(pdu)
        self._await_close()

    def _deliver(self, argument: Any) -> None:
        """DT-2, AR-6: the fragments follow."""

    def _send_release(self, argument: Any) -> None:
        self._put(RELEASE_RQ_BYTES)
        self.state = State.AWAITING_RELEASE_RP
        self._timer.start(self.timeouts.acse)

    def _indicate_release(self, argument: Any) -> None:
        self.state = State.AWAITING_LOCAL_RELEASE
        if self.inbox.is_midway:
            self.abort(SOURCE_USER, REASON_NOT_SPECIFIED, "a release inside a message")
            return
        self.release_indicated = True
        self.inbox.end()

    def _confirm_release(self, argument: Any) -> None:
        self._end(Released("released"))
        self._close()

    def _respond_release(self, argument: Any) -> None:
        self._put(RELEASE_RP_BYTES)
        self._end(Released("released by the peer"))
        self._await_close()

    def _stop(self, argument: Any) -> None:
        """AR-5, AA-5."""
        self._end(Aborted("the connection was closed"))
        self._close()

    def _collide(self, argument: Any) -> None:
        """AR-8: both sides ask for the release; the requestor answers first."""
        if self._opening is Event.TRANSPORT_CONFIRMED:
            self.state = State.COLLISION_REQUESTOR_AWAITING_LOCAL
            self.fire(Event.RELEASE_RESPONSE)
        else:
            self.state = State.COLLISION_ACCEPTOR_AWAITING_RP

    def _respond_collision(self, argument: Any) -> None:
        self._put(RELEASE_RP_BYTES)
        self.state = State.COLLISION_REQUESTOR_AWAITING_RP

    def _confirm_collision(self, argument: Any) -> None:
        self.state = State.COLLISION_ACCEPTOR_AWAITING_LOCAL
        self.fire(Event.RELEASE_RESPONSE)

    def _abort_as_user(self, argument: Any) -> None:
        """AA-1. What the peer sent too early or wrongly on a new connection ends here, too."""
        if isinstance(argument, tuple):
            source, reason, cause = argument
        else:
            source, reason, cause = SOURCE_USER, REASON_NOT_SPECIFIED, "a PDU that cannot come first"
        self._abort(source, reason, cause)

    def _abort_as_provider(self, argument: Any) -> None:
        """AA-8, and AA-7 when an ending was told before."""
        if isinstance(argument, tuple):
            _, reason, cause = argument
        else:
            reason, cause = REASON_UNEXPECTED_PDU, "a PDU that cannot come now"
        self._abort(SOURCE_PROVIDER, reason, cause)

    def _abort(self, source: int, reason: int, cause: str) -> None:
        self._put(abort_bytes(source, reason))
        self._end(Aborted(cause, source, reason))
        self._await_close()

    def _drop(self, argument: Any) -> None:
        """AA-2: the connection is closed at once."""
        self._end(Aborted("the association ended before it was established"))
        self._close(at_once=True)

    def _indicate_abort(self, body: bytes) -> None:
        """AA-3."""
        source, reason = (body[2], body[3]) if len(body) >= 4 else (SOURCE_USER, REASON_NOT_SPECIFIED)
        self._end(Aborted("aborted by the peer", source, reason))
        self._close(at_once=True)

    def _indicate_lost(self, argument: Any) -> None:
        """AA-4."""
        self._end(Aborted("the connection was lost", SOURCE_PROVIDER, REASON_NOT_SPECIFIED))
        self._close(at_once=True)

    def _ignore(self, argument: Any) -> None:
        """AA-6."""

    def _end(self, ending: AssociationEnded) -> None:
        if self.ending is None:
            self.ending = ending
            self._timer.stop()
            self.inbox.end()
            self._make_room()

    def _await_close(self) -> None:
        self.state = State.AWAITING_CLOSE
        self.resume()
        self._timer.start(self.timeouts.artim)

    def _close(self, *, at_once: bool = False) -> None:
        self.state = State.IDLE
        self._timer.close()
        if self._transport is not None:
            if at_once:
                self._transport.abort()
            else:
                self._transport.close()


def _socket_of(transport: asyncio.Transport) -> socket.socket | None:
    """The transport's socket, to set TCP_QUICKACK where that exists. uvloop's own view of it makes a socket object for
    each option that is set, which is too much for each piece of a message."""
    shown = transport.get_extra_info("socket")
    if shown is None or not hasattr(socket, "TCP_QUICKACK"):
        return None
    return socket.socket(shown.family, shown.type, shown.proto, fileno=shown.fileno())


_Action = Callable[[Any, Any], None]
_ACTIONS: MappingProxyType[str, _Action] = MappingProxyType(
    {
        "AE-2": lambda layer, argument: layer._send_request(argument),
        "AE-3": lambda layer, body: layer.on_accepted(body),
        "AE-4": lambda layer, body: layer.on_rejected(body),
        "AE-5": UpperLayer._await_request,
        "AE-6": lambda layer, body: layer.on_request(body),
        "AE-7": UpperLayer._send_accept,
        "AE-8": UpperLayer._send_reject,
        "DT-2": UpperLayer._deliver,
        "AR-1": UpperLayer._send_release,
        "AR-2": UpperLayer._indicate_release,
        "AR-3": UpperLayer._confirm_release,
        "AR-4": UpperLayer._respond_release,
        "AR-5": UpperLayer._stop,
        "AR-6": UpperLayer._deliver,
        "AR-8": UpperLayer._collide,
        "AR-9": UpperLayer._respond_collision,
        "AR-10": UpperLayer._confirm_collision,
        "AA-1": UpperLayer._abort_as_user,
        "AA-2": UpperLayer._drop,
        "AA-3": UpperLayer._indicate_abort,
        "AA-4": UpperLayer._indicate_lost,
        "AA-5": UpperLayer._stop,
        "AA-6": UpperLayer._ignore,
        "AA-7": UpperLayer._abort_as_provider,
        "AA-8": UpperLayer._abort_as_provider,
    }
)
"""AE-1 is the connecting itself; DT-1 and AR-7 are `write`."""
