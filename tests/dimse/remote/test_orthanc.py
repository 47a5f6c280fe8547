"""A web user before Orthanc: search at each level, retrieve, and what QIDO has that C-FIND has not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from app.archive.bridges import Bridges
from app.archive.prefetch import SourceAway
from app.archive.remote_peers import PeerSource, error_of
from app.dicom.worklist import text_of
from app.errors import BridgeUnreachable, NotCallable
from tests.dimse.remote.conftest import SECRET, Site, studies, uid
from tests.requirements.instances import encode
from tests.support.archive import free_port
from tests.support.orthanc import Orthanc


@asynccontextmanager
async def opened(*known: tuple[str, str]) -> AsyncIterator[Bridges]:
    """These bridges, as a process of the archive knows them."""
    bridges = Bridges(known)
    yield bridges
    await bridges.close()


NAME = "Müller^Änne"


@pytest.fixture(scope="module", autouse=True)
def _stored(other: Orthanc) -> None:
    for ds in studies("7811", 3, PatientID="OR-1", PatientName=NAME, SpecificCharacterSet="ISO_IR 100"):
        other.request("POST", "/instances", encode(ds))


def get(site: Site, **parameters: str) -> httpx.Response:
    return site.user.get("/peers/ORTHANC/studies", params={"PatientID": "OR-1"} | parameters)


def test_matching(site: Site) -> None:
    assert len(get(site).json()) == 3
    assert len(get(site, PatientName="Mü*").json()) == 3
    assert len(get(site, StudyInstanceUID=f"{uid('7811.0')},{uid('7811.2')}").json()) == 2
    assert len(get(site, StudyDate="20240101-20241231").json()) == 3
    assert len(get(site, ModalitiesInStudy="OT,CT").json()) == 3
    nothing = get(site, StudyDate="19000101")
    assert (nothing.status_code, nothing.content) == (204, b"")


def test_answers_and_pages(site: Site) -> None:
    (found,) = get(site, limit="1", includefield="StudyDescription").json()
    assert found["00100010"]["Value"] == [{"Alphabetic": NAME}]
    assert found["00081030"]["Value"] == ["Knee"]
    uids = {one["0020000D"]["Value"][0] for at in range(3) for one in get(site, limit="1", offset=str(at)).json()}
    assert uids == {uid(f"7811.{number}") for number in range(3)}
    assert get(site, offset="3").status_code == get(site, limit="0").status_code == 204


def test_what_has_no_counterpart_is_warned_of(site: Site) -> None:
    answer = get(site, fuzzymatching="true", includefield="all", invented="1", **{"00091001": "x"})
    assert answer.status_code == 200
    warning = answer.headers["warning"]
    assert warning.startswith("299 ")
    for name in ("fuzzymatching", "includefield=all", "invented", "00091001"):
        assert name in warning
    assert "warning" not in get(site, fuzzymatching="false").headers


def test_a_series_comes_by_c_move_and_a_study_by_c_get(site: Site, other: Orthanc) -> None:
    (series,) = site.user.get(f"/peers/ORTHANC/studies/{uid('7811.0')}/series").json()
    name, last = site.events("ORTHANC", study=uid("7811.0"), series=series["0020000E"]["Value"][0])[-1]
    assert (name, last["status"]) == ("done", "0000")
    assert len(site.instances(uid("7811.0"))) == 2
    site.register("ORTHANC", other.dimse, behaviour={"retrieve_with": "get"})
    name, last = site.events("ORTHANC", study=uid("7811.1"))[-1]
    assert (name, last["completed"]) == ("done", 2)
    assert len(site.instances(uid("7811.1"))) == 2
    site.register("ORTHANC", other.dimse)


async def test_a_peer_is_a_source_of_priors(site: Site, apart: str, other: Orthanc) -> None:
    study = uid("7811.2")
    async with opened((apart, SECRET)) as bridges:
        source = PeerSource(bridges, "ORTHANC")
        await source.echo()
        assert study in {text_of(one, "0020000D") for one in await source.studies("OR-1")}
        (series,) = await source.series(study)
        place = text_of(series, "0020000E")
        names = [(study, place, sop) for sop in await source.instances(study, place)]
        assert len(names) == 2
        assert await source.fetch(study, names, whole=True) == ""
        assert site.instances(study) == {sop for _, _, sop in names}
        assert await source.fetch(study, names, whole=False) == ""
        site.register("GONE", free_port())
        gone = PeerSource(bridges, "GONE")
        for ask in (gone.echo(), gone.studies("OR-1"), gone.fetch(study, names, whole=True)):
            with pytest.raises(SourceAway):
                await ask
        with pytest.raises(NotCallable):
            await PeerSource(bridges, "NOBODY").studies("OR-1")


async def test_the_next_bridge_is_asked_when_one_cannot_be_reached(site: Site, apart: str) -> None:
    nobody = (f"http://127.0.0.1:{free_port()}", "")
    async with opened((apart, SECRET), nobody) as bridges:
        for _ in range(2):
            answer = await bridges.ask("POST", "ORTHANC", "echo")
            assert answer.status_code == 200
            await answer.aclose()
    async with opened(nobody) as alone:
        with pytest.raises(BridgeUnreachable):
            await alone.ask("POST", "ORTHANC", "echo")


async def test_a_bridge_wants_its_secret(apart: str) -> None:
    async with opened((apart, "another secret than that")) as bridges:
        answer = await bridges.ask("POST", "ORTHANC", "echo")
        assert isinstance(await error_of(answer), BridgeUnreachable)
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{apart}/peers/ORTHANC/echo")).status_code == 401
