"""Other content under a stored SOP Instance UID, by the policies `keep` and `reject`."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.archive import RunningArchive, start_archive
from tests.support.small_files import data_set, encode, path_of

DICOM = {"Content-Type": "application/dicom"}
AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
ANSWERS = {"keep": (200, None), "reject": (409, 0x0111)}


@pytest.fixture(params=list(ANSWERS))
def strict_archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningArchive]:
    """An archive with the policy of the parameter."""
    running = start_archive(tmp_path_factory.mktemp("policy") / "data", FILEROOM_DUPLICATE_POLICY=request.param)
    yield running
    assert running.stop() == 0


def test_G07_the_first_content_stays(strict_archive: RunningArchive, request: pytest.FixtureRequest) -> None:
    status, reason = ANSWERS[request.node.callspec.params["strict_archive"]]
    ds = data_set()
    first = encode(ds)
    ds.StudyDescription = "other content"
    other = encode(ds)
    root = strict_archive.root
    assert httpx.post(f"{root}/studies", content=first, headers=DICOM).status_code == 200
    assert httpx.post(f"{root}/studies", content=first, headers=DICOM).status_code == 200, "the same again is success"
    answer = httpx.post(f"{root}/studies", content=other, headers=DICOM)
    assert answer.status_code == status
    failed = answer.json().get("00081198", {}).get("Value", [])
    assert [item["00081197"]["Value"] for item in failed] == ([[reason]] if reason else [])
    assert httpx.get(root + path_of(ds), headers=AS_STORED).content == first
    (found,) = httpx.get(f"{root}/studies", params={"StudyInstanceUID": ds.StudyInstanceUID}).json()
    assert found["00201208"]["Value"] == [1]
