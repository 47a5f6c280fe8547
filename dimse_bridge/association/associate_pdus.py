"""The boundary to pynetdicom: A-ASSOCIATE-RQ, -AC and -RJ between bytes and values (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3.3).

Property: any bytes give a value or `Unreadable`, nothing else. Items of types that the standards do not know are
passed over (PS3.8 9.3.1); their number is bounded before the library makes an object of each.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import (
    PDU_ITEM_TYPES,
    AbstractSyntaxSubItem,
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    SCP_SCU_RoleSelectionSubItem,
    TransferSyntaxSubItem,
    UserInformationItem,
)

from app.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.dicom.transfer_syntaxes import IMPLICIT_LE
from app.errors import Unreadable

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it quotes what peers send

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
_HEAD_LENGTH: Final = 68
_UNTESTED_TITLES: Final = b"-".ljust(16) * 2
"""What stands there in an A-ASSOCIATE-AC is not tested (PS3.8 Table 9-17)."""
_LEAST_LENGTH: Final = 8
"""One PDV with two bytes of value (PS3.8 9.3.5)."""
_MAX_ITEMS: Final = 8192
"""128 contexts of 60 syntaxes each, and some."""
_APPLICATION_CONTEXT, _CONTEXT_RQ, _CONTEXT_AC, _USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
_USER_ITEMS = frozenset({0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59})


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of a request."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What both sides tell of themselves (PS3.7 D.3.3). `roles`: SOP class to (SCU, SCP) of the requestor."""

    max_length: int = 0
    implementation_class: str = IMPLEMENTATION_CLASS_UID
    implementation_version: str = IMPLEMENTATION_VERSION_NAME
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    has_window: bool = False
    """Whether an asynchronous operations window is proposed; it is always answered 1, 1."""
    identity_response_wanted: bool = False
    """A user identity with a positive response asked for (PS3.7 D.3.3.7.1)."""


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ."""

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class ContextResult:
    """One presentation context of an answer: 0 accepted, else why not (PS3.8 Table 9-18)."""

    id: int
    result: int
    transfer_syntax: str = IMPLICIT_LE


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC."""

    contexts: tuple[ContextResult, ...]
    user: UserInformation


# ---------------------------------------------------------------- from bytes


def decode_request(body: bytes) -> AssociateRequest:
    """The A-ASSOCIATE-RQ whose bytes after the first six are `body`."""
    pdu = _decode(A_ASSOCIATE_RQ(), 1, _padded(body[4:20]) + _padded(body[20:36]), body, _CONTEXT_RQ)
    contexts = tuple(map(_proposed, pdu.presentation_context))
    _require_contexts([context.id for context in contexts])
    return AssociateRequest(
        called=pdu.called_ae_title.strip(" \0"),
        calling=pdu.calling_ae_title.strip(" \0"),
        contexts=contexts,
        user=_user(pdu.user_information),
        application_context=_text(pdu.application_context_name),
        protocol_version=pdu.protocol_version,
    )


def decode_accept(body: bytes) -> AssociateAccept:
    """The A-ASSOCIATE-AC whose bytes after the first six are `body`."""
    pdu = _decode(A_ASSOCIATE_AC(), 2, _UNTESTED_TITLES, body, _CONTEXT_AC)
    contexts = tuple(
        ContextResult(item.context_id, item.result, _text(item.transfer_syntax)) for item in pdu.presentation_context
    )
    _require_contexts([context.id for context in contexts])
    return AssociateAccept(contexts, _user(pdu.user_information))


def decode_reject(body: bytes) -> tuple[int, int, int]:
    """Result, source and reason of the A-ASSOCIATE-RJ whose bytes after the first six are `body`."""
    if len(body) < 4:
        raise Unreadable("an A-ASSOCIATE-RJ that is too short")
    return body[1], body[2], body[3]


def _padded(title: bytes) -> bytes:
    """An AE title with its padding as PS3.8 has it: some peers fill up with NULs."""
    return title.rstrip(b"\0").ljust(16)


def _decode(pdu: Any, kind: int, titles: bytes, body: bytes, context_type: int) -> Any:
    if len(body) < _HEAD_LENGTH:
        raise Unreadable("an association PDU that is too short")
    known = _known_items(body, context_type)
    encoded = struct.pack(">BxI", kind, _HEAD_LENGTH + len(known)) + body[:4] + titles + body[36:_HEAD_LENGTH] + known
    try:
        pdu.decode(encoded)
        items = [item.item_type for item in pdu.variable_items]
    except (ValueError, TypeError, AssertionError, LookupError, AttributeError, struct.error) as error:
        raise Unreadable("an association PDU with a parameter that cannot be") from error
    if items.count(_APPLICATION_CONTEXT) != 1 or items.count(_USER_INFORMATION) != 1:
        raise Unreadable("an association PDU without one application context and one user information")
    return pdu


def _known_items(body: bytes, context_type: int) -> bytes:
    """The variable items of known types; raises `Unreadable` when they do not fit or are too many."""
    kept, count = [], 0
    for kind, item in _items(body, _HEAD_LENGTH):
        count += 1
        if kind == _USER_INFORMATION:
            inner = [sub for sub_kind, sub in _items(item, 4) if sub_kind in _USER_ITEMS]
            count += len(inner)
            value = b"".join(inner)
            kept.append(struct.pack(">BxH", kind, len(value)) + value)
        elif kind == context_type:
            count += sum(1 for _ in _items(item, 8))
            kept.append(item)
        elif kind == _APPLICATION_CONTEXT:
            kept.append(item)
        if count > _MAX_ITEMS:
            raise Unreadable("an association PDU with too many items")
    return b"".join(kept)


def _items(encoded: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    while position < len(encoded):
        if len(encoded) - position < 4:
            raise Unreadable("an association PDU that ends inside an item")
        stop = position + 4 + int.from_bytes(encoded[position + 2 : position + 4], "big")
        if stop > len(encoded):
            raise Unreadable("an association PDU that ends inside an item")
        yield encoded[position], encoded[position:stop]
        position = stop


def _proposed(item: Any) -> ProposedContext:
    syntaxes = tuple(_text(syntax) for syntax in item.transfer_syntax)
    return ProposedContext(item.context_id, _text(item.abstract_syntax), syntaxes)


def _require_contexts(ids: list[int]) -> None:
    if any(number % 2 == 0 for number in ids) or len(set(ids)) != len(ids):
        raise Unreadable("presentation context IDs that are even or used twice")


def _user(item: Any) -> UserInformation:
    window = item.async_ops_window
    identity = item.user_identity
    max_length = item.maximum_length or 0
    if 0 < max_length < _LEAST_LENGTH:
        raise Unreadable("a maximum length that leaves no room for a fragment")
    return UserInformation(
        max_length=max_length,
        implementation_class=_text(item.implementation_class_uid),
        implementation_version=_text(item.implementation_version_name),
        roles={
            _text(role.sop_class_uid): (bool(role.scu_role), bool(role.scp_role))
            for role in item.user_data
            if isinstance(role, SCP_SCU_RoleSelectionSubItem)
        },
        has_window=window is not None,
        identity_response_wanted=bool(identity is not None and getattr(identity, "response_requested", False)),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value).strip(" \0")


# ---------------------------------------------------------------- to bytes


def encode_request(request: AssociateRequest) -> bytes:
    """The A-ASSOCIATE-RQ PDU."""
    pdu = A_ASSOCIATE_RQ()
    pdu.called_ae_title = request.called
    pdu.calling_ae_title = request.calling
    pdu.variable_items = [_application_context(), *map(_context_rq, request.contexts), _user_item(request.user)]
    return bytes(pdu.encode())


def encode_accept(accept: AssociateAccept, request: AssociateRequest) -> bytes:
    """The A-ASSOCIATE-AC PDU; it echoes the AE titles of the request (PS3.8 Table 9-17)."""
    pdu = A_ASSOCIATE_AC()
    pdu.reserved_aet = request.called
    pdu.reserved_aec = request.calling
    pdu.variable_items = [_application_context(), *map(_context_ac, accept.contexts), _user_item(accept.user)]
    return bytes(pdu.encode())


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """The A-ASSOCIATE-RJ PDU (PS3.8 Table 9-21)."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = result, source, reason
    return bytes(pdu.encode())


def _application_context() -> Any:
    item = ApplicationContextItem()
    item.application_context_name = APPLICATION_CONTEXT
    return item


def _context_rq(context: ProposedContext) -> Any:
    item = PresentationContextItemRQ()
    item.presentation_context_id = context.id
    abstract = AbstractSyntaxSubItem()
    abstract.abstract_syntax_name = context.abstract_syntax
    item.abstract_transfer_syntax_sub_items = [abstract, *map(_transfer_syntax, context.transfer_syntaxes)]
    return item


def _context_ac(context: ContextResult) -> Any:
    item = PresentationContextItemAC()
    item.presentation_context_id = context.id
    item.result_reason = context.result
    item.transfer_syntax_sub_item = [_transfer_syntax(context.transfer_syntax)]
    return item


def _transfer_syntax(uid: str) -> Any:
    item = TransferSyntaxSubItem()
    item.transfer_syntax_name = uid
    return item


def _user_item(user: UserInformation) -> Any:
    item = UserInformationItem()
    item.user_data = list(_user_items(user))
    return item


def _user_items(user: UserInformation) -> Iterable[Any]:
    length = MaximumLengthSubItem()
    length.maximum_length_received = user.max_length
    implementation = ImplementationClassUIDSubItem()
    implementation.implementation_class_uid = user.implementation_class
    yield length
    yield implementation
    if user.has_window:
        window = AsynchronousOperationsWindowSubItem()
        window.maximum_number_operations_invoked = 1
        window.maximum_number_operations_performed = 1
        yield window
    for uid, (scu, scp) in user.roles.items():
        role = SCP_SCU_RoleSelectionSubItem()
        role.sop_class_uid, role.scu_role, role.scp_role = uid, int(scu), int(scp)
        yield role
    if user.implementation_version:
        version = ImplementationVersionNameSubItem()
        version.implementation_version_name = user.implementation_version
        yield version


assert PDU_ITEM_TYPES.keys() >= _USER_ITEMS, "the library knows every item of PS3.7 D.3.3"
