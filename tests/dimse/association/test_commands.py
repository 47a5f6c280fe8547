"""Command sets: both directions against pynetdicom, and any bytes give a command or `Unreadable`."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.tag import Tag
from pydicom.uid import UID
from pynetdicom import dimse_messages
from pynetdicom.dimse_primitives import (
    C_CANCEL,
    C_ECHO,
    C_FIND,
    C_GET,
    C_MOVE,
    C_STORE,
    N_ACTION,
    N_CREATE,
    N_EVENT_REPORT,
    N_GET,
    N_SET,
)
from pynetdicom.dsutils import decode

from app.errors import Unreadable
from dimse_bridge.association import commands
from dimse_bridge.association.commands import Command, decode_command, encode_command, response

uids = st.from_regex(r"1\.[1-9][0-9]{0,20}(\.[1-9][0-9]{0,10}){0,2}", fullmatch=True)
words = st.integers(0, 0xFFFF)
titles = st.from_regex(r"[A-Z0-9_-]([A-Z0-9 _-]{0,14}[A-Z0-9_-])?", fullmatch=True)
comments = st.from_regex(r"([a-z]([a-z .,]{0,62}[a-z])?)?", fullmatch=True)
priorities = st.sampled_from([0, 1, 2])

SLOTS = {
    "AffectedSOPClassUID": "affected_sop_class",
    "MessageID": "message_id",
    "MessageIDBeingRespondedTo": "message_id_responded",
    "AffectedSOPInstanceUID": "affected_sop_instance",
    "RequestedSOPClassUID": "requested_sop_class",
    "RequestedSOPInstanceUID": "requested_sop_instance",
    "ActionTypeID": "action_type",
    "EventTypeID": "event_type",
    "Priority": "priority",
    "MoveDestination": "move_destination",
    "MoveOriginatorApplicationEntityTitle": "move_originator",
    "MoveOriginatorMessageID": "move_originator_message_id",
    "Status": "status",
    "ErrorComment": "error_comment",
    "NumberOfRemainingSuboperations": "remaining",
    "NumberOfCompletedSuboperations": "completed",
    "NumberOfFailedSuboperations": "failed",
    "NumberOfWarningSuboperations": "warning",
}


def by_pynetdicom(message_class: type, primitive: Any) -> bytes:
    """The command set as pynetdicom encodes it."""
    message = message_class()
    message.primitive_to_message(primitive)
    fragments = [value for pdata in message.encode_msg(1, 0) for _, value in pdata.presentation_data_value_list]
    return b"".join(value[1:] for value in fragments if value[0] & 1)


def read_by_pynetdicom(encoded: bytes) -> dict[str, Any]:
    """What pynetdicom reads in a command set, without the group length."""
    data_set = decode(BytesIO(encoded), True, True)
    assert data_set.CommandGroupLength == len(encoded) - 12
    return {element.keyword: element.value for element in data_set if element.keyword != "CommandGroupLength"}


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request, by us and by pynetdicom."""
    identity, sop_class, priority = draw(st.integers(1, 0xFFFF)), draw(uids), draw(priorities)
    kind = draw(st.sampled_from(["echo", "store", "find", "get", "move", "cancel"]))
    if kind == "echo":
        primitive: Any = C_ECHO()
        ours, name = commands.echo_rq(identity, sop_class), "C_ECHO_RQ"
    elif kind == "cancel":
        primitive = C_CANCEL()
        primitive.MessageIDBeingRespondedTo = identity
        return commands.cancel_rq(identity), by_pynetdicom(dimse_messages.C_CANCEL_RQ, primitive)
    elif kind == "store":
        primitive, name = C_STORE(), "C_STORE_RQ"
        instance, originator, number = draw(uids), draw(titles), draw(words)
        primitive.AffectedSOPInstanceUID = UID(instance)
        primitive.MoveOriginatorApplicationEntityTitle = originator
        primitive.MoveOriginatorMessageID = number
        primitive.DataSet = BytesIO(b"\0\0")
        ours = commands.store_rq(
            identity,
            sop_class,
            instance,
            priority=priority,
            move_originator=originator,
            move_originator_message_id=number,
        )
    else:
        primitive, name = {"find": C_FIND, "get": C_GET, "move": C_MOVE}[kind](), f"C_{kind.upper()}_RQ"
        primitive.Identifier = BytesIO(b"\0\0")
        if kind == "move":
            destination = draw(titles)
            primitive.MoveDestination = destination
            ours = commands.move_rq(identity, sop_class, destination, priority=priority)
        else:
            ours = (commands.find_rq if kind == "find" else commands.get_rq)(identity, sop_class, priority=priority)
    primitive.MessageID = identity
    primitive.AffectedSOPClassUID = UID(sop_class)
    if kind != "echo":
        primitive.Priority = priority
    return ours, by_pynetdicom(getattr(dimse_messages, name), primitive)


@st.composite
def normalized_requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request of DIMSE-N, by us and by pynetdicom."""
    identity, sop_class, instance, number = draw(st.integers(1, 0xFFFF)), draw(uids), draw(uids), draw(words)
    tags = draw(st.lists(st.integers(0x00080001, 0xFFFEFFFF), max_size=4, unique=True))
    data = BytesIO(b"\0\0")
    kind = draw(st.sampled_from(["create", "set", "get", "action", "report"]))
    primitive: Any
    if kind == "create":
        primitive, name = N_CREATE(), "N_CREATE_RQ"
        primitive.AttributeList = data
        ours = commands.create_rq(identity, sop_class, instance)
    elif kind == "set":
        primitive, name = N_SET(), "N_SET_RQ"
        primitive.ModificationList = data
        ours = commands.set_rq(identity, sop_class, instance)
    elif kind == "get":
        primitive, name = N_GET(), "N_GET_RQ"
        primitive.AttributeIdentifierList = [Tag(tag) for tag in tags] or None
        ours = commands.n_get_rq(identity, sop_class, instance, tuple(tags))
    elif kind == "action":
        primitive, name = N_ACTION(), "N_ACTION_RQ"
        primitive.ActionTypeID, primitive.ActionInformation = number, data
        ours = commands.action_rq(identity, sop_class, instance, number)
    else:
        primitive, name = N_EVENT_REPORT(), "N_EVENT_REPORT_RQ"
        primitive.EventTypeID, primitive.EventInformation = number, data
        ours = commands.event_report_rq(identity, sop_class, instance, number)
    primitive.MessageID = identity
    who = "Affected" if kind in ("create", "report") else "Requested"
    setattr(primitive, f"{who}SOPClassUID", UID(sop_class))
    setattr(primitive, f"{who}SOPInstanceUID", UID(instance))
    return ours, by_pynetdicom(getattr(dimse_messages, name), primitive)


@given(st.one_of(requests(), normalized_requests()))
def test_requests_are_those_of_pynetdicom_in_both_directions(pair: tuple[bytes, bytes]) -> None:
    ours, theirs = pair
    assert read_by_pynetdicom(ours) == read_by_pynetdicom(theirs)
    assert decode_command(theirs) == decode_command(ours)
    assert encode_command(decode_command(ours)) == ours
    _compare(read_by_pynetdicom(theirs), decode_command(theirs))


def _compare(read: dict[str, Any], command: Command) -> None:
    assert command.field == read["CommandField"]
    assert command.has_data_set == (read["CommandDataSetType"] != 0x0101)
    for keyword, slot in SLOTS.items():
        value = read.get(keyword)
        assert getattr(command, slot) == (None if value == "" else value), keyword


@given(uids, uids, words, words, comments, st.lists(st.integers(0, 0xFFFFFFFF), max_size=4), st.booleans())
def test_responses_are_read_by_pynetdicom(
    sop_class: str, instance: str, identity: int, status: int, comment: str, tags: list[int], data: bool
) -> None:
    request = decode_command(commands.store_rq(identity, sop_class, instance))
    encoded = response(
        request,
        status,
        has_data_set=data,
        comment=comment,
        offending_element=tuple(tags) or None,
        remaining=3,
        failed=0,
    )
    read = read_by_pynetdicom(encoded)
    found = read.get("OffendingElement", [])
    assert [int(tag) for tag in (found if len(tags) != 1 else [found])] == tags
    command = decode_command(encoded)
    assert command.field == commands.C_STORE_RQ | commands.RESPONSE
    assert command.offending_element == (tuple(tags) or None)
    _compare(read, command)


@given(st.none() | uids, st.none() | uids, words, words)
def test_a_plain_answer_to_a_store_is_what_the_table_makes_of_it(
    sop_class: str | None, sop_instance: str | None, message_id: int, status: int
) -> None:
    request = Command(commands.C_STORE_RQ, message_id, affected_sop_class=sop_class, affected_sop_instance=sop_instance)
    answer = replace(
        request,
        field=request.field | commands.RESPONSE,
        message_id=None,
        message_id_responded=message_id,
        status=status,
    )
    assert response(request, status) == encode_command(answer)


def test_a_comment_is_cut_and_kept_to_one_ascii_value() -> None:
    request = decode_command(commands.echo_rq(1))
    command = decode_command(response(request, 0xC000, comment="ä\\" + "x" * 100))
    assert command.error_comment == "?/" + "x" * 62


@given(st.binary(max_size=200))
def test_any_bytes_give_a_command_or_are_unreadable(encoded: bytes) -> None:
    try:
        assert isinstance(decode_command(encoded), Command)
    except Unreadable:
        pass


@given(
    st.one_of(requests(), normalized_requests()),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 400),
)
def test_mutated_commands_give_a_command_or_are_unreadable(
    pair: tuple[bytes, bytes], changes: list[tuple[int, int]], cut: int
) -> None:
    encoded = bytearray(pair[0])
    for position, value in changes:
        encoded[position % len(encoded)] = value
    try:
        decode_command(bytes(encoded[: max(cut, 1)]))
    except Unreadable:
        pass


@pytest.mark.parametrize(
    "command",
    [
        Command(),
        Command(commands.C_STORE_RQ),
        Command(commands.C_ECHO_RQ, 1, data_set_type=None),
        Command(commands.C_ECHO_RQ | commands.RESPONSE, status=0),
        Command(commands.C_ECHO_RQ | commands.RESPONSE, message_id_responded=1),
        Command(commands.C_CANCEL_RQ),
    ],
)
def test_what_cannot_be_answered_is_unreadable(command: Command) -> None:
    with pytest.raises(Unreadable):
        decode_command(encode_command(command))
