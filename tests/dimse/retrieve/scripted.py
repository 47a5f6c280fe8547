"""A destination that does what a test tells it, and a requestor that goes step by step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from app.dicom.peer import Peer
from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.associate_pdus import AssociateRequest
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import Command, response
from dimse_bridge.association.negotiation import Acceptance, Caller, LocalAE, Rejection, negotiate


@dataclass
class Destination:
    """What came, and what is answered to the next C-STOREs (0000 when nothing is told)."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    received: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """SOP Instance UID → transfer syntax and data set."""
    associations: int = 0
    hook: Callable[[Association, int], None] | None = None
    """Called with the number of instances that came, before the answer."""

    @property
    def peer(self) -> Peer:
        return Peer("DEST", "127.0.0.1", self.port)


@asynccontextmanager
async def destination(*, syntaxes: tuple[str, ...] = (), classes: tuple[str, ...] = ()) -> AsyncIterator[Destination]:
    """One that listens; it takes only these transfer syntaxes and classes, or all."""
    it = Destination()

    async def judge(request: AssociateRequest, caller: Caller) -> Acceptance | Rejection:
        if not syntaxes and not classes:
            return await accept_all(request, caller)
        kept = tuple(
            one
            for one in request.contexts
            if (not classes or one.abstract_syntax in classes)
            and (not syntaxes or set(one.transfer_syntaxes) <= set(syntaxes))
        )
        return negotiate(replace(request, contexts=kept), LocalAE(request.called), Peer(request.calling))

    async def serve(association: Association) -> None:
        it.associations += 1
        while True:
            message = await association.receive()
            command = message.command
            data = await message.data_set(1 << 31)
            it.commands.append(command)
            if it.hook is not None:
                it.hook(association, len(it.commands))
            status = it.statuses.pop(0) if it.statuses else 0
            if status == 0:
                it.received[command.affected_sop_instance or ""] = (message.context.transfer_syntax, data)
            await association.send(message.context, response(command, status))

    listener = await serve_associations("127.0.0.1", 0, judge, serve)
    async with listener:
        it.port = listener.port
        yield it
