"""The functions of a user before other people's providers, and before our own bridge."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.dicom.peer import PRESETS, STANDARD, Peer
from app.dicom.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE
from app.errors import BadRequest, SOPClassRefused
from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.associate_pdus import AssociateRequest
from dimse_bridge.association.association import Association, AssociationEnded, Rejected, Released, Unreachable
from dimse_bridge.association.commands import response, store_rq
from dimse_bridge.association.context import Timeouts
from dimse_bridge.association.negotiation import Caller, Rejection
from dimse_bridge.user import echo, find, get, move, store
from dimse_bridge.user.identifiers import parse_key
from dimse_bridge.user.remote import OperationFailed, Remote
from dimse_bridge.user.storage_classes import STORAGE_CLASSES
from tests.dimse.retrieve.conftest import Bridge, storescp
from tests.dimse.retrieve.conftest import store as put
from tests.dimse.retrieve.test_dcmtk import expected, study_of, tokens
from tests.support.archive import free_port
from tests.support.orthanc import Orthanc
from tests.support.samples import Sample

HTJ2K = "1.2.840.10008.1.2.4.201"


def of_bridge(bridge: Bridge, **more: object) -> Remote:
    return Remote("FILEROOM", "127.0.0.1", bridge.port, **more)  # type: ignore[arg-type]


def of_orthanc(orthanc: Orthanc) -> Remote:
    return Remote(orthanc.aet, "127.0.0.1", orthanc.dimse)


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def instances_of(client: httpx.Client, study: str) -> set[str]:
    return {one["00080018"]["Value"][0] for one in client.get(f"/studies/{study}/instances").json()}


def written(folder: Path, samples: list[Sample]) -> list[Path]:
    folder.mkdir()
    for sample in samples:
        (folder / f"{sample.sop}.dcm").write_bytes(sample.encode())
    return sorted(folder.iterdir())


async def test_echo(bridge: Bridge, orthanc: Orthanc) -> None:
    await echo.echo(of_bridge(bridge))
    await echo.echo(of_orthanc(orthanc))
    await echo.echo(Remote(orthanc.aet, "localhost", orthanc.dimse))


async def test_who_is_not_there(bridge: Bridge) -> None:
    with pytest.raises(Unreachable):
        await echo.echo(Remote("NOBODY", "127.0.0.1", free_port()))
    with pytest.raises(Rejected, match="reason 7"):
        await echo.echo(Remote("ANOTHER", "127.0.0.1", bridge.port))


async def test_what_is_not_offered(tmp_path: Path) -> None:
    async with storescp(tmp_path / "in") as port:
        with pytest.raises(SOPClassRefused):
            [one async for one in find.find(Remote("ANY", "127.0.0.1", port), "STUDY", [])]


async def test_a_study_to_another_archive_and_back(orthanc: Orthanc, tmp_path: Path) -> None:
    samples = study_of(2, 3)
    remote = of_orthanc(orthanc)
    sent = [one async for one in store.store(remote, written(tmp_path / "out", samples))]
    assert [one.is_stored for one in sent] == [True] * 6
    keys = [parse_key(f"StudyInstanceUID={samples[0].study}")]
    asked = [*keys, parse_key("PatientName"), parse_key("ModalitiesInStudy=OT")]
    (match,) = [one async for one in find.find(remote, "STUDY", asked)]
    assert match.text(0x00100010) == "Sample^" + samples[0].study[-6:]
    folder = get.Folder(new_folder(tmp_path / "in"))
    responses = [one async for one in get.get(remote, "STUDY", keys, folder)]
    assert responses[-1].succeeded
    assert set(tokens(tmp_path / "in")) == set(expected(samples))


async def test_a_study_of_another_archive_moved_to_the_bridge(
    bridge: Bridge, client: httpx.Client, orthanc: Orthanc, tmp_path: Path
) -> None:
    samples = study_of(1, 4)
    remote = of_orthanc(orthanc)
    assert [one.status async for one in store.store(remote, written(tmp_path / "out", samples))] == [0] * 4
    orthanc.know("fileroom", "FILEROOM", bridge.port)
    keys = [parse_key(f"StudyInstanceUID={samples[0].study}")]
    responses = [one async for one in move.move(remote, "STUDY", keys, "FILEROOM")]
    assert responses[-1].succeeded
    assert instances_of(client, samples[0].study) == set(expected(samples))


async def test_the_bridge_moves_a_study_to_another_archive(
    bridge: Bridge, client: httpx.Client, orthanc: Orthanc
) -> None:
    samples = study_of(2, 2)
    put(client, *(sample.encode() for sample in samples))
    bridge.peers["ORTHANC"] = Peer("ORTHANC", "127.0.0.1", orthanc.dimse)
    keys = [parse_key(f"StudyInstanceUID={samples[0].study}")]
    responses = [one async for one in move.move(of_bridge(bridge), "STUDY", keys, "ORTHANC")]
    assert [one.completed for one in responses] == [0, 1, 2, 3, 4, 4]
    assert [one.remaining for one in responses] == [4, 3, 2, 1, 0, 0]
    found = [
        one
        async for one in find.find(of_orthanc(orthanc), "STUDY", [*keys, parse_key("NumberOfStudyRelatedInstances")])
    ]
    assert [one.text(0x00201208) for one in found] == ["4"]


async def test_everything_of_the_bridge(bridge: Bridge, client: httpx.Client, tmp_path: Path) -> None:
    samples = study_of(2, 3)
    remote = of_bridge(bridge)
    assert [one.status async for one in store.store(remote, written(tmp_path / "out", samples))] == [0] * 6
    keys = [parse_key(f"StudyInstanceUID={samples[0].study}")]
    matches = [one async for one in find.find(remote, "SERIES", [*keys, parse_key("SeriesInstanceUID")])]
    assert {one.text(0x0020000E) for one in matches} == {one.series for one in samples}
    folder = get.Folder(new_folder(tmp_path / "in"))
    assert [one async for one in get.get(remote, "STUDY", keys, folder)][-1].completed == 6
    assert tokens(tmp_path / "in") == expected(samples)


async def test_failures_are_told(bridge: Bridge, client: httpx.Client) -> None:
    (last,) = [
        one async for one in move.move(of_bridge(bridge), "STUDY", [parse_key("StudyInstanceUID=1.2")], "NOBODY")
    ]
    assert (last.status, last.comment) == (0xA801, "the move destination is not registered with an address")
    with pytest.raises(OperationFailed, match="A900H"):
        [one async for one in find.find(of_bridge(bridge), "NOTHING", [])]


@pytest.mark.parametrize("pause", [0.5, None])
async def test_responses_have_a_time_limit_of_their_own(tmp_path: Path, pause: float | None) -> None:
    """Whatever `idle` says; without an answer the file was not sent."""

    async def serve(association: Association) -> None:
        message = await association.receive()
        await message.drain()
        if pause is not None:
            await asyncio.sleep(pause)
            await association.send(message.context, response(message.command, 0))
        await association.receive(None)

    listener = await serve_associations("127.0.0.1", 0, accept_all, serve)
    async with listener:
        limits = Timeouts(idle=0.1)
        patience = 0.3 if pause is None else None
        remote = Remote("ANY", "127.0.0.1", listener.port, timeouts=limits, patience=patience)
        (sent,) = [one async for one in store.store(remote, written(tmp_path / "out", study_of(1, 1)))]
    assert (sent.status, "silent" in sent.reason) == ((0, False) if pause is not None else (None, True))


async def test_after_a_failed_echo_the_association_is_released() -> None:
    endings: list[AssociationEnded] = []

    async def serve(association: Association) -> None:
        try:
            while True:
                message = await association.receive()
                await association.send(message.context, response(message.command, 0x0110))
        except AssociationEnded as ending:
            endings.append(ending)
            raise

    listener = await serve_associations("127.0.0.1", 0, accept_all, serve)
    async with listener:
        with pytest.raises(OperationFailed, match="0110H"):
            await echo.echo(Remote("ANY", "127.0.0.1", listener.port))
    assert [type(ending) for ending in endings] == [Released]


async def test_c_get_proposes_what_the_behaviour_allows() -> None:
    requests: list[AssociateRequest] = []

    async def refuse(request: AssociateRequest, caller: Caller) -> Rejection:
        requests.append(request)
        return Rejection(1, 1, 1, "")

    async def serve(association: Association) -> None:
        raise AssertionError("no association was accepted")

    images = STORAGE_CLASSES[0], STORAGE_CLASSES[7]
    behaviour = replace(STANDARD, sop_classes=images, transfer_syntaxes=(EXPLICIT_LE, HTJ2K))
    listener = await serve_associations("127.0.0.1", 0, refuse, serve)
    async with listener:
        remote = Remote("ANY", "127.0.0.1", listener.port, behaviour=behaviour)
        with pytest.raises(Rejected):
            [one async for one in get.get(remote, "STUDY", [], get.Folder(Path()))]
    offered = {(one.abstract_syntax, uid) for one in requests[0].contexts[1:] for uid in one.transfer_syntaxes}
    assert offered == {(one, uid) for one in images for uid in (IMPLICIT_LE, EXPLICIT_LE, HTJ2K)}


async def test_ignored_statuses(bridge: Bridge, tmp_path: Path) -> None:
    samples = study_of(1, 2)
    paths = written(tmp_path / "out", samples)
    bridge.peers["FILEROOM"] = Peer("FILEROOM", may=("echo", "get"))
    paths.append(tmp_path / "text.dcm")
    paths[-1].write_text("no DICOM file at all, though long enough to be one" * 9)
    sent = [one async for one in store.store(of_bridge(bridge), paths)]
    assert [one.is_stored for one in sent] == [False, False, False]
    bridge.peers["FILEROOM"] = Peer("FILEROOM")
    sent = [one async for one in store.store(of_bridge(bridge, behaviour=PRESETS["onepacs"]), paths)]
    assert [one.is_stored for one in sent] == [False, True, True]


def test_keys() -> None:
    assert parse_key("PatientName=DOE*").text == "DOE*"
    assert parse_key("00100010").tag == 0x00100010
    nested = parse_key("RequestAttributesSequence.RequestedProcedureID=7")
    assert (nested.tag, nested.items[0][0].text) == (0x00400275, "7")
    with pytest.raises(BadRequest):
        parse_key("PatientNameX=1")


@pytest.mark.parametrize("uid", ["../../forged", "/tmp/forged", "1.2/3", "", "1." + "2" * 64])
async def test_a_uid_that_is_none_names_no_file(tmp_path: Path, uid: str) -> None:
    statuses = []

    async def answer(association: Association) -> None:
        request = await association.receive()
        context = next(one for one in association.contexts.values() if one.scu)
        await association.send(context, store_rq(1, context.abstract_syntax, uid), b"data")
        statuses.append((await association.receive()).command.status)
        await association.send(request.context, response(request.command, 0, completed=1))
        await association.receive()

    async with await serve_associations("127.0.0.1", 0, accept_all, answer) as listener:
        folder = get.Folder(new_folder(tmp_path / "in"))
        remote = Remote("FORGER", "127.0.0.1", listener.port)
        assert [one.status async for one in get.get(remote, "STUDY", [], folder)] == [0]
    assert statuses == [0xC000]
    assert folder.count == 0
    assert files_below(tmp_path) == []


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
