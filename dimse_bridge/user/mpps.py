"""Modality Performed Procedure Step as its user (PS3.4 F.7): N-CREATE and N-SET."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dimse_bridge.association.abstract_syntaxes import PERFORMED_STEP
from dimse_bridge.association.commands import Command, create_rq, set_rq
from dimse_bridge.identifiers.answer import encode_whole
from dimse_bridge.user.remote import Remote, accepted, for_service


async def create(remote: Remote, uid: str, attributes: Mapping[str, Any], character_set: str = "") -> Command:
    """Tells of a new step by its DICOM JSON attributes; the response. Raises `AssociationEnded`, `SOPClassRefused`."""
    return await _tell(remote, create_rq(1, PERFORMED_STEP, uid), attributes, character_set)


async def update(remote: Remote, uid: str, attributes: Mapping[str, Any], character_set: str = "") -> Command:
    """As `create`, of a change."""
    return await _tell(remote, set_rq(1, PERFORMED_STEP, uid), attributes, character_set)


async def _tell(remote: Remote, command: bytes, attributes: Mapping[str, Any], character_set: str) -> Command:
    async with remote.connect([for_service(PERFORMED_STEP)]) as association:
        context = accepted(association, PERFORMED_STEP)
        await association.send(context, command, encode_whole(attributes, context.transfer_syntax, (character_set,)))
        message = await association.receive(remote.patience)
        await message.drain()
        return message.command
