"""Storage commitment as its user (PS3.4 J.3): N-ACTION, and the N-EVENT-REPORT when it comes on the same association.
Else it comes on one that the other side opens, with us in the role of its SCU (`services.commitment`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from app.dicom.bare_data_set import LIMITS, json_of
from app.dicom.commitment import request
from app.dicom.status import STATUSES, Outcome, Progress, outcome_of
from app.errors import FileroomError
from dimse_bridge.association.abstract_syntaxes import STORAGE_COMMITMENT
from dimse_bridge.association.association import Association, AssociationEnded
from dimse_bridge.association.commands import N_EVENT_REPORT_RQ, action_rq, response
from dimse_bridge.association.messages import Message
from dimse_bridge.conversion.data_sets import encoding_of
from dimse_bridge.identifiers.answer import encode_whole
from dimse_bridge.user.remote import OperationFailed, Remote, accepted, for_service

INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model SOP Instance (PS3.4 J.3.5)."""
REQUEST: Final = 1
"""Action Type ID (PS3.4 Table J.3-1)."""
_SUCCESS = STATUSES[Outcome.STORED].dimse
_PROCESSING_FAILURE = STATUSES[Outcome.BUG].dimse
_NO_SUCH_INSTANCE = STATUSES[Outcome.NOT_FOUND].dimse
_INVALID_ARGUMENT = 0x0115

Take = Callable[[bytes], Awaitable[None]]
"""Takes the attributes of a report as DICOM JSON. Raises `FileroomError` when it cannot: the peer reports again."""


async def commit(remote: Remote, uid: str, references: Sequence[tuple[str, str]], take: Take, seconds: float) -> bool:
    """Asks for commitment of (SOP class, SOP instance) under the Transaction UID `uid`, and releases the association
    after `seconds`; whether the report came by then and was taken. Raises `AssociationEnded`, `OperationFailed` or
    `SOPClassRefused`."""
    async with remote.connect([for_service(STORAGE_COMMITMENT)]) as association:
        context = accepted(association, STORAGE_COMMITMENT)
        command = action_rq(1, STORAGE_COMMITMENT, INSTANCE, REQUEST)
        await association.send(context, command, encode_whole(request(references, uid), context.transfer_syntax))
        is_told = False
        while True:
            message = await association.receive(remote.patience)
            if message.command.is_response:
                break
            is_told = await answer_report(association, message, take) or is_told
        if message.command.status != Progress.DONE:
            raise OperationFailed(message.command)
        return is_told or await _await_report(association, take, seconds)


async def _await_report(association: Association, take: Take, seconds: float) -> bool:
    """Whether a report came within `seconds` and was taken. That the association ends is no failure: the peer reports
    on another one."""
    if not seconds:
        return False
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await answer_report(association, await association.receive(None), take):
                    return True
    except (TimeoutError, AssociationEnded):
        return False


async def answer_report(association: Association, message: Message, take: Take) -> bool:
    """Answers an N-EVENT-REPORT-RQ, on whatever association; whether it was taken."""
    command = message.command
    status, comment = _SUCCESS, ""
    if command.field != N_EVENT_REPORT_RQ or command.affected_sop_instance != INSTANCE or not message.has_data_set:
        await message.drain()
        status, comment = _NO_SUCH_INSTANCE, "no report of storage commitment"
    else:
        try:
            data = await message.data_set(LIMITS.part)
            await take(json_of(data, encoding_of(message.context.transfer_syntax)))
        except FileroomError as error:
            await message.drain()
            status, comment = _status(error), error.detail or "the report cannot be taken now"
    answer = response(command, status, comment=comment, event_type=command.event_type)
    await association.send(message.context, answer)
    return status == _SUCCESS


def _status(error: FileroomError) -> int:
    """Of N-EVENT-REPORT (PS3.7 10.1.1.1.8)."""
    outcome = outcome_of(error)
    if outcome is Outcome.NOT_FOUND:
        return _NO_SUCH_INSTANCE
    return _INVALID_ARGUMENT if outcome in (Outcome.BAD_REQUEST, Outcome.UNREADABLE) else _PROCESSING_FAILURE
