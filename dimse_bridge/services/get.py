"""C-GET (PS3.4 C.4.3, PS3.7 9.3.3): instances go back over the association on which they were asked for."""

from __future__ import annotations

from app.errors import FileroomError
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.association import Association, Message
from dimse_bridge.association.commands import PRIORITY_MEDIUM
from dimse_bridge.services.retrieval import Responses, refuse, select
from dimse_bridge.services.suboperations import Sender, Tally, plan, run
from dimse_bridge.services.supply import Supply

_QUERY_RETRIEVE = "1.2.840.10008.5.1.4.1.2."
_NO_ROLE = "no role selection proposed"


async def serve(association: Association, message: Message, archive: Archive) -> None:
    """Answers one C-GET-RQ. Raises what ends the association."""
    try:
        level, wanted = await select(association, message, archive, "get")
    except FileroomError as error:
        await refuse(association, message, error)
        return
    tally = Tally(wanted)
    responses = Responses(association, message, tally)
    priority = message.command.priority or PRIORITY_MEDIUM
    sender = Sender(association, association.peer.behaviour, priority=priority)

    async def report() -> bool:
        return await responses.pending(goes_on=False)

    async with Supply(archive, plan(wanted, level, sender.contexts, tally, ours=archive.ours)) as supply:
        await run(supply, sender, tally, report)
    await responses.final(_NO_ROLE if wanted and not _may_send(association) else "")


def _may_send(association: Association) -> bool:
    """Whether the requestor proposed to be the SCP of any storage class (PS3.7 D.3.3.4)."""
    return any(one.scu for one in association.contexts.values() if not one.abstract_syntax.startswith(_QUERY_RETRIEVE))
