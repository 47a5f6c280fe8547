"""C-GET as its user (PS3.4 C.4.3): what comes goes to a `Receiver`, such as a folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from app.dicom.peer import Behaviour
from app.dicom.status import STATUSES, Outcome
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from app.dicom.uid import is_uid
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_GET
from dimse_bridge.association.association import Association, Message
from dimse_bridge.association.commands import C_STORE_RQ, get_rq, response
from dimse_bridge.association.context import Proposed
from dimse_bridge.identifiers.request import Key
from dimse_bridge.services.file_meta import file_meta
from dimse_bridge.services.storage_contexts import MOST_CONTEXTS, UNCOMPRESSED, USUAL, allowed_by
from dimse_bridge.user.identifiers import encode_identifier
from dimse_bridge.user.move import read_response
from dimse_bridge.user.remote import Remote, Retrieved, accepted, for_service
from dimse_bridge.user.storage_classes import STORAGE_CLASSES

Receiver = Callable[[Association, Message], Awaitable[int]]
"""Takes the data set of a C-STORE-RQ and gives its status."""


async def get(
    remote: Remote,
    level: str,
    keys: Iterable[Key],
    receiver: Receiver,
    *,
    model: str = STUDY_ROOT_GET,
    classes: Sequence[str] = STORAGE_CLASSES,
) -> AsyncGenerator[Retrieved, None]:
    """Retrieves over the same association: the responses as they come, the last one is final. `classes` are the SOP
    classes that may come; of them, and of the transfer syntaxes, those are proposed that the behaviour towards the peer
    allows. Raises `AssociationEnded` or `SOPClassRefused`."""
    async with remote.connect([for_service(model), *_storage(classes, remote.behaviour)]) as association:
        context = accepted(association, model)
        identifier = encode_identifier(keys, level, context.transfer_syntax)
        await association.send(context, get_rq(1, model), identifier)
        while True:
            message = await association.receive(remote.patience)
            if message.command.field == C_STORE_RQ:
                status = await receiver(association, message)
                await message.drain()
                await association.send(message.context, response(message.command, status))
                continue
            progress = await read_response(message)
            yield progress
            if progress.is_final:
                return


def _storage(classes: Sequence[str], behaviour: Behaviour) -> list[Proposed]:
    """As many contexts for each class as there is room for: one for each transfer syntax, else one for the uncompressed
    ones and one for the others, else one for all."""
    room = MOST_CONTEXTS - 1
    allowed = allowed_by(behaviour) or (lambda sop_class, syntax: True)
    classes = [one for one in classes if behaviour.knows(one)]
    syntaxes = tuple(uid for uid in TRANSFER_SYNTAXES if uid in (*USUAL, *behaviour.transfer_syntaxes))
    compressed = tuple(uid for uid in syntaxes if uid not in UNCOMPRESSED)
    for groups in ([(uid,) for uid in syntaxes], [UNCOMPRESSED, compressed], [syntaxes]):
        found = [(one, tuple([uid for uid in group if allowed(one, uid)])) for one in classes for group in groups]
        found = [(one, group) for one, group in found if group]
        if len(found) <= room:
            break
    return [Proposed(one, group, scu_role=False, scp_role=True) for one, group in found[:room]]


class Folder:
    """Writes each instance as `<SOP Instance UID>.dcm`; a file is there only when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0
        self.bytes = 0

    async def __call__(self, association: Association, message: Message) -> int:
        """Takes one instance."""
        command = message.command
        sop_class, sop = command.affected_sop_class or "", command.affected_sop_instance or ""
        if not is_uid(sop) or not is_uid(sop_class):
            return STATUSES[Outcome.UNREADABLE].dimse
        meta = file_meta(sop_class, sop, message.context.transfer_syntax, association.called)
        try:
            self.bytes += await self._write(message, sop, meta)
        except OSError:
            return STATUSES[Outcome.STORAGE_FULL].dimse
        self.count += 1
        return STATUSES[Outcome.STORED].dimse

    async def _write(self, message: Message, sop: str, meta: bytes) -> int:
        target = self._path / f"{sop}.dcm"
        draft = target.with_suffix(".part")
        length = len(meta)
        try:
            with await asyncio.to_thread(draft.open, "wb") as file:
                file.write(meta)
                async for fragment in message.fragments():
                    length += len(fragment)
                    await asyncio.to_thread(file.write, fragment)
            await asyncio.to_thread(os.replace, draft, target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return length
