"""Modality performed procedure steps (PS3.18 15): states, statuses, and what follows from them."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.support.archive import RunningArchive
from tests.support.small_files import data_set, encode, multipart, path_of
from tests.support.steps import as_json, beginning, ending

RESOURCE = "modality-performed-procedure-steps"
JSON = {"Content-Type": "application/dicom+json"}
STATUS = "00400252"


class Steps:
    """Requests about one step."""

    def __init__(self, archive: RunningArchive) -> None:
        self.root = archive.root
        self.uid = str(generate_uid())

    def create(self, ds: Dataset | dict[str, Any]) -> httpx.Response:
        """N-CREATE."""
        return self._post("", ds)

    def update(self, ds: Dataset | dict[str, Any]) -> httpx.Response:
        """N-SET."""
        return self._post("?update", ds)

    def _post(self, query: str, ds: Dataset | dict[str, Any]) -> httpx.Response:
        content = as_json(ds) if isinstance(ds, Dataset) else ds
        return httpx.post(f"{self.root}/{RESOURCE}/{self.uid}{query}", json=content, headers=JSON)

    def get(self) -> dict[str, Any]:
        """N-GET."""
        answer = httpx.get(f"{self.root}/{RESOURCE}/{self.uid}", headers={"Accept": "application/dicom+json"})
        assert answer.status_code == 200
        (found,) = answer.json()
        assert isinstance(found, dict)
        return found

    def of_study(self, study: str) -> dict[str, Any]:
        """What the list says of a study."""
        found: dict[str, Any] = httpx.get(f"{self.root}/{RESOURCE}", params={"StudyInstanceUID": study}).json()
        return found


@pytest.fixture
def steps(archive: RunningArchive) -> Steps:
    return Steps(archive)


def without(keyword: str) -> Dataset:
    ds = beginning(str(generate_uid()))
    del ds[keyword]
    return ds


def store(archive: RunningArchive, *images: Dataset) -> None:
    body, headers = multipart([encode(image) for image in images])
    assert httpx.post(f"{archive.root}/studies", content=body, headers=headers).status_code == 200


def series_of(count: int) -> list[Dataset]:
    images = [data_set() for _ in range(count)]
    for image in images:
        image.StudyInstanceUID, image.SeriesInstanceUID = images[0].StudyInstanceUID, images[0].SeriesInstanceUID
    return images


def visible(archive: RunningArchive, study: str) -> int:
    answer = httpx.get(f"{archive.root}/instances?StudyInstanceUID={study}")
    return len(answer.json()) if answer.status_code == 200 else 0


def until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_step_is_kept_whole_and_goes_its_way(steps: Steps) -> None:
    study = str(generate_uid())
    begun = beginning(study, PatientName="Müller^Änne", PerformedLocation="Room 7")
    begun.add_new(0x00091001, "LO", "kept too")
    answer = steps.create(begun)
    assert answer.status_code == 201
    assert answer.headers["location"].endswith(f"/{RESOURCE}/{steps.uid}")
    assert steps.update({"00400254": {"vr": "LO", "Value": ["Head CT"]}}).status_code == 200
    found = steps.get()
    assert found["00400254"]["Value"] == ["Head CT"]
    assert found["00091001"]["Value"] == ["kept too"]
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller^Änne"}]
    assert found[STATUS]["Value"] == ["IN PROGRESS"]
    assert steps.update(ending(series_of(1))).status_code == 200
    assert steps.get()[STATUS]["Value"] == ["COMPLETED"]
    assert steps.get()["00400250"]["Value"] == ["20240229"]


def test_native_dicom_model_in_and_out(steps: Steps) -> None:
    xml = {"Content-Type": "application/dicom+xml", "Accept": "application/dicom+xml"}
    assert steps.create(beginning("1.2.3")).status_code == 201
    url = f"{steps.root}/{RESOURCE}/{steps.uid}"
    answer = httpx.get(url, headers=xml)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+xml")
    again = Steps.__new__(Steps)
    again.root, again.uid = steps.root, str(generate_uid())
    assert httpx.post(f"{again.root}/{RESOURCE}/{again.uid}", content=answer.content, headers=xml).status_code == 201
    assert again.get() == steps.get()


@pytest.mark.parametrize(
    "keyword",
    [
        "PerformedProcedureStepID",
        "PerformedStationAETitle",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "PerformedProcedureStepStatus",
        "Modality",
        "ScheduledStepAttributesSequence",
    ],
)
def test_each_required_attribute_is_missed(steps: Steps, keyword: str) -> None:
    answer = steps.create(without(keyword))
    assert (answer.status_code, answer.json()["reason"]) == (400, "0120")
    assert steps.create(beginning("1.2.3")).status_code == 201


def test_the_state_machine(steps: Steps) -> None:
    """D22: every transition that is not allowed, and by which status it is refused."""
    begun, done = beginning("1.2.3"), ending(series_of(1))
    answers = [
        steps.update(done),  # before it was created
        steps.create(beginning("1.2.3", PerformedProcedureStepStatus="COMPLETED")),
        steps.create(begun),
        steps.create(begun),
        steps.update(beginning("1.2.3", PerformedProcedureStepStatus="SCHEDULED")),
        steps.update({STATUS: {"vr": "CS", "Value": ["COMPLETED"]}}),  # without its end
        steps.update(done),
        steps.update(done),
        steps.create(begun),
    ]
    found = [(answer.status_code, answer.json().get("reason") if answer.content else None) for answer in answers]
    assert found == [
        (404, None),
        (400, "0106"),
        (201, None),
        (409, "0111"),
        (400, "0106"),
        (400, "0120"),
        (200, None),
        (409, "0110"),
        (409, "0111"),
    ]
    assert answers[-2].json()["detail"] == "Performed Procedure Step Object may no longer be updated"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"[1]", 400),
        (b'{"0040": {}}', 409),
        (b'{"00400252": {"vr": "CS", "Value": 1}}', 409),
    ],
)
def test_junk_is_refused(steps: Steps, content: bytes, status: int) -> None:
    answer = httpx.post(f"{steps.root}/{RESOURCE}/{steps.uid}", content=content, headers=JSON)
    assert answer.status_code == status
    wrong = httpx.post(f"{steps.root}/{RESOURCE}/no.uid", content=b"{}", headers=JSON)
    assert wrong.status_code in (400, 409)
    assert httpx.get(f"{steps.root}/{RESOURCE}/no.uid").status_code == 404


def test_a_completed_study_is_complete_when_all_its_images_are_there(archive: RunningArchive, steps: Steps) -> None:
    """D24."""
    images = series_of(3)
    study = str(images[0].StudyInstanceUID)
    store(archive, *images[:2])
    assert steps.of_study(study) == {"study": study, "status": "", "steps": []}
    steps.create(beginning(study))
    assert steps.of_study(study)["status"] == "IN PROGRESS"
    assert steps.update(ending(images)).status_code == 200
    found = steps.of_study(study)
    assert (found["status"], found["steps"][0]["missing"]) == ("IN PROGRESS", 1)
    store(archive, images[2])
    until(lambda: steps.of_study(study)["status"] == "COMPLETED")
    assert steps.of_study(study)["steps"][0]["missing"] == 0


def test_a_wrong_worklist_entry_hides_its_images_before_and_after(archive: RunningArchive, steps: Steps) -> None:
    """D25: what came before goes at once, what comes later is never seen; undo brings both back."""
    images, bystander = series_of(4), data_set()
    bystander.StudyInstanceUID = images[0].StudyInstanceUID
    study = str(images[0].StudyInstanceUID)
    store(archive, images[0], images[1], bystander)
    steps.create(beginning(study))
    assert steps.update(ending(images, "DISCONTINUED", wrong_entry=True)).status_code == 200
    assert visible(archive, study) == 1
    store(archive, images[2])  # alone: the short way of the catalog
    store(archive, images[3], images[0])
    assert visible(archive, study) == 1
    assert httpx.get(archive.root + path_of(images[2])).status_code == 404
    (row,) = httpx.get(f"{archive.root}/studies?StudyInstanceUID={study}").json()
    assert (row["00201206"]["Value"], row["00201208"]["Value"]) == ([1], [1])
    deletions = [one for one in httpx.get(f"{archive.root}/deletions").json() if one["study_uid"] == study]
    assert [one["principal"] for one in deletions] == [f"mpps {steps.uid}"]
    assert httpx.post(f"{archive.root}/deletions/{deletions[0]['id']}/undo").json() == {"instances": 4}
    assert visible(archive, study) == 5
    newer = images[2]
    newer.PixelData = bytes(len(newer.PixelData))
    store(archive, newer)
    assert visible(archive, study) == 5


def test_discontinued_for_another_reason_hides_nothing(archive: RunningArchive, steps: Steps) -> None:
    images = series_of(1)
    study = str(images[0].StudyInstanceUID)
    store(archive, *images)
    steps.create(beginning(study))
    assert steps.update(ending(images, "DISCONTINUED")).status_code == 200
    assert visible(archive, study) == 1
    found = steps.of_study(study)["steps"][0]
    assert (found["status"], found["wrongWorklistEntry"]) == ("DISCONTINUED", False)
