"""PS3.7 messages out of PDVs: at most one data set is under way, and at most 1 MiB of it waits for its reader.

Laws: a message is handed out as soon as its command set is whole; C-CANCEL-RQ never are, they are noted; the fragments
of a message are not interleaved with others' (PS3.7 6.3.1); whoever waits is woken by what it waits for or by the end
of the association.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from app.errors import LimitExceeded
from dimse_bridge.association.commands import C_CANCEL_RQ, Command, decode_command
from dimse_bridge.association.context import Context
from dimse_bridge.association.endings import AssociationEnded
from dimse_bridge.association.pdus import COMMAND, LAST

MAX_COMMAND_SET = 64 * 1024
_PAUSE_AT = 768 * 1024
_RESUME_AT = 384 * 1024
_COST_OF_MESSAGE = 4096


class ProtocolViolation(Exception):
    """The peer broke PS3.7 or the negotiation; the association is to be aborted. `provider`: found below DIMSE."""

    def __init__(self, cause: str, *, provider: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.provider = provider


class Line(Protocol):
    """What an inbox needs of the connection."""

    ending: AssociationEnded | None

    def pause(self) -> None:
        """Reads no more until `resume`."""

    def resume(self) -> None:
        """Reads again."""

    def expect(self, seconds: float | None) -> None:
        """Something is waited for, so long; then the association is aborted."""

    def expect_nothing(self) -> None:
        """Nothing is waited for."""


class Inbox:
    """What has come and was not taken yet."""

    def __init__(self, line: Line, patience: float | None) -> None:
        self._line = line
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._messages: deque[Message] = deque()
        self._arriving: Message | None = None
        self._command = bytearray()
        self._command_context = 0
        self._queued = 0
        self._paused = False
        self.contexts: dict[int, Context] = {}
        self.cancelled: set[int] = set()

    @property
    def is_midway(self) -> bool:
        """Whether the peer owes the rest of a message."""
        return self._arriving is not None or self._command_context != 0

    def take(self, context_id: int, control: int, value: bytes, ends: bool) -> None:
        """Takes bytes of a fragment (PS3.8 E.2); raises `ProtocolViolation` or `Unreadable`."""
        context = self.contexts.get(context_id)
        if context is None:
            raise ProtocolViolation("a presentation context that was not accepted", provider=True)
        last = ends and control & LAST != 0
        if control & COMMAND:
            self._take_command(context, value, last)
        else:
            self._take_data(context, value, last)

    def _take_command(self, context: Context, value: bytes, last: bool) -> None:
        if self._arriving is not None:
            raise ProtocolViolation("a command inside a data set")
        if last and not self._command_context:
            self._announce(context, decode_command(value))
            return
        if self._command_context not in (0, context.id):
            raise ProtocolViolation("a command over two presentation contexts")
        if len(self._command) + len(value) > MAX_COMMAND_SET:
            raise ProtocolViolation("a command set without end")
        self._command_context = context.id
        self._command += value
        if last:
            encoded = bytes(self._command)
            self._command.clear()
            self._command_context = 0
            self._announce(context, decode_command(encoded))

    def _announce(self, context: Context, command: Command) -> None:
        if command.field == C_CANCEL_RQ:
            if command.message_id_responded is not None:
                self.cancelled.add(command.message_id_responded)
            return
        if self.cancelled and command.message_id is not None:
            self.cancelled.discard(command.message_id)
        message = Message(context, command, self)
        if message.has_data_set:
            self._arriving = message
        self._messages.append(message)
        self._count(_COST_OF_MESSAGE)
        self._wake()

    def _take_data(self, context: Context, value: bytes, last: bool) -> None:
        message = self._arriving
        if message is None or message.context.id != context.id:
            raise ProtocolViolation("a data set without its command")
        if value and not message.discarded:
            message.fragments_held.append(value)
            self._count(len(value))
        if last:
            message.is_complete = True
            self._arriving = None
        if self._waiter is not None:
            self._wake()

    def _count(self, change: int) -> None:
        self._queued += change
        if self._paused:
            if self._queued <= _RESUME_AT:
                self._paused = False
                self._line.resume()
        elif self._queued >= _PAUSE_AT:
            self._paused = True
            self._line.pause()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def end(self) -> None:
        """The association ended: whoever waits learns it."""
        self._wake()

    def nudge(self) -> None:
        """Lets whoever waits look again, for another reason than what came."""
        self._wake()

    async def wait(self, patience: float | None) -> None:
        """Until something came; raises how the association ended."""
        if self._line.ending is not None:
            raise self._line.ending.with_traceback(None)
        self._waiter = waiter = self._loop.create_future()
        self._line.expect(patience)
        try:
            await waiter
        finally:
            self._line.expect_nothing()

    async def wait_for_data(self) -> None:
        """Until more of a data set came."""
        await self.wait(self._patience)

    def consumed(self, length: int) -> None:
        """A fragment left."""
        self._count(-length)

    def next(self) -> Message | None:
        """The next message, when one has come."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._count(-_COST_OF_MESSAGE)
        return message

    def shut(self) -> None:
        """Drops what came and what will come: nobody reads any more."""
        while (message := self.next()) is not None:
            message.discard()
        if self._arriving is not None:
            self._arriving.discard()

    def discard_arriving(self) -> None:
        """Drops what is still to come of the data set under way."""
        if self._arriving is not None and self._arriving not in self._messages:
            self._arriving.discard()


class Message:
    """One message: its command, and its data set as it comes."""

    __slots__ = ("_inbox", "command", "context", "discarded", "fragments_held", "has_data_set", "is_complete")

    def __init__(self, context: Context, command: Command, inbox: Inbox) -> None:
        self.context = context
        self.command = command
        self.has_data_set = command.has_data_set
        self.is_complete = not self.has_data_set
        """Whether the whole data set has come."""
        self.discarded = False
        self.fragments_held: deque[bytes] = deque()
        self._inbox = inbox

    async def fragments(self) -> AsyncIterator[bytes]:
        """The data set as it comes, once. What is not taken holds the peer back after 1 MiB. Raises `AssociationEnded`
        when the association ends before the data set does."""
        held = self.fragments_held
        while True:
            while held:
                fragment = held.popleft()
                self._inbox.consumed(len(fragment))
                yield fragment
            if self.is_complete:
                return
            await self._inbox.wait_for_data()

    async def gather(self, limit: int) -> list[bytes]:
        """The whole data set when it has at most `limit` bytes; else its beginning, which is longer, and what follows
        is left for `fragments`. Raises as that does."""
        gathered: list[bytes] = []
        length = 0
        held = self.fragments_held
        while True:
            if held:
                came = sum(map(len, held))
                gathered += held
                held.clear()
                self._inbox.consumed(came)
                length += came
            if self.is_complete or length > limit:
                return gathered
            await self._inbox.wait_for_data()

    async def data_set(self, limit: int) -> bytes:
        """The whole data set; raises `LimitExceeded` over `limit` bytes (the rest is then passed over)."""
        pieces = await self.gather(limit)
        if sum(map(len, pieces)) > limit:
            self.discard()
            raise LimitExceeded("data_set", f"the data set has more than {limit} bytes")
        return b"".join(pieces)

    async def drain(self) -> None:
        """Waits until the whole data set has come, and drops what was not taken."""
        self.discard()
        while not self.is_complete:
            await self._inbox.wait_for_data()

    def discard(self) -> None:
        """Drops what came and what will come of the data set."""
        self.discarded = True
        while self.fragments_held:
            self._inbox.consumed(len(self.fragments_held.popleft()))
