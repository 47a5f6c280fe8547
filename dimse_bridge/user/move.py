"""C-MOVE as its user (PS3.4 C.4.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_MOVE
from dimse_bridge.association.association import Message
from dimse_bridge.association.commands import move_rq
from dimse_bridge.identifiers.request import LIMITS, Key, read_identifier
from dimse_bridge.user.identifiers import encode_identifier
from dimse_bridge.user.remote import Remote, Retrieved, accepted, for_service

_FAILED_UIDS = 0x00080058


async def move(
    remote: Remote, level: str, keys: Iterable[Key], destination: str, *, model: str = STUDY_ROOT_MOVE
) -> AsyncGenerator[Retrieved, None]:
    """Asks the other side to send instances to the AE `destination`: its responses as they come, the last one is final.
    Raises `AssociationEnded` or `SOPClassRefused`."""
    async with remote.connect([for_service(model)]) as association:
        context = accepted(association, model)
        identifier = encode_identifier(keys, level, context.transfer_syntax)
        await association.send(context, move_rq(1, model, destination), identifier)
        while True:
            response = await read_response(await association.receive(remote.patience))
            yield response
            if response.is_final:
                return


async def read_response(message: Message) -> Retrieved:
    """A response to C-MOVE or C-GET with the list of what failed."""
    failed: list[str] = []
    if message.has_data_set:
        identifier = read_identifier(await message.data_set(LIMITS.part), message.context.transfer_syntax)
        failed = [uid for uid in identifier.text(_FAILED_UIDS).split("\\") if uid]
    return Retrieved.of(message.command, failed)
