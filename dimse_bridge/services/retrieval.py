"""What C-GET and C-MOVE share (PS3.4 C.4.2, C.4.3): reading the request, the responses while sub-operations go on, and
how it ends. Statuses come from `app.dicom.status`."""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import Any

from app.dicom.levels import Encoding
from app.dicom.peer import Behaviour
from app.dicom.status import STATUSES, Outcome, Progress, RetrieveStatus, outcome_of
from app.errors import FileroomError, Forbidden, IdentifierMismatch, Unavailable
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.association import Association, AssociationEnded, Message
from dimse_bridge.association.commands import response
from dimse_bridge.conversion.data_sets import encoding_of
from dimse_bridge.identifiers.keys import to_search
from dimse_bridge.identifiers.request import LIMITS, Identifier, read_identifier
from dimse_bridge.services.selection import Wanted, expand, expand_by_keys, read_selection, selects_by_keys
from dimse_bridge.services.suboperations import Tally

log = logging.getLogger("fileroom.bridge.retrieve")

_FAILED_UIDS = 0x00080058
_ALLOWED = frozenset(
    STATUSES[outcome].dimse for outcome in (Outcome.IDENTIFIER_MISMATCH, Outcome.FORBIDDEN, Outcome.SOP_CLASS_REFUSED)
)
"""What a retrieve may be refused with besides those of `RetrieveStatus` (PS3.4 Tables C.4-2 and C.4-3)."""


async def select(
    association: Association, message: Message, archive: Archive, service: str
) -> tuple[str, list[Wanted]]:
    """Query/Retrieve Level and instances of a request; raises exceptions of `app.errors`."""
    identifier = await _identifier(message)
    behaviour = association.peer.behaviour
    sop_class = message.command.affected_sop_class or ""
    if service not in association.peer.may:
        raise Forbidden(f"this AE title may not {service}")
    if sop_class != message.context.abstract_syntax:
        raise IdentifierMismatch("the presentation context is for another SOP class")
    if behaviour.retrieve_by_keys and identifier.level != "PATIENT" and selects_by_keys(identifier):
        return identifier.level, await _by_keys(archive, identifier, sop_class, behaviour)
    selection = read_selection(identifier, sop_class)
    return selection.level, await expand(archive, selection)


async def _identifier(message: Message) -> Identifier:
    if not message.has_data_set:
        raise IdentifierMismatch("the request has no identifier")
    return read_identifier(await message.data_set(LIMITS.part), message.context.transfer_syntax)


async def _by_keys(archive: Archive, identifier: Identifier, sop_class: str, behaviour: Behaviour) -> list[Wanted]:
    search = to_search(identifier, sop_class, behaviour, patients=False)
    parameters = [pair for pair in search.parameters if pair[0] != "includefield"]
    return await expand_by_keys(archive, identifier.level, search._replace(parameters=tuple(parameters)))


async def refuse(association: Association, message: Message, error: FileroomError) -> None:
    """Answers why nothing can be retrieved."""
    await message.drain()
    status = STATUSES[outcome_of(error)].dimse
    more: dict[str, Any] = {}
    if isinstance(error, IdentifierMismatch) and error.offending:
        more["offending_element"] = error.offending
    elif isinstance(error, Unavailable):
        status = RetrieveStatus.CANNOT_CALCULATE
    elif status not in _ALLOWED:
        status = RetrieveStatus.UNABLE_TO_PROCESS
    status = association.peer.behaviour.find_failure or status
    log.warning("nothing is retrieved: %s", error.detail, extra={"fields": {"status": f"{status:04X}"}})
    await association.send(message.context, response(message.command, status, comment=error.detail, **more))


class Responses:
    """The responses to one request while its sub-operations go on."""

    def __init__(self, association: Association, message: Message, tally: Tally) -> None:
        self._association = association
        self._message = message
        self._tally = tally
        self._behaviour = association.peer.behaviour
        self.is_cancelled = False
        self.answered = asyncio.Event()
        """The final response was sent, or nobody is there to take it."""

    async def pending(self, *, goes_on: bool) -> bool:
        """Tells how far it is; False when the sub-operations are to end: after a C-CANCEL, unless the peer's behaviour
        lets them go on, which is possible when it `goes_on` without the requestor (C-MOVE)."""
        if self.answered.is_set():
            return True
        try:
            if self._association.cancelled(self._message.command.message_id or 0):
                self.is_cancelled = True
                if not (goes_on and self._behaviour.suboperations_after_cancel):
                    return False
                await self._send(Progress.CANCELLED, b"")
                self.answered.set()
            else:
                await self._send(Progress.PENDING, b"")
        except AssociationEnded:
            if not (goes_on and self._behaviour.suboperations_after_cancel):
                raise
            self.answered.set()
        return True

    async def final(self, comment: str = "") -> None:
        """The last response: counters, and the instances that failed. It is sent once."""
        if self.answered.is_set():
            return
        try:
            await self._final(comment)
        finally:
            self.answered.set()

    async def _final(self, comment: str) -> None:
        tally = self._tally
        status = final_status(tally, is_cancelled=self.is_cancelled, tells_failures=self._behaviour.retrieve_failures)
        if status == Progress.DONE:
            await self._send(status, b"")
            return
        failed = failed_uids(tally.failed_uids, encoding_of(self._message.context.transfer_syntax))
        log.warning(
            "sub-operations: %d completed, %d failed, %d with warnings, %d not done",
            *(tally.completed, tally.failed, tally.warning, tally.remaining),
            extra={"fields": {"status": f"{status:04X}"}},
        )
        await self._send(status, failed, comment or tally.reason)

    async def _send(self, status: int, data_set: bytes, comment: str = "") -> None:
        command = response(
            self._message.command, status, has_data_set=bool(data_set), comment=comment, **self._tally.counters()
        )
        soon = status == Progress.PENDING
        await self._association.send(self._message.context, command, data_set or None, soon=soon)


def final_status(tally: Tally, *, is_cancelled: bool, tells_failures: bool) -> int:
    """How a retrieve ends (PS3.4 C.4.2.3.1)."""
    if is_cancelled and tally.remaining:
        return Progress.CANCELLED
    if not tally.failed or not tells_failures:
        return Progress.DONE
    return RetrieveStatus.WITH_FAILURES if tally.completed or tally.warning else RetrieveStatus.CANNOT_PERFORM


def failed_uids(uids: list[str], encoding: Encoding) -> bytes:
    """A data set of Failed SOP Instance UID List (0008,0058), or no bytes when there are none."""
    if not uids:
        return b""
    value = "\\".join(uids).encode("ascii")
    value += b"\0" * (len(value) % 2)
    group, element = divmod(_FAILED_UIDS, 0x10000)
    if encoding.explicit:
        return struct.pack(f"{encoding.order}HH2sH", group, element, b"UI", len(value)) + value
    return struct.pack(f"{encoding.order}HHI", group, element, len(value)) + value
