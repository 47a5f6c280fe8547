"""A registered peer as we call it, and what its failures are called over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass

from app.dicom.peer import Peer
from app.errors import LimitExceeded, PeerFailed, PeerSilent, SOPClassRefused, Unreadable
from dimse_bridge.association.association import Association
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.endings import Aborted, AssociationEnded, Rejected, Unreachable
from dimse_bridge.user.remote import OperationFailed, Remote

Open = Callable[[Peer, str, Sequence[Proposed]], AbstractAsyncContextManager[Association]]
"""Opens an association with a peer in the name of one of our AE titles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called(Remote):
    """A peer of the registry, called in the name of our main AE title by the bridge's settings."""

    peer: Peer
    open: Open

    def connect(self, contexts: Sequence[Proposed]) -> AbstractAsyncContextManager[Association]:
        """An association, released at the end. Raises `AssociationEnded`."""
        return self.open(self.peer, self.ours.title, contexts)


@contextmanager
def told() -> Iterator[None]:
    """Turns what a peer does wrong in the block into `PeerFailed` or `PeerSilent`."""
    try:
        yield
    except AssociationEnded as ending:
        raise failure_of(ending) from ending
    except OperationFailed as error:
        raise failed(error.status, error.comment) from error
    except SOPClassRefused as error:
        raise PeerFailed("the peer does not offer this service") from error
    except (Unreadable, LimitExceeded) as error:
        raise PeerFailed(f"the peer's answer cannot be read: {error.detail}") from error


def failed(status: int, comment: str) -> PeerFailed:
    """The failure that a DIMSE status says. The comment is for the user only: it may name a patient."""
    extra: dict[str, object] = {"dimse_status": f"{status:04X}"}
    if comment:
        extra["comment"] = "".join(one if one.isprintable() else " " for one in comment)
    return PeerFailed(f"the peer answered {status:04X}H", extra=extra)


def failure_of(ending: AssociationEnded) -> PeerFailed | PeerSilent:
    """What the end of an association means to whoever waits for the peer's answer."""
    if isinstance(ending, Aborted) and ending.is_silence:
        return PeerSilent("the peer did not answer in time")
    if isinstance(ending, Rejected):
        extra = {"result": ending.result, "source": ending.source, "reason": ending.reason}
        return PeerFailed("the peer rejected the association", extra=extra)
    if isinstance(ending, Unreachable):
        return PeerFailed("the peer cannot be reached", extra={"unreachable": True})
    return PeerFailed("the association ended before the answer was complete")
