"""The other side: where it is, how we call it, and what it answers when it cannot do what it was asked."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from app.dicom.peer import STANDARD, Behaviour, Peer
from app.dicom.status import Progress
from app.errors import FileroomError, SOPClassRefused
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import Command
from dimse_bridge.association.context import Context, Proposed, Timeouts
from dimse_bridge.association.negotiation import LocalAE
from dimse_bridge.association.requestor import connect
from dimse_bridge.services.storage_contexts import UNCOMPRESSED


@dataclass(frozen=True, slots=True)
class Remote:
    """An AE to call; `host` is a name or an address of IPv4 or IPv6. `patience` are the seconds for each response,
    None: any time."""

    ae_title: str
    host: str
    port: int
    ours: LocalAE = field(default=LocalAE("FILEROOM"))
    tls: ssl.SSLContext | None = None
    timeouts: Timeouts = field(default=Timeouts())
    patience: float | None = None
    behaviour: Behaviour = STANDARD

    def connect(self, contexts: Sequence[Proposed]) -> AbstractAsyncContextManager[Association]:
        """An association, released at the end. Raises `AssociationEnded`."""
        return connect(
            self.host,
            self.port,
            calling=self.ours,
            called=self.ae_title,
            contexts=contexts,
            tls=self.tls,
            timeouts=replace(self.timeouts, response=self.patience),
            max_length=self.behaviour.max_pdu,
            peer=Peer(self.ae_title, self.host, self.port, behaviour=self.behaviour),
        )


class OperationFailed(FileroomError):
    """The other side answered a status that is no success."""

    def __init__(self, command: Command) -> None:
        self.status = command.status or 0
        self.comment = command.error_comment or ""
        comment = f": {command.error_comment}" if command.error_comment else ""
        super().__init__(f"the peer answered {self.status:04X}H{comment}")


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A response to C-GET or C-MOVE: how many sub-operations are done so far; `failed_uids` are told at the end."""

    status: int
    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    comment: str = ""
    failed_uids: tuple[str, ...] = ()

    @classmethod
    def of(cls, command: Command, failed_uids: Iterable[str] = ()) -> Retrieved:
        """The response that `command` is; counters that it leaves out are 0."""
        return cls(
            command.status or 0,
            command.remaining or 0,
            command.completed or 0,
            command.failed or 0,
            command.warning or 0,
            command.error_comment or "",
            tuple(failed_uids),
        )

    @property
    def is_final(self) -> bool:
        """Whether no more responses follow."""
        return self.status not in PENDING

    @property
    def succeeded(self) -> bool:
        """Whether everything was retrieved."""
        return self.status == Progress.DONE and not self.failed


PENDING = frozenset({Progress.PENDING, Progress.PENDING_WITHOUT_OPTIONAL_KEYS})


def for_service(abstract_syntax: str) -> Proposed:
    """The context of a service whose messages are small."""
    return Proposed(abstract_syntax, UNCOMPRESSED)


def accepted(association: Association, abstract_syntax: str) -> Context:
    """The accepted context of a service; raises `SOPClassRefused`."""
    for context in association.contexts.values():
        if context.abstract_syntax == abstract_syntax and context.scu:
            return context
    raise SOPClassRefused("the peer does not offer this service")
