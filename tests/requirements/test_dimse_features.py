"""What the listed products say of themselves besides classes, syntaxes, keys, statuses and parameters."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from app.dicom.peer import PRESETS, Peer
from dimse_bridge.association.abstract_syntaxes import PATIENT_ROOT_FIND, STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.associate_pdus import APPLICATION_CONTEXT, AssociateRequest
from dimse_bridge.association.association import Association, Released
from dimse_bridge.association.commands import move_rq, response
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.negotiation import Acceptance, Caller, Rejection
from dimse_bridge.user import echo
from dimse_bridge.user.identifiers import parse_key
from dimse_bridge.user.remote import Remote
from tests.dimse.find.asking import ask as find
from tests.dimse.retrieve.conftest import Bridge, bridge, store
from tests.dimse.retrieve.scripted import destination
from tests.dimse.retrieve.test_dcmtk import study_of
from tests.dimse.retrieve.test_statuses import ask
from tests.requirements.instances import CT, ROOT, encode, make
from tests.requirements.instances import store as store_files
from tests.requirements.test_dimse_provider import calling
from tests.support.bridge import RunningBridge

__all__ = ["bridge"]
STUDY = "7450"


async def test_the_application_context_is_proposed() -> None:
    """X2; and that it is the only one that is accepted, the tests of negotiation show."""
    seen: list[AssociateRequest] = []

    async def judge(request: AssociateRequest, caller: Caller) -> Acceptance | Rejection:
        seen.append(request)
        return await accept_all(request, caller)

    async def answer(association: Association) -> None:
        message = await association.receive()
        await association.send(message.context, response(message.command, 0))
        await association.receive()

    async with await serve_associations("127.0.0.1", 0, judge, answer) as listener:
        await echo.echo(Remote("THERE", "127.0.0.1", listener.port))
    assert [one.application_context for one in seen] == [APPLICATION_CONTEXT] == ["1.2.840.10008.3.1.1.1"]


def test_extended_negotiation_is_not_answered(bridge_process: RunningBridge) -> None:
    """D3: an acceptor that does not support it leaves the item out (PS3.7 D.3.3.5)."""
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = STUDY_ROOT_FIND, b"\1\1\1\1\1"
    contexts = [build_context(STUDY_ROOT_FIND)]
    with calling(bridge_process, "dxserver", contexts, ext_neg=[item]) as association:
        assert association.acceptor.sop_class_extended == {}
        assert association.acceptor.asynchronous_operations == (1, 1)


async def test_each_set_of_instances_has_an_association_of_its_own(bridge: Bridge, client: httpx.Client) -> None:
    """D12: opened for it, released when all are sent."""
    endings: list[str] = []
    samples = study_of(2, 3)
    store(client, *(one.encode() for one in samples))
    keys = [parse_key(f"StudyInstanceUID={samples[0].study}")]

    async def serve(association: Association) -> None:
        try:
            while True:
                message = await association.receive()
                await message.drain()
                await association.send(message.context, response(message.command, 0))
        except Released:
            endings.append("released")
            raise

    async with await serve_associations("127.0.0.1", 0, accept_all, serve) as listener:
        bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", listener.port)
        for number in (1, 2):
            last = (await ask(bridge, move_rq(1, STUDY_ROOT_MOVE, "DEST"), keys))[-1]
            assert (last.status, last.completed) == (0, 6)
            assert endings == ["released"] * number


def test_a_patient_is_a_patient_id(bridge_process: RunningBridge, client: httpx.Client) -> None:
    """O16: whatever the names in the studies."""
    files = [encode(make(f"{STUDY}.{at}", 1, CT, PatientID="ONE-PATIENT", PatientName=f"Name^{at}")) for at in (1, 2)]
    assert store_files(client, files).status_code == 200
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.PatientID, keys.NumberOfPatientRelatedStudies = "PATIENT", "ONE-PATIENT", None
    with calling(bridge_process, "standard", [build_context(PATIENT_ROOT_FIND)]) as association:
        reply = find(association, keys, PATIENT_ROOT_FIND)
    assert [int(one.NumberOfPatientRelatedStudies) for one in reply.identifiers] == [2]


def test_what_comes_in_parts_is_one_study(bridge_process: RunningBridge, client: httpx.Client) -> None:
    """X6: what is stored by several associations is bound to the study and series with its UIDs."""
    for number in (1, 2, 3):
        with calling(bridge_process, "xpacs", [build_context(CT, "1.2.840.10008.1.2.1")]) as association:
            assert association.send_c_store(make(f"{STUDY}.9", number)).Status == 0
    found = client.get("/series", params={"StudyInstanceUID": f"{ROOT}.{STUDY}.9"}).json()
    assert [one["00201209"]["Value"] for one in found] == [[3]]


@pytest.mark.parametrize("preset", ["dxserver", "onepacs"])
async def test_only_classes_of_what_is_sent_are_proposed(bridge: Bridge, client: httpx.Client, preset: str) -> None:
    """O7: each transfer syntax in a context of its own, and one with all of them."""
    samples = study_of(1, 1)
    store(client, *(one.encode() for one in samples))
    proposed: list[Proposed] = []
    async with destination() as there:
        bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", there.port, behaviour=PRESETS[preset])
        connect = bridge.connect

        def noted(peer: Peer, calling: str, contexts: list[Proposed], *more: Any) -> object:
            proposed.extend(contexts)
            return connect(peer, calling, contexts, *more)

        bridge.connect = noted  # type: ignore[method-assign, assignment]
        keys = [parse_key(f"StudyInstanceUID={samples[0].study}")]
        assert (await ask(bridge, move_rq(1, STUDY_ROOT_MOVE, "DEST"), keys))[-1].completed == 1
    (sop_class,) = {one.abstract_syntax for one in proposed}
    assert sop_class == "1.2.840.10008.5.1.4.1.1.7"
    *single, together = [one.transfer_syntaxes for one in proposed]
    assert tuple(uid for (uid,) in single) == together
