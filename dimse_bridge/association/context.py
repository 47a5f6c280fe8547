"""What an association is made of: presentation contexts, roles and time limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Context:
    """One accepted presentation context (PS3.8 7.1.1.13). The roles are ours (PS3.7 D.3.3.4)."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    scu: bool = False
    scp: bool = True


@dataclass(frozen=True, slots=True)
class Proposed:
    """One presentation context that we propose. The roles are ours; the usual ones need no role selection item."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool = True
    scp_role: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long, in seconds, we wait for a peer; None waits for ever.

    `artim` is PS3.8's timer for the request on a new connection and for its closing; `acse` waits for the answer to
    our A-ASSOCIATE or A-RELEASE; `dimse` for the next bytes inside a message, or for room to send; `idle` for the next
    message; `response` for one to a sub-operation of ours; `connect` for TCP and TLS."""

    artim: float = 10.0
    acse: float | None = 30.0
    dimse: float | None = 60.0
    idle: float | None = 60.0
    response: float | None = None
    connect: float = 30.0


DEFAULT_TIMEOUTS = Timeouts()
DEFAULT_MAX_LENGTH = 131072
"""Longest PDU that we announce to receive (PS3.8 D.1)."""
