"""What lies at the destinations is what the modality made: each image once, and nothing else."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.e2e.day.department import Department, get
from tests.e2e.day.modality import Exam
from tests.support.archive import RunningArchive
from tests.support.small_files import path_of

_ANY = {"Accept": "application/dicom; transfer-syntax=*"}


def file_at(archive: RunningArchive, image: Dataset) -> bytes | None:
    """The file of an image; None when it is not there."""
    answer = httpx.get(archive.root + path_of(image), headers=_ANY, timeout=60)
    assert answer.status_code in (200, 404), answer.text
    return answer.content if answer.status_code == 200 else None


def sops_at(archive: RunningArchive, study: str) -> list[str]:
    """The images that an archive shows of a study."""
    with httpx.Client(base_url=archive.root, timeout=60) as user:
        found = get(user, f"/studies/{study}/instances")
    return sorted(one["00080018"]["Value"][0] for one in found or ())


def assert_here(department: Department, images: Sequence[Dataset]) -> None:
    """The archive has the data set of each image, and no other image of their studies."""
    for study in {str(image.StudyInstanceUID) for image in images}:
        of_study = [str(image.SOPInstanceUID) for image in images if image.StudyInstanceUID == study]
        assert sops_at(department.archive, study) == sorted(of_study)
    for image in images:
        file = file_at(department.archive, image)
        assert file is not None
        assert dcmread(io.BytesIO(file)) == image


def assert_everywhere(department: Department, exam: Exam) -> None:
    """The archive, the second one and Orthanc have it all; the second one byte for byte what the first one has."""
    assert_here(department, exam.images)
    assert sops_at(department.second, exam.study) == sorted(exam.sops)
    for image in exam.images:
        assert file_at(department.second, image) == file_at(department.archive, image)
        (found,) = at_orthanc(department, image)
        assert found == image
    assert _in_study(department, exam.study) == len(exam.images)


def at_orthanc(department: Department, image: Dataset) -> list[Dataset]:
    """What Orthanc has under the UID of an image."""
    found: Any = department.orthanc.request("POST", "/tools/lookup", str(image.SOPInstanceUID).encode())
    paths = [f"{row['Path']}/file" for row in found if row["Type"] == "Instance"]
    root = f"http://127.0.0.1:{department.orthanc.http}"
    return [dcmread(io.BytesIO(httpx.get(root + path, timeout=60).content)) for path in paths]


def _in_study(department: Department, study: str) -> int:
    found: Any = department.orthanc.request("POST", "/tools/lookup", study.encode())
    (one,) = (row for row in found if row["Type"] == "Study")
    numbers: Any = department.orthanc.request("GET", f"{one['Path']}/statistics")
    return int(numbers["CountInstances"])


def assert_nothing_came_twice(department: Department, hidden: Collection[str] = ()) -> None:
    """No instance came to a destination with another content: the second archive tells of no version but the first of
    each, and Orthanc of each instance as new but once. What was `hidden` at the second archive may come again."""
    with httpx.Client(base_url=department.second.url, timeout=60) as user:
        told = get(user, "/changes", limit=1000)["changes"]
    assert not {one["kind"] for one in told} & {"replaced", "kept"}, told
    stored = Counter(one["instance"] for one in told if one["kind"] == "stored")
    assert all(count == 1 for sop, count in stored.items() if sop not in hidden)
    changes: Any = department.orthanc.request("GET", "/changes?limit=10000")
    new = [row["ID"] for row in changes["Changes"] if row["ChangeType"] == "NewInstance"]
    assert len(new) == len(set(new))
