"""What a service sees of an association: receive messages, send messages, release or abort."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import Any

from app.dicom.peer import Peer
from dimse_bridge.association.commands import Command
from dimse_bridge.association.context import Context
from dimse_bridge.association.endings import (
    REASON_NOT_SPECIFIED,
    SOURCE_USER,
    Aborted,
    AssociationEnded,
    Rejected,
    Released,
    Unreachable,
)
from dimse_bridge.association.messages import Message
from dimse_bridge.association.pdus import COMMAND, LAST, PDV_HEAD_LENGTH, p_data_head
from dimse_bridge.association.states import Event, State
from dimse_bridge.association.upper_layer import UpperLayer

__all__ = ["Aborted", "Association", "AssociationEnded", "Context", "Message", "Rejected", "Released", "Unreachable"]

_BATCH_BYTES = 256 * 1024
_SHUTDOWN = "we shut down"


class Association:
    """One established association. One task receives and sends; everything raises `AssociationEnded` after the end."""

    def __init__(
        self,
        layer: UpperLayer,
        *,
        identity: str,
        calling: str,
        called: str,
        peer: Peer,
        contexts: Mapping[int, Context],
        max_send_length: int,
    ) -> None:
        self._layer = layer
        self._inbox = layer.inbox
        self._inbox.contexts.update(contexts)
        self.identity = identity
        """A short id that also stands in the archive's log."""
        self.calling = calling
        self.called = called
        self.peer = peer
        self.address = layer.address
        self.contexts: Mapping[int, Context] = contexts
        self.max_send_length = max_send_length
        """Longest variable field of a P-DATA-TF that the peer takes (PS3.8 D.1)."""
        self._longest_fragment = (max_send_length - PDV_HEAD_LENGTH) & ~1
        """PS3.8 E.1: fragments have an even length."""
        self._is_idle = False
        self._is_ending = False
        self._to_ask: deque[tuple[Context, bytes, bytes]] = deque()
        self._asked: dict[int, asyncio.Future[Command]] = {}

    async def receive(self, patience: float | None = -1.0) -> Message:
        """The next message; what was not taken of the one before is passed over. When none comes for `patience`
        seconds (as a rule `Timeouts.idle`), the association is aborted."""
        while True:
            message = await self._receive(patience)
            if message is not None:
                return message

    async def _receive(self, patience: float | None) -> Message | None:
        """As `receive`; None when something of ours is to be asked first, between two operations."""
        inbox = self._inbox
        inbox.discard_arriving()
        while True:
            if self._layer.ending is not None:
                raise self._layer.ending.with_traceback(None)
            message = inbox.next()
            if message is not None:
                return message
            if self._to_ask and self._is_idle:
                return None
            if self._layer.release_indicated:
                self._layer.fire(Event.RELEASE_RESPONSE)
            await inbox.wait(self._layer.timeouts.idle if patience == -1.0 else patience)

    async def request(self) -> Message:
        """As `receive`, between two operations: the next request. What was asked by `ask` is sent meanwhile, and its
        responses are handed to whoever asked. A response to nothing ends the association, and so does `finish`."""
        if self._is_ending:
            self.abort(cause=_SHUTDOWN)
        while True:
            while self._to_ask:
                await self.send(*self._to_ask.popleft())
            self._is_idle = True
            message = await self._receive(-1.0)
            self._is_idle = False
            if message is None:
                continue
            if not message.command.is_response:
                return message
            answered = self._asked.pop(message.command.message_id_responded or 0, None)
            if answered is None:
                self.abort(cause="a response to nothing")
                await self._inbox.wait(None)
            elif not answered.done():
                answered.set_result(message.command)

    async def ask(self, context: Context, message_id: int, command: bytes, data_set: bytes) -> Command:
        """Sends a request of ours while another task serves the peer's, as soon as none of those is under way; the
        response. Raises what ended the association."""
        answered: asyncio.Future[Command] = asyncio.get_running_loop().create_future()
        self._asked[message_id] = answered
        self._to_ask.append((context, command, data_set))
        self._inbox.nudge()
        either: tuple[asyncio.Future[Any], ...] = (answered, self._layer.closed)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise (self._layer.ending or Aborted("the connection was lost")).with_traceback(None)
        return answered.result()

    def finish(self) -> None:
        """Ends the association when the operation under way is done; at once when there is none."""
        self._is_ending = True
        if self._is_idle:
            self.abort(cause=_SHUTDOWN)

    def cancelled(self, message_id: int) -> bool:
        """Whether the peer sent C-CANCEL-RQ for its request with that Message ID."""
        return message_id in self._inbox.cancelled

    async def send(
        self,
        context: Context,
        command: bytes,
        data_set: bytes | memoryview | tuple[bytes | memoryview, ...] | AsyncIterable[bytes] | None = None,
        *,
        soon: bool = False,
    ) -> None:
        """Sends one message, as fast as the peer takes it; a `data_set` in pieces is not joined. When it raises in
        mid-object, the association is aborted: the message could not be ended otherwise. `soon`: a message without
        data set leaves together with the next one, if that comes at once."""
        pieces = self._pieces(context, command, COMMAND, last=True)
        if data_set is None:
            await self._layer.write(pieces, soon=soon)
        elif isinstance(data_set, bytes | bytearray | memoryview):
            await self._send_whole(context, pieces, (data_set,))
        elif isinstance(data_set, tuple):
            await self._send_whole(context, pieces, data_set or (b"",))
        else:
            try:
                await self._send_stream(context, pieces, data_set)
            except BaseException:
                self.abort(SOURCE_USER, REASON_NOT_SPECIFIED)
                raise

    async def send_all(self, context: Context, messages: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Sends several messages (command, data set) in as few writes as possible: the answers of a query."""
        pieces: list[bytes | memoryview] = []
        length = 0
        for command, data_set in messages:
            pieces += self._pieces(context, command, COMMAND, last=True)
            if data_set is not None:
                pieces += self._pieces(context, data_set, 0, last=True)
                length += len(data_set)
            if length > _BATCH_BYTES:
                await self._layer.write((b"".join(pieces),))
                pieces, length = [], 0
        await self._layer.write((b"".join(pieces),))

    def _pieces(
        self, context: Context, value: bytes | memoryview, control: int, *, last: bool
    ) -> list[bytes | memoryview]:
        """`value` in PDUs of one PDV each; the last PDV is marked when `last`."""
        most = self._longest_fragment
        if len(value) <= most:
            return [p_data_head(context.id, control | (LAST if last else 0), len(value)), value]
        pieces: list[bytes | memoryview] = []
        view = memoryview(value)
        for start in range(0, len(view), most):
            fragment = view[start : start + most]
            ends = last and start + most >= len(view)
            pieces += (p_data_head(context.id, control | (LAST if ends else 0), len(fragment)), fragment)
        return pieces

    def _packed(self, context: Context, data_set: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
        """As `_pieces`, with PDUs over the bounds of what they are made of: those may be odd, fragments may not."""
        most, left, room = self._longest_fragment, sum(map(len, data_set)), 0
        packed: list[bytes | memoryview] = []
        for piece in data_set:
            view, start = memoryview(piece), 0
            while start < len(view):
                if not room:
                    room = min(left, most)
                    left -= room
                    packed.append(p_data_head(context.id, 0 if left else LAST, room))
                part = view[start : start + room]
                packed.append(part)
                room -= len(part)
                start += len(part)
        return packed or [p_data_head(context.id, LAST, 0)]

    async def _send_whole(
        self, context: Context, pieces: list[bytes | memoryview], data_set: Sequence[bytes | memoryview]
    ) -> None:
        pieces += self._packed(context, data_set)
        step = max(2, 2 * (1024 * 1024 // self.max_send_length))
        for start in range(0, len(pieces), step):
            await self._layer.write(pieces[start : start + step])

    async def _send_stream(
        self, context: Context, pieces: list[bytes | memoryview], data_set: AsyncIterable[bytes]
    ) -> None:
        most = self._longest_fragment
        held = bytearray()
        async for chunk in data_set:
            held += chunk
            if len(held) <= most:
                continue
            # A full PDU may be the last one, so at least one byte stays until more is known.
            cut = (len(held) - 1) // most * most
            pieces += self._pieces(context, bytes(memoryview(held)[:cut]), 0, last=False)
            del held[:cut]
            await self._layer.write(pieces)
            pieces = []
        pieces += self._pieces(context, bytes(held), 0, last=True)
        await self._layer.write(pieces)

    async def release(self) -> None:
        """A-RELEASE: waits for the peer's answer and for the end of the connection. Raises `Aborted` when the peer
        does not answer in order; does nothing when the association has ended."""
        if self._layer.ending is not None:
            return
        self._inbox.shut()
        if self._layer.state is State.AWAITING_LOCAL_RELEASE:
            self._layer.fire(Event.RELEASE_RESPONSE)
        else:
            self._layer.fire(Event.RELEASE_REQUEST)
        await self._layer.closed
        if isinstance(self._layer.ending, Aborted):
            raise self._layer.ending.with_traceback(None)

    def abort(self, source: int = SOURCE_USER, reason: int = REASON_NOT_SPECIFIED, cause: str = "aborted") -> None:
        """A-ABORT; does nothing when the association has ended."""
        self._layer.abort(source, reason, cause)

    @property
    def patience(self) -> float | None:
        """Seconds that the peer has for its response to a sub-operation; None: any time."""
        return self._layer.timeouts.response

    @property
    def received(self) -> int:
        """Bytes that came so far."""
        return self._layer.received

    @property
    def sent(self) -> int:
        """Bytes of messages that left so far."""
        return self._layer.sent

    @property
    def ending(self) -> AssociationEnded | None:
        """How the association ended, or None while it stands."""
        return self._layer.ending
