"""A-ASSOCIATE PDUs: what is encoded is decoded, mutated ones are refused in one way, floods of items are cut short."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from app.errors import Unreadable
from dimse_bridge.association import associate_pdus
from dimse_bridge.association.associate_pdus import (
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    UserInformation,
    decode_accept,
    decode_reject,
    decode_request,
    encode_accept,
    encode_reject,
    encode_request,
)
from tests.dimse.association.raw import CT, EXPLICIT, IMPLICIT, REQUEST, VERIFICATION

ACCEPT = AssociateAccept((ContextResult(1, 0), ContextResult(3, 3)), UserInformation(roles={CT: (False, True)}))
uids = st.from_regex(r"1\.[1-9][0-9]{0,20}(\.[1-9][0-9]{0,10}){0,2}", fullmatch=True)
titles = st.from_regex(r"[A-Z0-9]([A-Z0-9 _-]{0,14}[A-Z0-9])?", fullmatch=True)
users = st.builds(
    UserInformation,
    max_length=st.just(0) | st.integers(8, 0xFFFFFFFF),
    implementation_class=uids,
    implementation_version=titles,
    roles=st.dictionaries(uids, st.tuples(st.booleans(), st.booleans()), max_size=4),
    has_window=st.booleans(),
)
contexts = st.lists(st.tuples(uids, st.lists(uids, min_size=1, max_size=4).map(tuple)), min_size=1, max_size=8).map(
    lambda given: tuple(ProposedContext(2 * number + 1, *one) for number, one in enumerate(given))
)
requests = st.builds(AssociateRequest, called=titles, calling=titles, contexts=contexts, user=users)


@settings(max_examples=30)
@given(requests)
def test_a_request_is_what_it_was(request: AssociateRequest) -> None:
    assert decode_request(encode_request(request)[6:]) == request


@settings(max_examples=30)
@given(requests, st.lists(st.integers(0, 4), min_size=8, max_size=8), users)
def test_an_accept_is_what_it_was(request: AssociateRequest, results: list[int], user: UserInformation) -> None:
    answers = tuple(
        ContextResult(context.id, result, context.transfer_syntaxes[0])
        for context, result in zip(request.contexts, results, strict=False)
    )
    accept = AssociateAccept(answers, user)
    assert decode_accept(encode_accept(accept, request)[6:]) == accept


def test_a_reject_is_what_it_was() -> None:
    assert decode_reject(encode_reject(1, 2, 3)[6:]) == (1, 2, 3)
    with pytest.raises(Unreadable):
        decode_reject(b"\0\1\1")


def by_pynetdicom() -> bytes:
    """A request with every item of PS3.7 D.3.3."""
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "OTHER"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 0
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, False, True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\1\0\1"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = [CT]
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.positive_response_requested = 1, b"somebody", True
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "PEER", "FILEROOM"
    proposed = [build_context(VERIFICATION, IMPLICIT), build_context(CT, [EXPLICIT, IMPLICIT])]
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = proposed
    primitive.user_information = [length, implementation, version, window, role, extended, common, identity]
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def test_a_request_with_every_item_is_understood() -> None:
    request = decode_request(by_pynetdicom()[6:])
    assert (request.calling, request.called) == ("PEER", "FILEROOM")
    assert request.contexts == REQUEST.contexts
    assert request.user == UserInformation(16384, "1.2.3", "OTHER", {CT: (False, True)}, True, True)


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 4000))
def test_mutated_requests_give_a_request_or_are_unreadable(changes: list[tuple[int, int]], cut: int) -> None:
    body = bytearray(by_pynetdicom()[6:])
    for position, value in changes:
        body[position % len(body)] = value
    for encoded in (bytes(body), bytes(body[:cut])):
        for decode in (decode_request, decode_accept):
            try:
                decode(encoded)
            except Unreadable:
                pass


def outcome(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """What it gives, or that it cannot."""
    try:
        return decode(body)
    except Unreadable:
        return None


@given(
    st.sampled_from([by_pynetdicom()[6:], encode_request(REQUEST)[6:], encode_accept(ACCEPT, REQUEST)[6:]]),
    st.lists(st.tuples(st.integers(68, 4000), st.integers(0, 255) | st.sampled_from(b"0.1\0 ")), max_size=4),
    st.integers(0, 12),
)
def test_plain_items_are_read_as_the_library_reads_them(
    body: bytes, changes: list[tuple[int, int]], inserted: int
) -> None:
    changed = bytearray(body)
    for position, value in changes:
        changed[position % len(changed)] = value
    if inserted:
        changed[len(changed) - inserted : len(changed) - inserted] = b"\0"
    for decode in (decode_request, decode_accept):
        ours = outcome(decode, bytes(changed))
        with pytest.MonkeyPatch.context() as patch:
            for name in ("read_proposed", "read_result", "read_role"):
                patch.setattr(associate_pdus, name, lambda item: None)
            assert outcome(decode, bytes(changed)) == ours


def test_as_many_contexts_as_an_association_holds() -> None:
    """Ours are read by the library, the library's by us."""
    proposed = tuple(ProposedContext(2 * at + 1, f"1.2.{at}", (IMPLICIT, EXPLICIT)) for at in range(128))
    roles = {one.abstract_syntax: (bool(one.id % 4 == 1), True) for one in proposed}
    request = AssociateRequest("FILEROOM", "PEER", proposed, UserInformation(16384, roles=roles, has_window=True))
    encoded = encode_request(request)
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(encoded)
    assert bytes(pdu.encode()) == encoded
    read = {item.context_id: (item.abstract_syntax, tuple(item.transfer_syntax)) for item in pdu.presentation_context}
    assert read == {one.id: (one.abstract_syntax, one.transfer_syntaxes) for one in proposed}
    assert decode_request(bytes(pdu.encode())[6:]) == request


@given(st.binary(max_size=400))
def test_any_bytes_give_a_request_or_are_unreadable(body: bytes) -> None:
    for encoded in (body, bytes(68) + body, encode_request(REQUEST)[6:74] + body):
        try:
            decode_request(encoded)
        except Unreadable:
            pass


@pytest.mark.parametrize(
    ("title", "read"),
    [
        (b"AE 1", "AE 1"),
        (b"  AE  ", "AE"),
        (b"AE\0\0", "AE"),
        (b"", None),
        (b"A\nB", None),
        (b"A\\B", None),
        (b"\xe4", None),
    ],
)
def test_titles(title: bytes, read: str | None) -> None:
    """PS3.5 6.2: whatever stands in a log is one line of ASCII."""
    body = encode_request(REQUEST)[6:]
    padding = b"\0" if title.endswith(b"\0") else b" "
    body = body[:20] + title.ljust(16, padding) + body[36:]
    if read is None:
        with pytest.raises(Unreadable):
            decode_request(body)
    else:
        assert decode_request(body).calling == read


def item(kind: int, value: bytes) -> bytes:
    """A variable item."""
    return struct.pack(">BxH", kind, len(value)) + value


def test_unknown_items_are_passed_over() -> None:
    """PS3.8 9.3.1: and so are those inside the user information."""
    body = encode_request(REQUEST)[6:]
    assert decode_request(body[:68] + item(0x77, b"later") + body[68:]) == REQUEST
    start = body.rindex(b"\x50\0")
    user = body[start + 4 :] + item(0x5F, b"later")
    assert decode_request(body[:start] + item(0x50, user)) == REQUEST


@pytest.mark.parametrize("ids", [(1, 1), (2,), (0,), (1, 254)])
def test_context_ids_are_odd_and_differ(ids: tuple[int, ...]) -> None:
    body = encode_request(REQUEST)[6:]
    start = body.index(b"\x20\0")
    end = body.index(b"\x50\0", start)
    value = body[start + 4 : start + 4 + int.from_bytes(body[start + 2 : start + 4], "big")]
    items = b"".join(item(0x20, bytes((number,)) + value[1:]) for number in ids)
    with pytest.raises(Unreadable):
        decode_request(body[:start] + items + body[end:])


@pytest.mark.parametrize("kind", [0x10, 0x50])
def test_an_item_that_must_stand_once_stands_once(kind: int) -> None:
    body = encode_request(REQUEST)[6:]
    start = body.index(bytes((kind, 0)), 68)
    length = 4 + int.from_bytes(body[start + 2 : start + 4], "big")
    for changed in (body[:start] + body[start + length :], body + body[start : start + length]):
        with pytest.raises(Unreadable):
            decode_request(changed)


def test_a_flood_of_items_is_refused_before_the_library_sees_it() -> None:
    body = encode_request(REQUEST)[6:]
    for flood in (item(0x77, b"") * 200_000, item(0x20, b"\1\0\0\0" + item(0x40, b"") * 15_000)):
        with pytest.raises(Unreadable, match="too many"):
            decode_request(body + flood)
