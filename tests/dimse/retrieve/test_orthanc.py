"""The same services before another DICOMweb server: Orthanc behind the bridge."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from pydicom import dcmread

from app.dicom.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dimse_bridge.association.commands import get_rq, move_rq
from dimse_bridge.association.context import Proposed
from dimse_bridge.user.identifiers import parse_key
from tests.dimse.retrieve.conftest import Bridge, open_bridge
from tests.dimse.retrieve.scripted import destination
from tests.dimse.retrieve.test_dcmtk import study_of
from tests.dimse.retrieve.test_statuses import SC, ask
from tests.dimse.retrieve.test_transfer_syntaxes import real
from tests.support.orthanc import Orthanc, orthanc

__all__ = ["orthanc"]
MOVE = move_rq(7, STUDY_ROOT_MOVE, "DEST")
GET = get_rq(7, STUDY_ROOT_GET)


@pytest.fixture
async def before(orthanc: Orthanc) -> AsyncIterator[Bridge]:
    """The bridge before Orthanc."""
    async with open_bridge(orthanc.root, ours=False) as running:
        yield running


def store(orthanc: Orthanc, *files: bytes) -> None:
    for data in files:
        orthanc.request("POST", "/instances", data)


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
async def test_every_level(before: Bridge, orthanc: Orthanc, level: str) -> None:
    samples = study_of(2, 3)
    store(orthanc, *(one.encode() for one in samples))
    first = samples[0]
    names = (("StudyInstanceUID", first.study), ("SeriesInstanceUID", first.series), ("SOPInstanceUID", first.sop))
    count = {"STUDY": 1, "SERIES": 2, "IMAGE": 3}[level]
    keys = [parse_key(f"{name}={uid}") for name, uid in names[:count]]
    async with destination() as there:
        before.peers["DEST"] = there.peer
        last = (await ask(before, MOVE, keys, level=level))[-1]
        assert (last.status, last.completed) == (0, {"STUDY": 6, "SERIES": 3, "IMAGE": 1}[level])
        for one in samples:
            if one.sop in there.received:
                assert one.encode().endswith(there.received[one.sop][1])


async def test_by_c_get(before: Bridge, orthanc: Orthanc) -> None:
    samples = study_of(1, 4)
    store(orthanc, *(one.encode() for one in samples))
    keys = [parse_key(f"StudyInstanceUID={samples[0].study}")]
    storage = Proposed(SC, (EXPLICIT_LE,), scu_role=False, scp_role=True)
    assert (await ask(before, GET, keys, storage))[-1].completed == 4


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm"])
async def test_other_transfer_syntaxes(before: Bridge, orthanc: Orthanc, name: str) -> None:
    data, original = real(name)
    store(orthanc, data)
    async with destination() as there:
        before.peers["DEST"] = there.peer
        last = (await ask(before, MOVE, [parse_key(f"StudyInstanceUID={original.StudyInstanceUID}")]))[-1]
        assert (last.completed, last.failed) == (1, 0), last.comment
        syntax, data_set = there.received[original.SOPInstanceUID]
    assert data.endswith(data_set)
    assert syntax == original.file_meta.TransferSyntaxUID
    assert dcmread(io.BytesIO(data)).SOPInstanceUID == original.SOPInstanceUID


async def test_a_peer_that_takes_only_implicit(before: Bridge, orthanc: Orthanc) -> None:
    samples = study_of(1, 2)
    store(orthanc, *(one.encode() for one in samples))
    async with destination(syntaxes=(IMPLICIT_LE,)) as there:
        before.peers["DEST"] = there.peer
        assert (await ask(before, MOVE, [parse_key(f"StudyInstanceUID={samples[0].study}")]))[-1].completed == 2
        assert {syntax for syntax, _ in there.received.values()} == {IMPLICIT_LE}
