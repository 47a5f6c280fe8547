"""Verification: C-ECHO (PS3.4 A, PS3.7 9.3.5)."""

from __future__ import annotations

from app.dicom.status import STATUSES, Outcome
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import response
from dimse_bridge.association.messages import Message


async def serve(association: Association, message: Message, archive: Archive) -> None:
    """Answers that we are here."""
    await message.drain()
    await association.send(message.context, response(message.command, STATUSES[Outcome.STORED].dimse))
