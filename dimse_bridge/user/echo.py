"""C-ECHO as its user (PS3.4 A)."""

from __future__ import annotations

from dimse_bridge.association.abstract_syntaxes import VERIFICATION
from dimse_bridge.association.commands import echo_rq
from dimse_bridge.user.remote import OperationFailed, Remote, accepted, for_service


async def echo(remote: Remote) -> None:
    """Returns when the other side has answered well. Raises `AssociationEnded`, `OperationFailed` or
    `SOPClassRefused`."""
    async with remote.connect([for_service(VERIFICATION)]) as association:
        context = accepted(association, VERIFICATION)
        await association.send(context, echo_rq(1))
        command = (await association.receive(remote.patience)).command
    if command.status:
        raise OperationFailed(command)
