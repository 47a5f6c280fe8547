"""Modality Performed Procedure Step (PS3.4 F.7, F.8): N-CREATE, N-SET and N-GET as PS3.18 15. The archive holds the
states and says by which status of DIMSE a request is refused; before another server its HTTP status does."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from app.dicom.bare_data_set import LIMITS, json_of
from app.dicom.status import STATUSES, STEP_ENDED_ERROR_ID, Outcome, outcome_of
from app.dicom.uid import is_uid
from app.errors import FileroomError, Forbidden, InvalidAttribute, MissingAttribute, NotFound, Unreadable
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import N_CREATE_RQ, N_GET_RQ, N_SET_RQ, Command, response
from dimse_bridge.association.messages import Message
from dimse_bridge.conversion.data_sets import encoding_of
from dimse_bridge.identifiers.answer import encode_whole

log = logging.getLogger("fileroom.bridge.mpps")

RESOURCE = "/modality-performed-procedure-steps"
_SUCCESS = STATUSES[Outcome.STORED].dimse
_UNABLE = STATUSES[Outcome.UNREADABLE].dimse
_OPTIONAL_MISSING = 0x0001
"""N-GET: requested optional attributes are not supported (PS3.4 Table F.8.2-2)."""
_ENDED = STATUSES[Outcome.STEP_ENDED].dimse
_BY_REASON = frozenset(
    STATUSES[outcome].dimse
    for outcome in (
        Outcome.DUPLICATE_INSTANCE,
        Outcome.MISSING_ATTRIBUTE,
        Outcome.INVALID_ATTRIBUTE,
        Outcome.STEP_ENDED,
        Outcome.NOT_FOUND,
        Outcome.FORBIDDEN,
    )
)
"""What these requests are answered besides C000 (PS3.7 10.1.2 to 10.1.5, PS3.4 F.7.2.1.4)."""
_LISTED = frozenset(
    STATUSES[outcome].dimse
    for outcome in (Outcome.DUPLICATE_INSTANCE, Outcome.MISSING_ATTRIBUTE, Outcome.NOT_FOUND, Outcome.FORBIDDEN)
)
"""Those that a peer knows whose `performed_step_failure` stands for all others."""
_CONFLICTS: Mapping[int, int] = MappingProxyType(
    {N_CREATE_RQ: STATUSES[Outcome.DUPLICATE_INSTANCE].dimse, N_SET_RQ: _ENDED}
)
"""What 409 of another server means (PS3.18 15.4.3.1, 15.5.3.1)."""
_Operation = Callable[[Association, Message, Archive], Awaitable[tuple[bytes, bytes | None]]]


async def serve(association: Association, message: Message, archive: Archive) -> None:
    """Answers one request. Raises what ends the association."""
    command = message.command
    try:
        if "mpps" not in association.peer.may:
            raise Forbidden("this AE title may not tell or ask about performed procedure steps")
        encoded, data_set = await _OPERATIONS[command.field](association, message, archive)
    except FileroomError as error:
        await message.drain()
        await association.send(message.context, _refusal(association, command, error, ours=archive.ours))
        return
    await association.send(message.context, encoded, data_set)


async def _create(association: Association, message: Message, archive: Archive) -> tuple[bytes, None]:
    command = message.command
    uid = command.affected_sop_instance or f"2.25.{uuid.uuid4().int}"
    await archive.post(_resource(uid), await _attributes(message))
    log.info("a performed procedure step began", extra={"fields": {"service": "mpps"}})
    return response(command, _SUCCESS, affected_sop_instance=uid), None


async def _set(association: Association, message: Message, archive: Archive) -> tuple[bytes, None]:
    await archive.post(_resource(message.command.requested_sop_instance) + "?update", await _attributes(message))
    return response(message.command, _SUCCESS), None


async def _get(association: Association, message: Message, archive: Archive) -> tuple[bytes, bytes]:
    _, found = await archive.get_status(_resource(message.command.requested_sop_instance))
    step: dict[str, Any] = found[0] if isinstance(found, list) and found else found
    status = _SUCCESS
    wanted = message.command.attribute_identifiers
    if wanted and isinstance(step, dict):
        tags = {f"{tag:08X}" for tag in wanted}
        status = _SUCCESS if tags <= step.keys() else _OPTIONAL_MISSING
        step = {tag: element for tag, element in step.items() if tag in tags}
    data_set = encode_whole(step, message.context.transfer_syntax, (association.peer.character_set,))
    return response(message.command, status, has_data_set=True), data_set


_OPERATIONS: Mapping[int, _Operation] = MappingProxyType({N_CREATE_RQ: _create, N_SET_RQ: _set, N_GET_RQ: _get})
SERVICES = MappingProxyType(dict.fromkeys(_OPERATIONS, serve))


def _resource(uid: str | None) -> str:
    if not uid:
        raise NotFound("the request names no SOP Instance UID")
    if not is_uid(uid):
        raise InvalidAttribute("the SOP Instance UID is no UID")
    return f"{RESOURCE}/{uid}"


async def _attributes(message: Message) -> bytes:
    if not message.has_data_set:
        raise MissingAttribute("there are no attributes")
    return json_of(await message.data_set(LIMITS.part), encoding_of(message.context.transfer_syntax))


def _refusal(association: Association, command: Command, error: FileroomError, *, ours: bool) -> bytes:
    """The response to a request that failed; every one says why in its Error Comment (0000,0902)."""
    status = _status(command, error, ours)
    more: dict[str, Any] = {}
    if status == _ENDED:
        more["error_id"] = STEP_ENDED_ERROR_ID
    if instead := association.peer.behaviour.performed_step_failure:
        status = status if status in _LISTED else instead
    attributes = error.extra.get("attributes")
    if isinstance(attributes, list) and attributes:
        more["attribute_identifiers"] = tuple(int(str(tag), 16) for tag in attributes)
    comment = error.detail or "the request cannot be processed"
    log.warning("a performed procedure step was refused: %s", comment, extra={"fields": {"status": f"{status:04X}"}})
    return response(command, status, comment=comment, **more)


def _status(command: Command, error: FileroomError, ours: bool) -> int:
    reason = error.extra.get("reason")
    status = STATUSES[outcome_of(error)].dimse
    if isinstance(reason, str):
        status = int(reason, 16)
    elif not ours and isinstance(error, Unreadable):
        status = _CONFLICTS.get(command.field, status)
    return status if status in _BY_REASON else _UNABLE
