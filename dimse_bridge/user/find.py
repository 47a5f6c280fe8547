"""C-FIND as its user (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from app.dicom.limits import MIB, Limits
from app.dicom.status import Progress
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_FIND
from dimse_bridge.association.commands import find_rq
from dimse_bridge.identifiers.repertoires import UTF_8
from dimse_bridge.identifiers.request import Identifier, Key, read_identifier
from dimse_bridge.user.identifiers import encode_identifier
from dimse_bridge.user.remote import PENDING, OperationFailed, Remote, accepted, for_service

_MODALITIES_IN_STUDY = 0x00080061
_LIMITS = Limits(sequence_depth=16, elements=10_000, inflated=4 * MIB, part=4 * MIB)


async def find(
    remote: Remote,
    level: str,
    keys: Iterable[Key],
    *,
    model: str = STUDY_ROOT_FIND,
    character_set: str = UTF_8,
) -> AsyncGenerator[Identifier, None]:
    """The matches as they come, with all attributes that the other side gave. Only those of other modalities than asked
    for are left out, since some products do not match Modalities in Study. Raises `AssociationEnded`,
    `OperationFailed`, `SOPClassRefused`, or `Refused` for what cannot be read."""
    asked = tuple(keys)
    modalities = {value for key in asked if key.tag == _MODALITIES_IN_STUDY for value in key.text.split("\\") if value}
    async with remote.connect([for_service(model)]) as association:
        context = accepted(association, model)
        identifier = encode_identifier(asked, level, context.transfer_syntax, character_set)
        await association.send(context, find_rq(1, model), identifier)
        while True:
            message = await association.receive(remote.patience)
            status = message.command.status
            if status not in PENDING:
                break
            match = read_identifier(await message.data_set(_LIMITS.part), context.transfer_syntax, _LIMITS)
            if _is_of(match, modalities):
                yield match
    is_ignored = status == Progress.CANCELLED and remote.behaviour.ignore_statuses
    if status != Progress.DONE and not is_ignored:
        raise OperationFailed(message.command)


def _is_of(match: Identifier, modalities: set[str]) -> bool:
    """Whether a match has one of the modalities; wildcards, and answers that do not tell, count as such."""
    found = set(match.text(_MODALITIES_IN_STUDY).split("\\")) - {""}
    return not modalities or not found or bool(found & modalities) or any(set("*?") & set(one) for one in modalities)
