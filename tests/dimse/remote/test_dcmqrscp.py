"""A web user before DCMTK's dcmqrscp: an archive that knows DIMSE only."""

from __future__ import annotations

import pytest

from tests.dimse.remote.conftest import Site, send, studies, uid
from tests.support.dcmqrscp import QueryRetrieve

PATIENTS = {"7801": ("Ürbild^Jörg", "ISO_IR 100"), "7802": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87")}


@pytest.fixture(scope="module", autouse=True)
def _stored(dcmqrscp: QueryRetrieve, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = []
    for prefix, (name, terms) in PATIENTS.items():
        found += studies(prefix, 2, PatientID=f"QR-{prefix}", SpecificCharacterSet=terms.split("\\"), PatientName=name)
    send(dcmqrscp.port, dcmqrscp.aet, tmp_path_factory.mktemp("files"), found)


def test_echo(site: Site) -> None:
    answer = site.user.post("/peers/DCMQRSCP/echo")
    assert (answer.status_code, answer.json()["aet"]) == (200, "DCMQRSCP")


@pytest.mark.parametrize("prefix", PATIENTS)
def test_character_sets_are_honoured(site: Site, prefix: str) -> None:
    answer = site.user.get("/peers/DCMQRSCP/studies", params={"PatientID": f"QR-{prefix}"})
    assert answer.headers["content-type"] == "application/dicom+json"
    found = answer.json()
    assert sorted(one["0020000D"]["Value"][0] for one in found) == [uid(f"{prefix}.0"), uid(f"{prefix}.1")]
    groups = PATIENTS[prefix][0].split("=")
    assert list(found[0]["00100010"]["Value"][0].values()) == groups
    assert {one["00080005"]["Value"][0] for one in found if "Value" in one["00080005"]} == {"ISO_IR 192"}


def test_lower_levels(site: Site) -> None:
    root = f"/peers/DCMQRSCP/studies/{uid('7801.0')}/series"
    (series,) = site.user.get(root).json()
    assert series["00080060"]["Value"] == ["OT"]
    place = series["0020000E"]["Value"][0]
    instances = site.user.get(f"{root}/{place}/instances", params={"includefield": "InstanceNumber"}).json()
    assert sorted(one["00200013"]["Value"][0] for one in instances) == [1, 2]


def test_a_study_comes_by_c_move(site: Site) -> None:
    study = uid("7801.0")
    events = site.events("DCMQRSCP", study=study)
    assert events[-1][0] == "done"
    assert (events[-1][1]["status"], events[-1][1]["completed"], events[-1][1]["failed"]) == ("0000", 2, 0)
    assert len(site.instances(study)) == 2


def test_one_instance_comes_by_c_get(site: Site, dcmqrscp: QueryRetrieve) -> None:
    site.register("DCMQRSCP", dcmqrscp.port, behaviour={"retrieve_with": "get"})
    study = uid("7802.0")
    (series,) = site.user.get(f"/peers/DCMQRSCP/studies/{study}/series").json()
    place = series["0020000E"]["Value"][0]
    instances = site.user.get(f"/peers/DCMQRSCP/studies/{study}/series/{place}/instances").json()
    sop = instances[0]["00080018"]["Value"][0]
    name, last = site.events("DCMQRSCP", study=study, series=place, instances=[sop])[-1]
    assert (name, last["completed"]) == ("done", 1)
    assert site.instances(study) == {sop}
    assert site.events("DCMQRSCP", study=study, series=place)[-1][1]["completed"] == 2
    assert len(site.instances(study)) == 2
    site.register("DCMQRSCP", dcmqrscp.port)
