"""What the query services have in common (PS3.4 C.4.1, K.4.1; PS3.7 9.1.2). Laws:

Answers leave while they come, page by page, and memory does not depend on their number. What cannot be told whole ends
with a failure, never with a short success. C-CANCEL is obeyed between answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.dicom.status import STATUSES, Outcome, Progress, outcome_of
from app.errors import FileroomError, Forbidden, IdentifierMismatch, SOPClassRefused
from dimse_bridge.association.association import Association, Message
from dimse_bridge.association.commands import response
from dimse_bridge.identifiers.request import LIMITS, Identifier, read_identifier

log = logging.getLogger("fileroom.bridge.find")

_BATCH = 64
"""Answers between two looks whether the peer cancelled."""
_FAILED = STATUSES[Outcome.UNREADABLE].dimse
_ALLOWED = frozenset(
    STATUSES[outcome].dimse
    for outcome in (Outcome.OVERLOADED, Outcome.IDENTIFIER_MISMATCH, Outcome.FORBIDDEN, Outcome.SOP_CLASS_REFUSED)
)
"""What a C-FIND may fail with besides Cxxx (PS3.4 Tables C.4-1 and K.4-1, PS3.7 9.1.2.1.5)."""
_UNABLE = range(0xC000, 0xD000)


async def read(association: Association, message: Message, right: str) -> Identifier:
    """The identifier of a C-FIND that needs this right of the peer; raises what refuses it."""
    if right not in association.peer.may:
        raise Forbidden("this AE title may not query")
    if message.command.affected_sop_class not in (None, message.context.abstract_syntax):
        raise SOPClassRefused("the presentation context is for another SOP class")
    if not message.has_data_set:
        raise IdentifierMismatch("there is no identifier")
    return read_identifier(await message.data_set(LIMITS.part), message.context.transfer_syntax)


async def fail(association: Association, message: Message, error: FileroomError) -> None:
    """The final response of a C-FIND that failed."""
    status = STATUSES[outcome_of(error)].dimse
    if status not in _ALLOWED and status not in _UNABLE:
        status = _FAILED
    status = association.peer.behaviour.find_failure or status
    offending = error.offending if isinstance(error, IdentifierMismatch) and error.offending else None
    log.warning("C-FIND: %s", error.detail, extra={"fields": {"status": f"{status:04X}"}})
    encoded = response(message.command, status, comment=error.detail, offending_element=offending)
    await association.send(message.context, encoded)


class Answering:
    """The responses to one C-FIND. `warns`: some keys are not supported, so answers are FF01 where the peer takes
    that."""

    def __init__(self, association: Association, message: Message, *, warns: bool) -> None:
        self._association = association
        self._message = message
        warned = warns and association.peer.behaviour.pending_warning
        self._pending = Progress.PENDING_WITHOUT_OPTIONAL_KEYS if warned else Progress.PENDING
        self.answers = 0
        self.status = Progress.PENDING

    async def stream(self, pages: AsyncGenerator[list[bytes], None]) -> None:
        """Sends pages of encoded identifiers and the final response. A batch stays until more is known, so that the
        last one leaves together with the final response."""
        batch: list[bytes] = []
        async with aclosing(_ahead(pages)) as coming:
            async for page in coming:
                batch += page
                while len(batch) > _BATCH:
                    await self.send(batch[:_BATCH])
                    del batch[:_BATCH]
                    await asyncio.sleep(0)
                    if self._is_cancelled():
                        await self.send([], Progress.CANCELLED)
                        return
        await self.send(batch, Progress.CANCELLED if self._is_cancelled() else Progress.DONE)

    def _is_cancelled(self) -> bool:
        message_id = self._message.command.message_id
        obeys = self._association.peer.behaviour.find_cancel
        return obeys and message_id is not None and self._association.cancelled(message_id)

    async def send(self, batch: list[bytes], last: Progress | None = None) -> None:
        """Pending responses with these identifiers, and the final response when `last` is given, in one write."""
        command = self._message.command
        messages: list[tuple[bytes, bytes | None]] = []
        if batch:
            pending = response(command, self._pending, has_data_set=True)
            messages += [(pending, identifier) for identifier in batch]
            self.answers += len(batch)
        if last is not None:
            messages.append((response(command, last), None))
            self.status = last
        await self._association.send_all(self._message.context, messages)


async def _ahead(pages: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[list[bytes], None]:
    """The same pages, the next one being fetched while one is sent."""

    async def fetch() -> list[bytes] | None:
        return await anext(pages, None)

    coming = asyncio.create_task(fetch())
    try:
        while (page := await coming) is not None:
            coming = asyncio.create_task(fetch())
            yield page
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await pages.aclose()
