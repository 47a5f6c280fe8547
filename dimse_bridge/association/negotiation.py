"""What we answer to an A-ASSOCIATE-RQ: the checks of PS3.8 7.1.1.9, then presentation contexts and roles (PS3.7 D.3).

User identity (PS3.7 D.3.3.7): there are no accounts. A request that asks for a positive response is rejected, since
it could get none; any other identity is passed over, as an acceptor without support for it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from app.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.dicom.peer import Peer
from app.dicom.storage_classes import is_storage
from app.dicom.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, TRANSFER_SYNTAXES
from app.dicom.uid import is_uid
from dimse_bridge.association.abstract_syntaxes import RIGHTS, STORAGE_COMMITMENT, is_non_image
from dimse_bridge.association.associate_pdus import (
    APPLICATION_CONTEXT,
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    UserInformation,
)
from dimse_bridge.association.context import DEFAULT_MAX_LENGTH, Context

ACCEPTED: Final = 0
USER_REJECTION: Final = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4
"""Results of a context (PS3.8 Table 9-18)."""
REASONS: Final = {
    USER_REJECTION: "right missing",
    ABSTRACT_SYNTAX_NOT_SUPPORTED: "abstract syntax unknown",
    TRANSFER_SYNTAXES_NOT_SUPPORTED: "transfer syntaxes unknown",
}

_UNCOMPRESSED = frozenset({IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE})
_LITTLE_ENDIAN = frozenset({IMPLICIT_LE, EXPLICIT_LE})
_ALL = frozenset(TRANSFER_SYNTAXES)
_OF_GET = _ALL - {DEFLATED_LE}
"""Some propose C-GET in whatever they take instances in; its identifiers are then in Explicit VR Little Endian."""


@dataclass(frozen=True, slots=True)
class LocalAE:
    """One AE of ours: what it says of itself, and the longest PDUs that it takes and sends."""

    title: str
    max_length: int = DEFAULT_MAX_LENGTH
    max_send_length: int = DEFAULT_MAX_LENGTH
    implementation_class: str = IMPLEMENTATION_CLASS_UID
    implementation_version: str = IMPLEMENTATION_VERSION_NAME


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from: numeric address, whether by TLS, and the SHA-256 of the certificate shown."""

    address: str
    tls: bool = False
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A-ASSOCIATE-RJ (PS3.8 Table 9-21); `cause` is for the log."""

    result: int
    source: int
    reason: int
    cause: str


WRONG_VERSION: Final = Rejection(1, 2, 2, "protocol version not supported")
NO_IDENTITIES: Final = Rejection(1, 2, 1, "user identity with a positive response is not supported")
WRONG_APPLICATION: Final = Rejection(1, 1, 2, "application context name not supported")
CALLING_UNKNOWN: Final = Rejection(1, 1, 3, "calling AE title not recognized")
CALLED_UNKNOWN: Final = Rejection(1, 1, 7, "called AE title not recognized")
CONGESTION: Final = Rejection(2, 3, 1, "temporary congestion")
LIMIT_EXCEEDED: Final = Rejection(2, 3, 2, "local limit exceeded")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A-ASSOCIATE-AC, what it means to us, and why contexts were refused (id to result)."""

    accept: AssociateAccept
    peer: Peer
    called: str
    contexts: Mapping[int, Context]
    max_send_length: int
    refused: Mapping[int, int] = field(default_factory=dict)


Policy = Callable[[AssociateRequest, Caller], Awaitable[Acceptance | Rejection]]
FindPeer = Callable[[str], Awaitable[Peer | None]]
"""The peer of a calling AE title, or None when it may not call."""


def policy(local: Mapping[str, LocalAE], find_peer: FindPeer) -> Policy:
    """The policy of `local` AEs by title (the first one stands for any title towards peers that may call so)."""

    async def decide(request: AssociateRequest, caller: Caller) -> Acceptance | Rejection:
        if (formal := _formal_rejection(request)) is not None:
            return formal
        peer = await find_peer(request.calling)
        if peer is None:
            return CALLING_UNKNOWN
        return _admit(request, caller, local, peer)

    return decide


def _formal_rejection(request: AssociateRequest) -> Rejection | None:
    if not request.protocol_version & 1:
        return WRONG_VERSION
    if request.application_context != APPLICATION_CONTEXT:
        return WRONG_APPLICATION
    return NO_IDENTITIES if request.user.identity_response_wanted else None


def _admit(
    request: AssociateRequest, caller: Caller, local: Mapping[str, LocalAE], peer: Peer
) -> Acceptance | Rejection:
    ours = local.get(request.called)
    if ours is None:
        if peer.behaviour.check_called_ae:
            return CALLED_UNKNOWN
        ours = next(iter(local.values()))
    if not peer.may_call(ours.title):
        return CALLED_UNKNOWN
    if not _may_come(caller, peer):
        return CALLING_UNKNOWN
    return negotiate(request, ours, peer)


def _may_come(caller: Caller, peer: Peer) -> bool:
    """Whether nobody else seems to use the peer's AE title."""
    if not peer.may_call_from(caller.address) or (peer.tls and not caller.tls):
        return False
    return not peer.certificate or peer.certificate == caller.certificate


def negotiate(request: AssociateRequest, ours: LocalAE, peer: Peer) -> Acceptance:
    """The answer to a request that is not rejected as a whole."""
    results: list[ContextResult] = []
    contexts: dict[int, Context] = {}
    refused: dict[int, int] = {}
    roles: dict[str, tuple[bool, bool]] = {}
    for proposed in request.contexts:
        context = _judge(proposed, request.user.roles.get(proposed.abstract_syntax), peer)
        if isinstance(context, Context):
            contexts[proposed.id] = context
            results.append(ContextResult(proposed.id, ACCEPTED, context.transfer_syntax))
            if proposed.abstract_syntax in request.user.roles:
                roles[proposed.abstract_syntax] = (context.scp, context.scu)
        else:
            refused[proposed.id] = context
            results.append(ContextResult(proposed.id, context))
    user = UserInformation(
        max_length=peer.behaviour.max_pdu or ours.max_length,
        implementation_class=ours.implementation_class,
        implementation_version=ours.implementation_version,
        roles=roles,
        has_window=request.user.has_window,
    )
    accept = AssociateAccept(tuple(results), user)
    length = send_length(request.user.max_length, ours.max_send_length)
    return Acceptance(accept, peer, ours.title, contexts, length, refused)


def send_length(announced: int, ours: int) -> int:
    """How long our PDUs may be: what the peer announced (0: no limit), and not more than we want."""
    return min(announced, ours) if announced else ours


def _judge(proposed: ProposedContext, asked: tuple[bool, bool] | None, peer: Peer) -> Context | int:
    uid = proposed.abstract_syntax
    right = RIGHTS.get(uid)
    if right is None and not (is_uid(uid) and is_storage(uid) and peer.behaviour.knows(uid)):
        return ABSTRACT_SYNTAX_NOT_SUPPORTED
    they_send, they_take = asked if asked is not None else (True, False)
    if right is not None:
        scp = they_send and right in peer.may
        # Reports of storage commitment come from whom we may ask for it, with us as the SCU (PS3.4 J.3.3).
        scu = uid == STORAGE_COMMITMENT and they_take and (right in peer.may or bool(peer.host))
    else:
        # Objects come by C-STORE of theirs, and go by the sub-operations of C-GET (PS3.4 C.4.3).
        scp, scu = they_send and "store" in peer.may, they_take and "get" in peer.may
    if not scp and not scu:
        return USER_REJECTION
    syntax = _choose(proposed, peer, only_sent=not scp)
    if syntax is None:
        return TRANSFER_SYNTAXES_NOT_SUPPORTED
    return Context(proposed.id, uid, syntax, scu=scu, scp=scp)


def transfer_syntaxes(abstract_syntax: str, peer: Peer) -> frozenset[str]:
    """The transfer syntaxes that we take from and send to `peer` for this class."""
    if abstract_syntax in RIGHTS:
        allowed = _OF_GET if RIGHTS[abstract_syntax] == "get" else _UNCOMPRESSED
    elif peer.behaviour.uncompressed_non_images and is_non_image(abstract_syntax):
        allowed = _LITTLE_ENDIAN
    else:
        allowed = _ALL
    if peer.behaviour.transfer_syntaxes:
        allowed &= {IMPLICIT_LE, *peer.behaviour.transfer_syntaxes}
    return allowed


def _choose(proposed: ProposedContext, peer: Peer, *, only_sent: bool) -> str | None:
    """The transfer syntax for a context. What we only send (C-GET) is uncompressed if it may be: everything that is
    stored can become that, but not everything can be compressed as the peer would like it."""
    allowed = transfer_syntaxes(proposed.abstract_syntax, peer)
    usable = [uid for uid in proposed.transfer_syntaxes if uid in allowed]
    if not usable:
        return None
    if only_sent:
        usable = [uid for uid in usable if uid in _UNCOMPRESSED] or usable
    if peer.behaviour.transfer_syntax_choice == "first-explicit":
        return next((uid for uid in usable if TRANSFER_SYNTAXES[uid].explicit), usable[0])
    return usable[0]
