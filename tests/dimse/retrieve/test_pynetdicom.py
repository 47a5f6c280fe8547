"""C-MOVE to a pynetdicom SCP, and C-GET by a pynetdicom SCU that selects its role: a whole study, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydicom import Dataset
from pynetdicom import AE, build_role, evt

from app.dicom.peer import Peer
from app.dicom.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from tests.dimse.retrieve.conftest import Bridge, store
from tests.dimse.retrieve.test_dcmtk import study_of
from tests.dimse.retrieve.test_statuses import SC
from tests.support.samples import Sample

DATA_SET = b"\x08\x00\x16\x00UI"
"""How the data set of a sample begins."""


@dataclass
class Taken:
    """What came by C-STORE: SOP Instance UID to data set; `answer` is told of each."""

    answer: int = 0
    data_sets: dict[str, bytes] = field(default_factory=dict)
    originators: set[tuple[str, int]] = field(default_factory=set)

    def __call__(self, event: Any) -> int:
        request = event.request
        self.data_sets[str(request.AffectedSOPInstanceUID)] = request.DataSet.getvalue()
        if request.MoveOriginatorApplicationEntityTitle is not None:
            originator = str(request.MoveOriginatorApplicationEntityTitle).strip()
            self.originators.add((originator, request.MoveOriginatorMessageID))
        return self.answer


def expected(samples: list[Sample]) -> dict[str, bytes]:
    """What must have come of them."""
    files = {one.sop: one.encode() for one in samples}
    return {sop: file[file.index(DATA_SET, 132) :] for sop, file in files.items()}


def whole_study(sample: Sample) -> Dataset:
    """An identifier."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = sample.study
    return identifier


@contextmanager
def provider(taken: Taken) -> Iterator[int]:
    """A storage SCP; its port."""
    ae = AE("DEST")
    ae.add_supported_context(SC, [EXPLICIT_LE, IMPLICIT_LE])
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, taken)])
    try:
        yield int(server.socket.getsockname()[1])
    finally:
        server.shutdown()


def move(port: int, sample: Sample) -> list[tuple[int, int | None]]:
    """Status and completed sub-operations of each response."""
    ae = AE("MOVER")
    ae.add_requested_context(STUDY_ROOT_MOVE)
    association = ae.associate("127.0.0.1", port, ae_title="FILEROOM")
    assert association.is_established
    try:
        responses = association.send_c_move(whole_study(sample), "DEST", STUDY_ROOT_MOVE)
        return [(status.Status, status.get("NumberOfCompletedSuboperations")) for status, _ in responses]
    finally:
        association.release()


def get(port: int, sample: Sample, taken: Taken) -> list[tuple[int, int | None]]:
    """As `move`, to ourselves."""
    ae = AE("GETTER")
    ae.add_requested_context(STUDY_ROOT_GET)
    ae.add_requested_context(SC, EXPLICIT_LE)
    association = ae.associate(
        "127.0.0.1",
        port,
        ae_title="FILEROOM",
        ext_neg=[build_role(SC, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, taken)],
    )
    assert association.is_established
    try:
        responses = association.send_c_get(whole_study(sample), STUDY_ROOT_GET)
        return [(status.Status, status.get("NumberOfCompletedSuboperations")) for status, _ in responses]
    finally:
        association.release()


async def test_c_move_to_a_provider(bridge: Bridge, client: httpx.Client) -> None:
    samples, taken = study_of(2, 3), Taken()
    store(client, *(one.encode() for one in samples))
    with provider(taken) as port:
        bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", port)
        responses = await asyncio.to_thread(move, bridge.port, samples[0])
    assert responses[-1] == (0, 6)
    assert responses[:-1] == [(0xFF00, completed) for completed in range(7)], "the first when the peer is called"
    assert taken.data_sets == expected(samples)
    assert taken.originators == {("MOVER", 1)}


async def test_c_move_to_a_provider_that_refuses(bridge: Bridge, client: httpx.Client) -> None:
    samples, taken = study_of(1, 2), Taken(answer=0xC123)
    store(client, *(one.encode() for one in samples))
    with provider(taken) as port:
        bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", port)
        responses = await asyncio.to_thread(move, bridge.port, samples[0])
    assert responses[-1] == (0xA702, 0)


async def test_c_get_with_role_selection(bridge: Bridge, client: httpx.Client) -> None:
    samples, taken = study_of(2, 3), Taken()
    store(client, *(one.encode() for one in samples))
    responses = await asyncio.to_thread(get, bridge.port, samples[0], taken)
    assert responses[-1] == (0, 6)
    assert taken.data_sets == expected(samples)
