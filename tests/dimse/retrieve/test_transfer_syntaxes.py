"""In which transfer syntax instances leave: as stored where the peer takes it, else converted or transcoded."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from app.dicom.peer import Behaviour, Peer
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_MOVE
from dimse_bridge.association.commands import move_rq
from dimse_bridge.association.context import Context, Proposed
from dimse_bridge.services.selection import Wanted
from dimse_bridge.services.storage_contexts import MOST_CONTEXTS, UNCOMPRESSED, Contexts, allowed_by, propose
from dimse_bridge.user.identifiers import parse_key
from dimse_bridge.user.remote import Retrieved
from tests.dimse.retrieve.conftest import Bridge, files_in, store, storescp
from tests.dimse.retrieve.scripted import destination
from tests.dimse.retrieve.test_dcmtk import movescu
from tests.dimse.retrieve.test_statuses import ask
from tests.support.samples import new_uid
from tests.unit.dicom.encoded import element, implicit

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
JPEG, J2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
MOVE = move_rq(7, STUDY_ROOT_MOVE, "DEST")
KINDS = {IMPLICIT_LE: (True, True), EXPLICIT_LE: (False, True), EXPLICIT_BE: (False, False)}


def real(name: str) -> tuple[bytes, Dataset]:
    """A file of pydicom under new UIDs: its data set is the only one in its study."""
    original = dcmread(str(get_testdata_file(name)))
    original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID = new_uid(), new_uid(), new_uid()
    original.file_meta.MediaStorageSOPInstanceUID = original.SOPInstanceUID
    buffer = io.BytesIO()
    original.save_as(buffer)
    return buffer.getvalue(), original


async def moved(bridge: Bridge, study: str) -> Retrieved:
    return (await ask(bridge, MOVE, [parse_key(f"StudyInstanceUID={study}")]))[-1]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm"])
async def test_as_stored(bridge: Bridge, client: httpx.Client, name: str) -> None:
    data, original = real(name)
    store(client, data)
    async with destination() as there:
        bridge.peers["DEST"] = there.peer
        assert (await moved(bridge, original.StudyInstanceUID)).completed == 1
        syntax, data_set = there.received[original.SOPInstanceUID]
    assert syntax == original.file_meta.TransferSyntaxUID
    assert data.endswith(data_set)
    assert len(data) - len(data_set) < 1000


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm"])
@pytest.mark.parametrize("only", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
async def test_a_peer_that_takes_only_one(bridge: Bridge, client: httpx.Client, name: str, only: str) -> None:
    data, original = real(name)
    store(client, data)
    async with destination(syntaxes=(only,)) as there:
        bridge.peers["DEST"] = there.peer
        last = await moved(bridge, original.StudyInstanceUID)
        assert (last.status, last.completed, last.comment) == (0, 1, "")
        syntax, data_set = there.received[original.SOPInstanceUID]
    assert syntax == only
    converted = read_dataset(io.BytesIO(data_set), *KINDS[only])
    converted.file_meta = original.file_meta
    pixels = original.pixel_array
    converted.file_meta.TransferSyntaxUID = UID(only)
    assert converted.PatientName == original.PatientName
    assert (converted.pixel_array == pixels).all()


async def test_dcmtk_that_takes_only_implicit(bridge: Bridge, client: httpx.Client, tmp_path: Path) -> None:
    data, original = real("CT_small.dcm")
    store(client, data)
    async with storescp(tmp_path / "in", "+xi") as port:
        bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", port)
        said = await movescu(
            bridge, "DEST", keys=("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={original.StudyInstanceUID}")
        )
    assert "Received Final Move Response (Success)" in said
    (found,) = files_in(tmp_path / "in").values()
    assert found.file_meta.TransferSyntaxUID == IMPLICIT_LE
    assert (found.pixel_array == original.pixel_array).all()


async def test_private_attributes_that_came_implicit_leave_as_un(bridge: Bridge, client: httpx.Client) -> None:
    study, series, sop = new_uid(), new_uid(), new_uid()
    texts = ((0x00080016, CT), (0x00080018, sop), (0x0020000D, study), (0x0020000E, series))
    private = implicit(0x00250010, "GEMS_SERS_01") + implicit(0x00251007, b"\1\0\0\0")
    data = b"".join(implicit(tag, uid.encode() + b"\0" * (len(uid) % 2)) for tag, uid in texts) + private
    store(client, data)
    async with destination(syntaxes=(EXPLICIT_LE,)) as there:
        bridge.peers["DEST"] = there.peer
        assert (await moved(bridge, study)).completed == 1
        _, data_set = there.received[sop]
    assert data_set.endswith(element(0x00250010, "LO", "GEMS_SERS_01") + element(0x00251007, "UN", b"\1\0\0\0"))


async def test_a_study_of_many_kinds(bridge: Bridge, client: httpx.Client) -> None:
    study, sent = new_uid(), {}
    for name in ("CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm", "rtplan.dcm"):
        _, one = real(name)
        one.StudyInstanceUID = study
        buffer = io.BytesIO()
        one.save_as(buffer)
        store(client, buffer.getvalue())
        sent[str(one.SOPInstanceUID)] = (str(one.file_meta.TransferSyntaxUID), buffer.getvalue())
    async with destination() as there:
        bridge.peers["DEST"] = there.peer
        assert (await moved(bridge, study)).completed == 5
        assert there.associations == 1
    assert {sop: syntax for sop, (syntax, _) in there.received.items()} == {sop: one[0] for sop, one in sent.items()}
    assert all(sent[sop][1].endswith(data) for sop, (_, data) in there.received.items())


@pytest.mark.parametrize("rows", [16, 1200])
async def test_a_data_set_that_ends_inside_an_element_goes_as_it_is_or_not_at_all(
    bridge: Bridge, client: httpx.Client, rows: int
) -> None:
    _, original = real("MR_small_implicit.dcm")
    original.Rows = original.Columns = rows
    original.PixelData = bytes(2 * rows * rows)
    buffer = io.BytesIO()
    original.save_as(buffer)
    data = buffer.getvalue()[:-100]
    store(client, data)
    async with destination() as there:
        bridge.peers["DEST"] = there.peer
        assert (await moved(bridge, original.StudyInstanceUID)).completed == 1
        syntax, data_set = there.received[original.SOPInstanceUID]
    assert syntax == IMPLICIT_LE
    assert data.endswith(data_set)
    async with destination(syntaxes=(EXPLICIT_LE,)) as there:
        bridge.peers["DEST"] = there.peer
        last = await moved(bridge, original.StudyInstanceUID)
    assert (last.failed, last.failed_uids) == (1, (original.SOPInstanceUID,))
    assert not there.received


async def test_a_class_that_the_peer_does_not_take(bridge: Bridge, client: httpx.Client) -> None:
    study = new_uid()
    for name in ("CT_small.dcm", "rtplan.dcm"):
        _, one = real(name)
        one.StudyInstanceUID = study
        buffer = io.BytesIO()
        one.save_as(buffer)
        store(client, buffer.getvalue())
    async with destination(classes=(CT,)) as there:
        bridge.peers["DEST"] = there.peer
        last = await moved(bridge, study)
    assert (last.status, last.completed, last.failed) == (0xB000, 1, 1)
    assert last.failed_uids == (one.SOPInstanceUID,)
    assert last.comment == "the peer takes it in no form that we have"


def wanted(sop_class: str, *syntaxes: str) -> Wanted:
    return Wanted("1", "2", new_uid(), sop_class, syntaxes)


def test_contexts_are_for_what_is_sent_one_for_each_syntax_and_one_for_all() -> None:
    proposed = propose([wanted(CT, JPEG), wanted(CT, EXPLICIT_LE), wanted(CT, JPEG)])
    kinds = (JPEG, EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
    assert proposed == [*(Proposed(CT, (uid,)) for uid in kinds), Proposed(CT, kinds)]
    assert len(propose([wanted(CT)])[-1].transfer_syntaxes) == 12


@pytest.mark.parametrize("classes", [1, 25, 26, 40, 64, 128, 150])
def test_an_association_holds_no_more_contexts_than_it_can(classes: int) -> None:
    proposed = propose([wanted(f"1.2.3.{number}", JPEG) for number in range(classes)])
    assert len(proposed) <= MOST_CONTEXTS
    assert len({one.abstract_syntax for one in proposed}) == min(classes, MOST_CONTEXTS)
    assert all(JPEG in one.transfer_syntaxes for one in proposed[:1])


def test_what_a_peer_is_used_to() -> None:
    behaviour = Behaviour(uncompressed_non_images=True)
    assert [one.transfer_syntaxes for one in propose([wanted(SR, EXPLICIT_BE)], allowed_by(behaviour))] == [
        (EXPLICIT_LE,),
        (IMPLICIT_LE,),
        (EXPLICIT_LE, IMPLICIT_LE),
    ]
    assert len(propose([wanted(CT, EXPLICIT_BE)], allowed_by(behaviour))) == 4
    only = propose([wanted(CT, J2K)], allowed_by(Behaviour(transfer_syntaxes=(EXPLICIT_LE,))))
    assert {one.transfer_syntaxes for one in only} == {(EXPLICIT_LE,), (IMPLICIT_LE,), (EXPLICIT_LE, IMPLICIT_LE)}


def test_the_way_of_an_instance() -> None:
    contexts = Contexts(Context(at, CT, uid, scu=True, scp=False) for at, uid in enumerate(UNCOMPRESSED))
    assert contexts.way(CT, EXPLICIT_BE) == (Context(2, CT, EXPLICIT_BE, scu=True, scp=False), "")
    assert contexts.way(CT, JPEG) == (Context(0, CT, EXPLICIT_LE, scu=True, scp=False), EXPLICIT_LE)
    assert contexts.way(SR, EXPLICIT_LE) is None
    assert Contexts([Context(1, CT, EXPLICIT_LE, scu=False)]).way(CT, EXPLICIT_LE) is None
    compressed = [Context(1, CT, JPEG, scu=True), Context(3, CT, J2K, scu=True)]
    assert Contexts(compressed).way(CT, EXPLICIT_LE) == (compressed[1], J2K)
    assert Contexts(compressed[:1]).way(CT, EXPLICIT_LE) is None
