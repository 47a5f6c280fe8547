"""Storage Commitment Push Model (PS3.4 J.3): N-ACTION as a request of PS3.18 13. The archive works on it and keeps the
result; `dimse_bridge.reports` tells the peer. N-EVENT-REPORTs, which answer requests of ours, are the archive's too."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.dicom.bare_data_set import LIMITS, json_of
from app.dicom.commitment import FailureReason, read, result, transaction_of
from app.dicom.status import STATUSES, Outcome, outcome_of
from app.errors import FileroomError, Forbidden, LimitExceeded, Unavailable, Unreadable
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import response
from dimse_bridge.association.messages import Message
from dimse_bridge.conversion.data_sets import encoding_of
from dimse_bridge.reports import RESOURCE, Reports
from dimse_bridge.user.commit import INSTANCE, REQUEST, answer_report

log = logging.getLogger("fileroom.bridge.commitment")

_SUCCESS = STATUSES[Outcome.STORED].dimse
_IN_USE = STATUSES[Outcome.DUPLICATE_INSTANCE].reason
_PROCESSING_FAILURE = STATUSES[Outcome.BUG].dimse
_NO_SUCH_INSTANCE = STATUSES[Outcome.NOT_FOUND].dimse
_NOT_AUTHORIZED = STATUSES[Outcome.FORBIDDEN].dimse
_NO_SUCH_ACTION, _INVALID_ARGUMENT, _RESOURCE_LIMITATION = 0x0123, 0x0115, 0x0213
"""Statuses of N-ACTION (PS3.7 10.1.4.1.10)."""


class _Refusal(Exception):
    """A request that is answered with a status of its own."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status


def service(reports: Reports) -> Callable[[Association, Message, Archive], Awaitable[None]]:
    """The service that answers N-ACTION-RQs. It raises what ends the association."""

    async def serve(association: Association, message: Message, archive: Archive) -> None:
        command = message.command
        try:
            uid, told = await _request(association, message, archive)
        except (_Refusal, FileroomError) as error:
            await message.drain()
            status, comment = _status(error), str(error) or "the request cannot be processed"
            log.warning("no commitment: %s", comment, extra={"fields": {"status": f"{status:04X}"}})
            await association.send(message.context, response(command, status, comment=comment))
            return
        await association.send(message.context, response(command, _SUCCESS, action_type=command.action_type))
        reports.watch(association, message.context, archive, uid, told)

    return serve


def taking(reports: Reports) -> Callable[[Association, Message, Archive], Awaitable[None]]:
    """The service that answers N-EVENT-REPORT-RQs."""

    async def serve(association: Association, message: Message, archive: Archive) -> None:
        if await answer_report(association, message, reports.take):
            log.info("a peer reported on a commitment", extra={"fields": {"peer": association.calling}})
        else:
            log.warning("a report could not be taken", extra={"fields": {"peer": association.calling}})

    return serve


async def _request(association: Association, message: Message, archive: Archive) -> tuple[str, dict[str, Any] | None]:
    """Transaction UID; and the result, when the archive was not to be asked for it."""
    if "commitment" not in association.peer.may:
        raise Forbidden("this AE title may not ask for storage commitment")
    command = message.command
    if command.requested_sop_instance != INSTANCE:
        raise _Refusal(_NO_SUCH_INSTANCE, "not the well-known instance of the Push Model")
    if command.action_type != REQUEST:
        raise _Refusal(_NO_SUCH_ACTION, "the only action is to request storage commitment")
    if not message.has_data_set:
        raise _Refusal(_INVALID_ARGUMENT, "no instance is referenced")
    encoded = json_of(await message.data_set(LIMITS.part), encoding_of(message.context.transfer_syntax))
    content = orjson.loads(encoded)
    uid = transaction_of(content)
    if not uid:
        raise _Refusal(_INVALID_ARGUMENT, "Transaction UID (0008,1195) is missing or no UID")
    references = read(content)
    if references[0].study:
        raise _Refusal(_INVALID_ARGUMENT, "Referenced SOP Sequence (0008,1199) is missing")
    try:
        await archive.post(f"{RESOURCE}/{uid}", encoded)
    except Unreadable as error:
        if archive.ours and error.extra.get("reason") != f"{_IN_USE:04X}":
            raise
        failures = dict.fromkeys(range(len(references)), FailureReason.DUPLICATE_TRANSACTION)
        return uid, orjson.loads(result(references, failures))
    return uid, None


def _status(error: Exception) -> int:
    if isinstance(error, _Refusal):
        return error.status
    if isinstance(error, LimitExceeded | Unavailable):
        return _RESOURCE_LIMITATION
    outcome = outcome_of(error)
    if outcome is Outcome.FORBIDDEN:
        return _NOT_AUTHORIZED
    return _INVALID_ARGUMENT if outcome in (Outcome.BAD_REQUEST, Outcome.UNREADABLE) else _PROCESSING_FAILURE
