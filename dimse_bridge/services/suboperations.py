"""The C-STORE sub-operations of a C-GET or C-MOVE (PS3.4 C.4.2.1.7, C.4.3.1.6): one after the other on one association,
while the next instances are read from the archive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from app.dicom.octets import Piece
from app.dicom.peer import Behaviour
from app.dicom.status import Progress, is_warning
from app.dicom.transfer_syntaxes import EXPLICIT_BE, IMPLICIT_LE
from app.errors import FileroomError
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import C_STORE_RQ, PRIORITY_MEDIUM, RESPONSE, store_rq
from dimse_bridge.association.context import Context
from dimse_bridge.association.endings import SOURCE_USER, Aborted, BrokenOff
from dimse_bridge.conversion.data_sets import DataSetConversion
from dimse_bridge.services.fetches import Fetch, fetches
from dimse_bridge.services.selection import Wanted
from dimse_bridge.services.storage_contexts import Contexts
from dimse_bridge.services.supply import Delivery, Supply

log = logging.getLogger("fileroom.bridge.retrieve")

_AT_HAND = 1 << 20
"""Bytes up to which an instance is sent only when all of it has come: a longer one can break off while it is sent."""
_PAUSE = 0.5
"""Seconds before an instance is sent again to a peer that could not store it."""
_MOST_LISTED = 1000
"""Failed SOP Instance UIDs in one response; more would make it longer than peers take."""
NO_CONTEXT = "the peer takes it in no form that we have"
_COUNTER = 0xFFFF
_NAMED_ONLY = frozenset({IMPLICIT_LE, EXPLICIT_BE})
"""For `*` these leave as Explicit VR Little Endian (PS3.18 8.7.3)."""


class Tally:
    """Sub-operations so far; `reason` is why the last one failed."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self._open = dict.fromkeys(wanted)
        self._broken: set[Wanted] = set()
        self.completed = 0
        self.failed = 0
        self.warning = 0
        self.reason = ""
        self.failed_uids: list[str] = []

    @property
    def remaining(self) -> int:
        """How many are not done."""
        return len(self._open)

    @property
    def open(self) -> list[Wanted]:
        """Those that are not done."""
        return list(self._open)

    def break_off(self, wanted: Wanted, reason: str) -> None:
        """One broke off while it was sent: the first time it stays open, for another association."""
        if wanted in self._broken:
            self.fail(wanted, reason)
        self._broken.add(wanted)

    def fail(self, wanted: Wanted, reason: str) -> None:
        """One more that failed."""
        del self._open[wanted]
        self.failed += 1
        self.reason = reason
        if len(self.failed_uids) < _MOST_LISTED:
            self.failed_uids.append(wanted.sop)
        log.info("a sub-operation failed: %s", reason)

    def fail_rest(self, reason: str) -> None:
        """All that remain have failed."""
        for one in self.open:
            self.fail(one, reason)

    def count(self, wanted: Wanted, status: int) -> None:
        """One more that was answered with `status`."""
        if status == Progress.DONE:
            del self._open[wanted]
            self.completed += 1
        elif is_warning(status):
            del self._open[wanted]
            self.warning += 1
        else:
            self.fail(wanted, f"the peer answered {status:04X}H")

    def counters(self) -> dict[str, int]:
        """(0000,1020) to (0000,1023), each as far as 16 bits can say it."""
        return {name: min(getattr(self, name), _COUNTER) for name in ("remaining", "completed", "failed", "warning")}


@dataclass(frozen=True, slots=True)
class Originator:
    """Who asked for a C-MOVE (PS3.7 9.1.1.1.5); both empty for a C-GET."""

    ae_title: str | None = None
    message_id: int | None = None


class Instance(Protocol):
    """What can be sent: a data set in transfer syntax `syntax`."""

    wanted: Wanted
    syntax: str

    async def whole(self, limit: int) -> tuple[Piece, ...] | None:
        """The data set when it has at most `limit` bytes, else None: it is then read by `pieces`."""

    def pieces(self) -> AsyncIterator[Piece]:
        """The data set in portions."""


class Sender:
    """Sends instances on one association."""

    def __init__(
        self,
        association: Association,
        behaviour: Behaviour,
        originator: Originator = Originator(),
        priority: int = PRIORITY_MEDIUM,
    ) -> None:
        self.contexts = Contexts(association.contexts.values())
        self._association = association
        self._behaviour = behaviour
        self._originator = originator
        self._priority = priority
        self._message_id = 0

    async def send(self, instance: Instance, context: Context) -> int:
        """Sends one instance by `context` and gives the status of the last attempt. Raises the instance's error when it
        shows before anything was sent, and `AssociationEnded`: also when it breaks off later, since half an instance
        cannot be taken back."""
        convert = instance.syntax != context.transfer_syntax
        data = await instance.whole(_AT_HAND)
        if data is None:
            return await self._attempt(instance.wanted, context, self._stream(instance, context, convert))
        if convert:
            conversion = DataSetConversion(instance.syntax, context.transfer_syntax)
            data = (*(out for piece in data for out in conversion.feed(piece)), *conversion.finish())
        for attempt in range(self._behaviour.attempts):
            if attempt:
                await asyncio.sleep(_PAUSE)
            status = await self._attempt(instance.wanted, context, data)
            if status >> 8 != 0xA7:
                break
        return status

    async def _attempt(self, wanted: Wanted, context: Context, data: tuple[Piece, ...] | AsyncIterator[bytes]) -> int:
        self._message_id = self._message_id % _COUNTER + 1
        command = store_rq(
            self._message_id,
            context.abstract_syntax,
            wanted.sop,
            priority=self._priority,
            move_originator=self._originator.ae_title,
            move_originator_message_id=self._originator.message_id,
        )
        await self._association.send(context, command, data)
        message = await self._association.receive(self._association.patience)
        answer = message.command
        await message.drain()
        if answer.field != C_STORE_RQ | RESPONSE or answer.message_id_responded != self._message_id:
            self._association.abort(SOURCE_USER, 0)
            raise Aborted("the peer answered a C-STORE with another message")
        return Progress.DONE if self._behaviour.ignore_statuses else answer.status or Progress.DONE

    async def _stream(self, instance: Instance, context: Context, convert: bool) -> AsyncIterator[bytes]:
        """The data set, converted if need be. When it breaks off the association is lost with it."""
        try:
            if not convert:
                async for piece in instance.pieces():
                    yield bytes(piece)
                return
            conversion = DataSetConversion(instance.syntax, context.transfer_syntax)
            async for piece in instance.pieces():
                for out in conversion.feed(piece):
                    yield bytes(out)
            for out in conversion.finish():
                yield bytes(out)
        except FileroomError as error:
            self._association.abort(SOURCE_USER, 0)
            raise BrokenOff(f"an instance broke off while it was sent: {error.detail}") from error


def plan(wanted: Iterable[Wanted], level: str, contexts: Contexts, tally: Tally, *, ours: bool) -> list[Fetch]:
    """The requests that bring those of `wanted`, selected at `level`, that the peer takes; the others are failures. An
    archive of `ours` gives what PS3.18 keeps out of web services by its name: as it came, and not converted."""
    ways: dict[Wanted, str | None] = {}
    for one in wanted:
        stored = one.syntaxes[0] if one.syntaxes else ""
        way = contexts.way(one.sop_class, stored)
        if way is None:
            tally.fail(one, NO_CONTEXT)
            ways[one] = None
        else:
            ways[one] = way.ask or (stored if ours and stored in _NAMED_ONLY else "")
    return fetches(level, ways)


Report = Callable[[], Awaitable[bool]]
"""Called after each sub-operation; False ends them."""


async def run(supply: Supply, sender: Sender, tally: Tally, report: Report) -> None:
    """Sends all that `supply` brings. Raises `AssociationEnded` when the association over which we send is lost."""
    while (delivery := await supply.next()) is not None:
        if await _one(delivery, supply, sender, tally) and not await report():
            return


async def _one(delivery: Delivery, supply: Supply, sender: Sender, tally: Tally) -> bool:
    """One instance; False when it is to come again."""
    wanted = delivery.wanted
    if delivery.error is not None and not delivery.syntax:
        tally.fail(wanted, delivery.error.detail)
        return True
    way = sender.contexts.way(wanted.sop_class, delivery.syntax)
    if way is None or (way.ask and delivery.asked):
        await delivery.pass_over()
        tally.fail(wanted, NO_CONTEXT)
        return True
    if way.ask:
        await delivery.pass_over()
        supply.again(wanted, way.ask)
        return False
    try:
        tally.count(wanted, await sender.send(delivery, way.context))
    except BrokenOff as ending:
        tally.break_off(wanted, str(ending))
        raise
    except FileroomError as error:
        await delivery.pass_over()
        if delivery.error is not None and not delivery.alone:
            supply.again(wanted, delivery.asked)
            return False
        tally.fail(wanted, error.detail)
    return True
