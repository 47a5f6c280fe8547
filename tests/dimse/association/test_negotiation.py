"""What is answered to a request: reasons to reject, rights, roles, and the choice of a transfer syntax."""

from __future__ import annotations

import csv
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from app.dicom.peer import PRESETS, STANDARD, Peer
from app.dicom.storage_classes import is_storage
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from dimse_bridge.association.abstract_syntaxes import (
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    is_non_image,
)
from dimse_bridge.association.associate_pdus import AssociateRequest, ProposedContext, UserInformation
from dimse_bridge.association.context import Context
from dimse_bridge.association.negotiation import (
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    NO_IDENTITIES,
    WRONG_APPLICATION,
    WRONG_VERSION,
    Acceptance,
    Caller,
    LocalAE,
    Rejection,
    negotiate,
    policy,
    send_length,
)
from tests.dimse.association.raw import CT, EXPLICIT, IMPLICIT, REQUEST, VERIFICATION

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
JPEG = "1.2.840.10008.1.2.4.50"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
OURS = LocalAE("FILEROOM", 131072, 65536, "1.2.3.4", "OURS")
LOCAL = {"FILEROOM": OURS, "SECOND": LocalAE("SECOND")}
HERE = Caller("127.0.0.1")
PEER = Peer("PEER")


def ask(*contexts: tuple[str, tuple[str, ...]], **user: object) -> AssociateRequest:
    """A request for these contexts."""
    proposed = tuple(ProposedContext(2 * number + 1, *one) for number, one in enumerate(contexts))
    return replace(REQUEST, contexts=proposed, user=replace(UserInformation(16384), **user))  # type: ignore[arg-type]


async def decide(request: AssociateRequest, caller: Caller = HERE, peer: Peer | None = PEER) -> Acceptance | Rejection:
    async def find(title: str) -> Peer | None:
        assert title == request.calling
        return peer

    return await policy(LOCAL, find)(request, caller)


def results(request: AssociateRequest, peer: Peer = PEER) -> list[tuple[int, str]]:
    """Result and transfer syntax of each context."""
    return [(one.result, one.transfer_syntax) for one in negotiate(request, OURS, peer).accept.contexts]


NEAR = Peer("PEER", addresses=(ip_network("10.0.0.0/8"),))
SECURE = Peer("PEER", tls=True)
PINNED = Peer("PEER", certificate="ab" * 32)


@pytest.mark.parametrize(
    ("change", "caller", "peer", "answer"),
    [
        ({"protocol_version": 2}, HERE, PEER, WRONG_VERSION),
        ({"application_context": "1.2.3"}, HERE, PEER, WRONG_APPLICATION),
        ({"user": UserInformation(0, identity_response_wanted=True)}, HERE, PEER, NO_IDENTITIES),
        ({}, HERE, None, CALLING_UNKNOWN),
        ({"called": "WRONG"}, HERE, PEER, CALLED_UNKNOWN),
        ({}, HERE, Peer("PEER", called=("SECOND",)), CALLED_UNKNOWN),
        ({}, HERE, NEAR, CALLING_UNKNOWN),
        ({}, HERE, SECURE, CALLING_UNKNOWN),
        ({}, HERE, PINNED, CALLING_UNKNOWN),
        ({}, Caller("127.0.0.1", True, "cd" * 32), PINNED, CALLING_UNKNOWN),
        ({"called": "SECOND"}, HERE, PEER, "SECOND"),
        ({"called": "WRONG"}, HERE, Peer("PEER", behaviour=replace(STANDARD, check_called_ae=False)), "FILEROOM"),
        ({}, Caller("10.1.2.3"), NEAR, "FILEROOM"),
        ({}, HERE, Peer("PEER", addresses=NEAR.addresses, behaviour=PRESETS["onepacs"]), "FILEROOM"),
        ({}, Caller("127.0.0.1", True), SECURE, "FILEROOM"),
        ({}, Caller("127.0.0.1", True, "ab" * 32), PINNED, "FILEROOM"),
    ],
)
async def test_who_is_rejected_and_why(
    change: dict[str, object], caller: Caller, peer: Peer | None, answer: Rejection | str
) -> None:
    found = await decide(replace(REQUEST, **change), caller, peer)  # type: ignore[arg-type]
    assert (found if isinstance(found, Rejection) else found.called) == answer


def test_the_reasons_are_those_of_the_standard() -> None:
    """PS3.8 Table 9-21."""
    found = [(one.result, one.source, one.reason) for one in (CALLING_UNKNOWN, CALLED_UNKNOWN, WRONG_APPLICATION)]
    assert found == [(1, 1, 3), (1, 1, 7), (1, 1, 2)]


def test_every_context_that_can_be_is_accepted_duplicates_too() -> None:
    request = ask((CT, (JPEG,)), (CT, (EXPLICIT,)), (CT, (IMPLICIT, EXPLICIT)), (VERIFICATION, (IMPLICIT,)))
    assert results(request) == [(0, JPEG), (0, EXPLICIT), (0, IMPLICIT), (0, IMPLICIT)]


@pytest.mark.parametrize(
    ("context", "peer", "answer"),
    [
        ((CT, ("1.2.3",)), PEER, 4),
        ((CT, ()), PEER, 4),
        (("1.2.840.10008.5.1.4.31.99", (IMPLICIT,)), PEER, 3),
        (("", (IMPLICIT,)), PEER, 3),
        (("no UID", (IMPLICIT,)), PEER, 3),
        ((VERIFICATION, (JPEG,)), PEER, 4),
        ((CT, (IMPLICIT,)), Peer("PEER", may=("echo",)), 1),
        ((STUDY_ROOT_FIND, (IMPLICIT,)), Peer("PEER", may=("store",)), 1),
        (("1.2.840.10008.5.1.4.1.1.999999.1", (JPEG,)), PEER, 0),
        (("1.3.12.2.1107.5.9.1", (IMPLICIT,)), PEER, 0),
        ((SR, (EXPLICIT,)), Peer("PEER", behaviour=PRESETS["dxserver"]), 0),
        ((SR, (JPEG,)), Peer("PEER", behaviour=PRESETS["dxserver"]), 4),
        ((SR, ("1.2.840.10008.1.2.2",)), Peer("PEER", behaviour=PRESETS["dxserver"]), 4),
        ((CT, (JPEG,)), Peer("PEER", behaviour=PRESETS["dxserver"]), 0),
        ((CT, (JPEG,)), Peer("PEER", behaviour=replace(STANDARD, transfer_syntaxes=(EXPLICIT,))), 4),
        ((CT, (IMPLICIT,)), Peer("PEER", behaviour=replace(STANDARD, transfer_syntaxes=(EXPLICIT,))), 0),
    ],
)
def test_why_a_context_is_refused(context: tuple[str, tuple[str, ...]], peer: Peer, answer: int) -> None:
    request = ask(context)
    assert [result for result, _ in results(request, peer)] == [answer]
    accepted = negotiate(request, OURS, peer)
    assert dict(accepted.refused) == ({} if answer == 0 else {1: answer})
    assert list(accepted.contexts) == ([1] if answer == 0 else [])


@pytest.mark.parametrize(
    ("preset", "proposed", "chosen"),
    [
        ("standard", (IMPLICIT, JPEG, EXPLICIT), IMPLICIT),
        ("dxserver", (JPEG, IMPLICIT), JPEG),
        ("onepacs", (IMPLICIT, JPEG, EXPLICIT), JPEG),
        ("onepacs", ("1.2.3", IMPLICIT), IMPLICIT),
    ],
)
def test_the_choice_of_a_transfer_syntax_is_the_peers(preset: str, proposed: tuple[str, ...], chosen: str) -> None:
    assert results(ask((CT, proposed)), Peer("PEER", behaviour=PRESETS[preset])) == [(0, chosen)]


@pytest.mark.parametrize(
    ("abstract", "asked", "may", "answer", "ours"),
    [
        (CT, None, ("store", "get"), None, (False, True)),
        (CT, (True, True), ("store", "get"), (True, True), (True, True)),
        (CT, (False, True), ("get",), (False, True), (True, False)),
        (CT, (True, True), ("store",), (True, False), (False, True)),
        (CT, (True, True), ("get",), (False, True), (True, False)),
        (STUDY_ROOT_GET, (True, True), ("get",), (True, False), (False, True)),
        (CT, (False, True), ("store",), None, None),
        (CT, (False, False), ("store", "get"), None, None),
        (VERIFICATION, (False, True), ("echo",), None, None),
        (STORAGE_COMMITMENT, None, ("commitment",), None, (False, True)),
        (STORAGE_COMMITMENT, (False, True), ("commitment",), (False, True), (True, False)),
        (STORAGE_COMMITMENT, (True, True), ("commitment",), (True, True), (True, True)),
        (STORAGE_COMMITMENT, (False, True), ("store",), None, None),
    ],
)
def test_roles_are_what_both_sides_want(
    abstract: str,
    asked: tuple[bool, bool] | None,
    may: tuple[str, ...],
    answer: tuple[bool, bool] | None,
    ours: tuple[bool, bool] | None,
) -> None:
    request = ask((abstract, (IMPLICIT,)), roles={} if asked is None else {abstract: asked})
    accepted = negotiate(request, OURS, Peer("PEER", may=may))
    assert accepted.accept.user.roles == ({} if answer is None else {abstract: answer})
    expected = {} if ours is None else {1: Context(1, abstract, IMPLICIT, scu=ours[0], scp=ours[1])}
    assert dict(accepted.contexts) == expected


def test_who_can_be_asked_for_commitment_may_report_on_it() -> None:
    """PS3.4 J.3.3: a destination needs no right of its own for that."""
    request = ask((STORAGE_COMMITMENT, (IMPLICIT,)), roles={STORAGE_COMMITMENT: (True, True)})
    accepted = negotiate(request, OURS, Peer("PEER", "10.0.0.9", 104, may=("echo",)))
    assert dict(accepted.contexts) == {1: Context(1, STORAGE_COMMITMENT, IMPLICIT, scu=True, scp=False)}


def test_what_we_say_of_ourselves() -> None:
    user = negotiate(ask((CT, (IMPLICIT,)), has_window=True), OURS, PEER).accept.user
    assert (user.max_length, user.implementation_class, user.implementation_version) == (131072, "1.2.3.4", "OURS")
    assert user.has_window
    one_pacs = negotiate(ask((CT, (IMPLICIT,))), OURS, Peer("PEER", behaviour=PRESETS["onepacs"]))
    assert one_pacs.accept.user.max_length == 116794
    assert not one_pacs.accept.user.has_window


@pytest.mark.parametrize(("announced", "ours", "length"), [(0, 65536, 65536), (16384, 65536, 16384), (1 << 31, 9, 9)])
def test_the_length_of_what_we_send(announced: int, ours: int, length: int) -> None:
    assert send_length(announced, ours) == length


def rows(name: str) -> list[dict[str, str]]:
    with (REQUIREMENTS / name).open(encoding="utf8") as file:
        return list(csv.DictReader(file))


def test_every_storage_class_and_syntax_that_is_asked_for_is_accepted() -> None:
    classes = {row["uid"] for row in rows("sop_classes.csv") if row["uid"].startswith("1.2.840.10008.5.1.4.1.1.")}
    classes -= {uid for uid in classes if uid.endswith("*")}
    syntaxes = {row["uid"] for row in rows("transfer_syntaxes.csv") if "C-STORE" in row["service"]} | set(
        TRANSFER_SYNTAXES
    )
    assert len(classes) >= 76
    for uid in classes:
        assert is_storage(uid)
        proposed = [(uid, (syntax,)) for syntax in sorted(syntaxes)]
        assert {result for result, _ in results(ask(*proposed))} == {0}


_NO_IMAGES = (
    "Waveform,Presentation State,Raw Data,Registration,Fiducials,Segmentation,SR Storage,Real World,Key Object,PDF,"
    "PET Curve,Spectroscopy,RT) Dose,Structure Set,Plan,Record"
).split(",")


def test_the_classes_without_images_of_the_dxserver_statement() -> None:
    """Table 7: by the names of the list, so that a family that is missing shows."""
    for row in rows("sop_classes.csv"):
        if row["seed"] == "dxserver" and row["uid"].startswith("1.2.840.10008.5.1.4.1.1."):
            assert is_non_image(row["uid"]) == any(word in row["name"] for word in _NO_IMAGES), row["name"]
