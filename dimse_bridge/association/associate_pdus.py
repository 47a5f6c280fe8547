"""The boundary to pynetdicom: A-ASSOCIATE-RQ, -AC and -RJ between bytes and values (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3.3).

Property: any bytes give a value or `Unreadable`, nothing else. Items of types that the standards do not know are
passed over (PS3.8 9.3.1); their number is bounded before the library makes an object of each.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import (
    PDU_ITEM_TYPES,
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    SCP_SCU_RoleSelectionSubItem,
)

from app.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.dicom.transfer_syntaxes import IMPLICIT_LE
from app.errors import Unreadable
from dimse_bridge.association.context_items import (
    proposed_item,
    read_proposed,
    read_result,
    read_role,
    result_item,
    role_item,
)

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
_ROLE = 0x54
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


_Context = TypeVar("_Context", ProposedContext, ContextResult)


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC."""

    contexts: tuple[ContextResult, ...]
    user: UserInformation


# ---------------------------------------------------------------- from bytes


def decode_request(body: bytes) -> AssociateRequest:
    """The A-ASSOCIATE-RQ whose bytes after the first six are `body`."""
    items = _Items(body, _CONTEXT_RQ)
    pdu = items.decode(A_ASSOCIATE_RQ(), 1, _padded(body[4:20]) + _padded(body[20:36]))
    contexts = tuple(items.contexts(ProposedContext, pdu))
    _require_contexts([context.id for context in contexts])
    return AssociateRequest(
        called=pdu.called_ae_title.strip(" \0"),
        calling=pdu.calling_ae_title.strip(" \0"),
        contexts=contexts,
        user=_user(pdu.user_information, items.roles),
        application_context=_text(pdu.application_context_name),
        protocol_version=pdu.protocol_version,
    )


def decode_accept(body: bytes) -> AssociateAccept:
    """The A-ASSOCIATE-AC whose bytes after the first six are `body`."""
    items = _Items(body, _CONTEXT_AC)
    pdu = items.decode(A_ASSOCIATE_AC(), 2, _UNTESTED_TITLES)
    contexts = tuple(items.contexts(ContextResult, pdu))
    _require_contexts([context.id for context in contexts])
    return AssociateAccept(contexts, _user(pdu.user_information, items.roles))


def decode_reject(body: bytes) -> tuple[int, int, int]:
    """Result, source and reason of the A-ASSOCIATE-RJ whose bytes after the first six are `body`."""
    if len(body) < 4:
        raise Unreadable("an A-ASSOCIATE-RJ that is too short")
    return body[1], body[2], body[3]


def _padded(title: bytes) -> bytes:
    """An AE title with its padding as PS3.8 has it: some peers fill up with NULs."""
    return title.rstrip(b"\0").ljust(16)


class _Items:
    """The variable items of a PDU, those of unknown types left out: plain contexts and roles as values, the others as
    bytes for the library. Raises `Unreadable` when they do not fit or are too many."""

    def __init__(self, body: bytes, context_type: int) -> None:
        if len(body) < _HEAD_LENGTH:
            raise Unreadable("an association PDU that is too short")
        self.roles: dict[str, tuple[bool, bool]] = {}
        self._body = body
        self._type = context_type
        self._contexts: list[Any] = []
        """Values of plain ones, None for each that the library reads."""
        self._kept: list[bytes] = []
        self._count = 0
        for kind, item in _items(body, _HEAD_LENGTH):
            self._take(kind, item)
            if self._count > _MAX_ITEMS:
                raise Unreadable("an association PDU with too many items")

    def _take(self, kind: int, item: bytes) -> None:
        self._count += 1
        if kind == _USER_INFORMATION:
            value = b"".join(self._inner(item))
            self._kept.append(struct.pack(">BxH", kind, len(value)) + value)
        elif kind == self._type:
            self._count += sum(1 for _ in _items(item, 8))
            plain = read_proposed(item) if kind == _CONTEXT_RQ else read_result(item)
            self._contexts.append(plain)
            if plain is None:
                self._kept.append(item)
        elif kind == _APPLICATION_CONTEXT:
            self._kept.append(item)

    def _inner(self, item: bytes) -> Iterator[bytes]:
        for kind, inner in _items(item, 4):
            if kind not in _USER_ITEMS:
                continue
            self._count += 1
            role = read_role(inner) if kind == _ROLE else None
            if role is None:
                yield inner
            else:
                self.roles[role[0]] = role[1:]

    def decode(self, pdu: Any, kind: int, titles: bytes) -> Any:
        """`pdu` with what is left to the library."""
        known = b"".join(self._kept)
        head = self._body[:4] + titles + self._body[36:_HEAD_LENGTH]
        try:
            pdu.decode(struct.pack(">BxI", kind, _HEAD_LENGTH + len(known)) + head + known)
            items = [item.item_type for item in pdu.variable_items]
        except (ValueError, TypeError, AssertionError, LookupError, AttributeError, struct.error) as error:
            raise Unreadable("an association PDU with a parameter that cannot be") from error
        if items.count(_APPLICATION_CONTEXT) != 1 or items.count(_USER_INFORMATION) != 1:
            raise Unreadable("an association PDU without one application context and one user information")
        return pdu

    def contexts(self, make: Callable[..., _Context], pdu: Any) -> Iterator[_Context]:
        """All contexts in their order, by `make` of their parts."""
        others = iter(pdu.presentation_context)
        for plain in self._contexts:
            yield make(*(plain if plain is not None else _parts(next(others))))


def _items(encoded: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    while position < len(encoded):
        if len(encoded) - position < 4:
            raise Unreadable("an association PDU that ends inside an item")
        stop = position + 4 + int.from_bytes(encoded[position + 2 : position + 4], "big")
        if stop > len(encoded):
            raise Unreadable("an association PDU that ends inside an item")
        yield encoded[position], encoded[position:stop]
        position = stop


def _parts(item: Any) -> tuple[Any, ...]:
    """The parts of a context that the library read."""
    if item.item_type == _CONTEXT_RQ:
        return item.context_id, _text(item.abstract_syntax), tuple(map(_text, item.transfer_syntax))
    return item.context_id, item.result, _text(item.transfer_syntax)


def _require_contexts(ids: list[int]) -> None:
    if any(number % 2 == 0 for number in ids) or len(set(ids)) != len(ids):
        raise Unreadable("presentation context IDs that are even or used twice")


def _user(item: Any, plain_roles: dict[str, tuple[bool, bool]]) -> UserInformation:
    window = item.async_ops_window
    identity = item.user_identity
    max_length = item.maximum_length or 0
    if 0 < max_length < _LEAST_LENGTH:
        raise Unreadable("a maximum length that leaves no room for a fragment")
    return UserInformation(
        max_length=max_length,
        implementation_class=_text(item.implementation_class_uid),
        implementation_version=_text(item.implementation_version_name),
        roles=plain_roles
        | {
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
    items = [proposed_item(one.id, one.abstract_syntax, one.transfer_syntaxes) for one in request.contexts]
    return _encoded(pdu, items, request.user)


def encode_accept(accept: AssociateAccept, request: AssociateRequest) -> bytes:
    """The A-ASSOCIATE-AC PDU; it echoes the AE titles of the request (PS3.8 Table 9-17)."""
    pdu = A_ASSOCIATE_AC()
    pdu.reserved_aet = request.called
    pdu.reserved_aec = request.calling
    items = [result_item(one.id, one.result, one.transfer_syntax) for one in accept.contexts]
    return _encoded(pdu, items, accept.user)


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """The A-ASSOCIATE-RJ PDU (PS3.8 Table 9-21)."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = result, source, reason
    return bytes(pdu.encode())


def _encoded(pdu: Any, contexts: Iterable[bytes], user: UserInformation) -> bytes:
    """The PDU with its variable items in the order of PS3.8: application context, contexts, user information."""
    application = ApplicationContextItem()
    application.application_context_name = APPLICATION_CONTEXT
    pdu.variable_items = [application]
    before = bytes(pdu.encode())
    told = b"".join(_user_items(user))
    body = b"".join((before[6:], *contexts, struct.pack(">BxH", _USER_INFORMATION, len(told)), told))
    return struct.pack(">BxI", before[0], len(body)) + body


def _user_items(user: UserInformation) -> Iterator[bytes]:
    """In the order of their types."""
    length = MaximumLengthSubItem()
    length.maximum_length_received = user.max_length
    yield length.encode()
    implementation = ImplementationClassUIDSubItem()
    implementation.implementation_class_uid = user.implementation_class
    yield implementation.encode()
    if user.has_window:
        window = AsynchronousOperationsWindowSubItem()
        window.maximum_number_operations_invoked = 1
        window.maximum_number_operations_performed = 1
        yield window.encode()
    for uid, role in user.roles.items():
        yield role_item(uid, *role)
    if user.implementation_version:
        version = ImplementationVersionNameSubItem()
        version.implementation_version_name = user.implementation_version
        yield version.encode()


assert PDU_ITEM_TYPES.keys() >= _USER_ITEMS, "the library knows every item of PS3.7 D.3.3"
