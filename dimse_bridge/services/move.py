"""C-MOVE (PS3.4 C.4.2, PS3.7 9.3.4): instances go to a registered peer, all of them over one association of our own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from app.dicom.peer import Peer
from app.dicom.status import RetrieveStatus
from app.errors import FileroomError
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.association import Association, AssociationEnded, Message
from dimse_bridge.association.commands import PRIORITY_MEDIUM, response
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.endings import BrokenOff
from dimse_bridge.services.retrieval import Responses, refuse, select
from dimse_bridge.services.selection import Wanted
from dimse_bridge.services.storage_contexts import allowed_by, propose
from dimse_bridge.services.suboperations import Originator, Sender, Tally, plan, run
from dimse_bridge.services.supply import Supply

log = logging.getLogger("fileroom.bridge.retrieve")

_T = TypeVar("_T")
_APART: set[asyncio.Future[None]] = set()
"""Sub-operations that may go on without their requestor."""


Opened = Callable[[], Awaitable[object]]
"""Called when a destination has been called and has not answered yet."""


class Destinations(Protocol):
    """Where instances can be sent."""

    async def find(self, ae_title: str) -> Peer | None:
        """The registered peer with an address; None when there is none."""

    def connect(
        self, peer: Peer, calling: str, contexts: Sequence[Proposed], opened: Opened | None = None
    ) -> AbstractAsyncContextManager[Association]:
        """An association with it, which is released at the end. Raises `AssociationEnded`."""


def service(destinations: Destinations) -> Callable[[Association, Message, Archive], Awaitable[None]]:
    """The service that answers C-MOVE-RQs. It raises what ends the association."""

    async def serve(association: Association, message: Message, archive: Archive) -> None:
        await _serve(association, message, archive, destinations)

    return serve


async def _serve(association: Association, message: Message, archive: Archive, destinations: Destinations) -> None:
    try:
        level, wanted = await select(association, message, archive, "move")
        peer = await destinations.find(message.command.move_destination or "")
    except FileroomError as error:
        await refuse(association, message, error)
        return
    if peer is None:
        comment = "the move destination is not registered with an address"
        status = RetrieveStatus.DESTINATION_UNKNOWN
        log.warning("nothing is moved: %s", comment, extra={"fields": {"status": f"{status:04X}"}})
        await association.send(message.context, response(message.command, status, comment=comment))
        return
    move = _Move(association, message, archive, destinations, peer, level, wanted)
    if wanted and association.peer.behaviour.suboperations_after_cancel:
        await move.run_apart()
    elif wanted:
        await move.run()
    await move.responses.final()


class _Move:
    """One C-MOVE whose destination is known."""

    def __init__(
        self,
        association: Association,
        message: Message,
        archive: Archive,
        destinations: Destinations,
        peer: Peer,
        level: str,
        wanted: list[Wanted],
    ) -> None:
        self._association = association
        self._command = message.command
        self._archive = archive
        self._destinations = destinations
        self._peer = peer
        self._level = level
        self._tally = Tally(wanted)
        self.responses = Responses(association, message, self._tally)

    async def run(self) -> None:
        """Sends all; what cannot be sent any more has failed. Raises what ends the requestor's association.

        After an instance that broke off inside, another association is made for the rest."""
        try:
            while not await self._send():
                self._level = "IMAGE"
        except _Lost as lost:
            self._tally.fail_rest(str(lost))

    async def run_apart(self) -> None:
        """As `run`, but in a task that goes on when the requestor cancels or leaves."""
        task = asyncio.ensure_future(self.run())
        _APART.add(task)
        task.add_done_callback(_APART.discard)
        answered = asyncio.ensure_future(self.responses.answered.wait())
        try:
            await asyncio.wait({task, answered}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answered.cancel()

    async def _send(self) -> bool:
        """Sends over one association all that is open, or as much as can be; False when another one is needed."""
        ended: AssociationEnded | None = None
        contexts = propose(self._tally.open, allowed_by(self._peer.behaviour))
        if not contexts:
            raise _Lost("destination: no SOP class can be proposed")
        try:
            # Told now, movescu looks whether it is called; else it waits a second before it looks again.
            connection = self._destinations.connect(self._peer, self._association.called, contexts, self._report)
            async with connection as destination:
                try:
                    await self._send_on(destination)
                except _RequestorLost as lost:
                    ended = lost.ending
        except _RequestorLost as lost:
            ended = lost.ending
        except BrokenOff as error:
            log.info("C-MOVE: %s", error)
            return not self._tally.remaining
        except AssociationEnded as error:
            if self._tally.remaining and ended is None:
                raise _Lost(f"destination: {error}") from error
        if ended is not None:
            raise ended.with_traceback(None)
        return True

    async def _send_on(self, destination: Association) -> None:
        originator = Originator(self._association.calling, self._command.message_id)
        priority = self._command.priority or PRIORITY_MEDIUM
        sender = Sender(destination, self._peer.behaviour, originator, priority)
        async with Supply(
            self._archive, plan(self._tally.open, self._level, sender.contexts, self._tally, ours=self._archive.ours)
        ) as supply:
            await run(supply, sender, self._tally, self._report)
        # Before the release, which a destination may take its time for.
        await self._tell(self.responses.final())

    async def _report(self) -> bool:
        return await self._tell(self.responses.pending(goes_on=True))

    async def _tell(self, response: Awaitable[_T]) -> _T:
        try:
            return await response
        except AssociationEnded as error:
            raise _RequestorLost(error) from error


class _Lost(Exception):
    """The destination takes no more."""


class _RequestorLost(Exception):
    """Nobody is there any more to whom progress could be told."""

    def __init__(self, ending: AssociationEnded) -> None:
        super().__init__(str(ending))
        self.ending = ending
