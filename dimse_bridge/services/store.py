"""Storage: C-STORE (PS3.4 B, PS3.7 9.3.1) as Store (PS3.18 10.5). Its laws:

Success is answered only when the archive's receipt names the instance. What a modality aborts reaches the archive
without its end, so nothing of it is stored. After an early refusal the rest of the object is passed over before the
answer. What cannot be stored now is A700 and kept nowhere: the modality has its own queue."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from types import MappingProxyType

from app.dicom.octets import Piece
from app.dicom.peer import Behaviour
from app.dicom.status import STATUSES, Outcome, outcome_of
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from app.dicom.uid import is_uid
from app.errors import ArchiveUnreachable, DataSetMismatch, FileroomError, Forbidden, SOPClassRefused, Unreadable
from dimse_bridge.archive_client.archive import Archive, Receipt
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import Command, response
from dimse_bridge.association.messages import Message
from dimse_bridge.conversion.data_sets import DataSetConversion
from dimse_bridge.services.data_set_head import HEAD, identity_of
from dimse_bridge.services.file_meta import file_meta

log = logging.getLogger("fileroom.bridge.store")

AT_ONCE = 1 << 20
"""Data sets up to this many bytes are gathered and sent with their length, so that they can be sent once more; longer
ones are streamed while they come."""
_NOT_OF_PS3_18 = frozenset((IMPLICIT_LE, EXPLICIT_BE))
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_WARNINGS = range(0xB000, 0xC000)
_OF_REASON = MappingProxyType({row.reason: row.dimse for row in [*STATUSES.values()][::-1] if row.reason is not None})
"""Of rows with the same reason the first: those of stored instances stand before those of other services."""
_SUCCESS = STATUSES[Outcome.STORED].dimse
_FAULT = STATUSES[Outcome.BUG].dimse


async def serve(association: Association, message: Message, archive: Archive) -> None:
    """Stores one data set and answers what became of it. Raises what ends the association."""
    status, comment = await take(association, message, archive, association.calling)
    await association.send(message.context, response(message.command, status, comment=comment))


async def take(association: Association, message: Message, archive: Archive, sender: str) -> tuple[int, str]:
    """Stores the data set of a C-STORE-RQ that the AE `sender` sent: the status, and an Error Comment, to answer."""
    try:
        receipt = await _store(association, message, archive, sender)
        status, comment = _status(receipt), receipt.comment
    except FileroomError as error:
        await message.drain()
        status, comment = STATUSES[outcome_of(error)].dimse, error.detail
    status = _as_expected(status, association.peer.behaviour)
    if status == _SUCCESS:
        comment = ""
    else:
        log.warning("C-STORE: %s", comment or "stored with a warning", extra={"fields": {"status": f"{status:04X}"}})
    return status, comment


def _as_expected(status: int, behaviour: Behaviour) -> int:
    """The status as the peer is used to it. A failure stays one."""
    if status in _WARNINGS:
        return status if behaviour.store_warnings else _SUCCESS
    if not behaviour.store_reasons and _is_reason(status):
        return _FAULT
    return behaviour.store_out_of_resources if status in _OUT_OF_RESOURCES else status


def _is_reason(status: int) -> bool:
    """Whether it is a failure of PS3.4 Table B.2-1: A7xx, A9xx or Cxxx."""
    return status in _OUT_OF_RESOURCES or 0xA900 <= status < 0xB000 or 0xC000 <= status < 0xD000


async def _store(association: Association, message: Message, archive: Archive, sender: str) -> Receipt:
    command, syntax = message.command, message.context.transfer_syntax
    sop_class, sop_instance = _check(association, message)
    gathered: list[Piece] = [*await message.gather(AT_ONCE)]
    _compare(gathered, syntax, sop_class, sop_instance)
    conversion = None
    if not archive.ours and syntax in _NOT_OF_PS3_18:
        conversion, syntax = DataSetConversion(syntax, EXPLICIT_LE), EXPLICIT_LE
    meta = file_meta(sop_class, sop_instance, syntax, sender)
    if sum(map(len, gathered)) > AT_ONCE:
        receipts = await archive.store_stream(_file(meta, gathered, message.fragments(), conversion))
    else:
        if conversion is not None:
            gathered = [out for piece in gathered for out in conversion.feed(piece)] + conversion.finish()
        receipts = await archive.store((meta, *gathered))
    return _of_instance(receipts, command, sop_instance)


def _check(association: Association, message: Message) -> tuple[str, str]:
    """The SOP Class and Instance UID that the command names."""
    command = message.command
    sop_class, sop_instance = command.affected_sop_class or "", command.affected_sop_instance or ""
    if "store" not in association.peer.may:
        raise Forbidden("this AE title may not store")
    if not is_uid(sop_class) or not is_uid(sop_instance):
        raise Unreadable("an Affected SOP Class or Instance UID is no UID")
    if sop_class != message.context.abstract_syntax:
        raise SOPClassRefused("the presentation context is for another SOP class")
    if not message.has_data_set:
        raise Unreadable("there is no data set")
    return sop_class, sop_instance


def _compare(gathered: Sequence[Piece], syntax: str, sop_class: str, sop_instance: str) -> None:
    """Raises `DataSetMismatch` when the data set says that it is something else."""
    head = bytes(gathered[0][:HEAD]) if gathered else b""
    if len(head) < HEAD and len(gathered) > 1:
        head = b"".join(gathered)[:HEAD]
    found_class, found_instance = identity_of(head, syntax)
    if found_instance not in ("", sop_instance):
        raise DataSetMismatch("the data set is another SOP instance than the command says")
    if found_class not in ("", sop_class):
        raise DataSetMismatch("the data set is of another SOP class than the command says")


async def _file(
    meta: bytes, gathered: list[Piece], fragments: AsyncIterator[bytes], conversion: DataSetConversion | None
) -> AsyncIterator[Piece]:
    """The file while its data set comes."""
    yield meta
    while gathered:
        piece = gathered.pop(0)
        for out in conversion.feed(piece) if conversion else (piece,):
            yield out
    async for fragment in fragments:
        for out in conversion.feed(fragment) if conversion else (fragment,):
            yield out
    for out in conversion.finish() if conversion else ():
        yield out


def _of_instance(receipts: Sequence[Receipt], command: Command, sop_instance: str) -> Receipt:
    """The receipt that names the instance. A failure without a name is of the one instance that was sent."""
    for receipt in receipts:
        named = receipt.sop_instance.strip(" \0")
        if named == sop_instance or (not named and not receipt.stored):
            return receipt
    if any(receipt.stored for receipt in receipts):
        raise DataSetMismatch("the data set is another SOP instance than the command says")
    raise ArchiveUnreachable("the archive does not say what became of the instance")


def _status(receipt: Receipt) -> int:
    """The DIMSE status of what the archive says of an instance (PS3.4 Table B.2-1)."""
    reason = receipt.reason
    if receipt.stored:
        return _OF_REASON.get(reason, reason if reason in _WARNINGS else _SUCCESS)
    known = _OF_REASON.get(reason)
    if known is not None and known not in _WARNINGS:
        return known
    return reason if _is_reason(reason) else _FAULT
