"""Store (PS3.18 10.5) over HTTP against the running archive."""

from __future__ import annotations

import concurrent.futures
import copy
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.archive.context import Context
from app.archive.store import Storekeeper
from app.blobs.journal import JOURNAL_NAME, entries
from app.blobs.local import LocalBlobStore
from app.catalog.engine import Catalog
from app.dicom.status import Outcome
from tests.support.archive import RunningArchive
from tests.support.small_files import data_set, encode, multipart, new_uid, path_of

AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
DICOM = {"Content-Type": "application/dicom"}


def store(archive: RunningArchive, files: list[bytes], where: str = "/studies") -> httpx.Response:
    """One multipart request."""
    body, headers = multipart(files)
    return httpx.post(archive.root + where, content=body, headers=headers, timeout=30)


def items(response: httpx.Response, tag: str) -> list[dict[str, Any]]:
    """The items of a sequence in a Store answer."""
    found: list[dict[str, Any]] = response.json().get(tag, {}).get("Value", [])
    return found


def test_single_body_is_stored_and_comes_back_byte_for_byte(archive: RunningArchive) -> None:
    ds = data_set()
    file = b"II*\0" + b"\7" * 124 + encode(ds)[128:]
    response = httpx.post(archive.root + "/studies", content=file, headers=DICOM)
    assert response.status_code == 200
    (item,) = items(response, "00081199")
    assert item["00081155"]["Value"] == [ds.SOPInstanceUID]
    assert item["00081190"]["Value"] == [archive.root + path_of(ds)]
    assert httpx.get(archive.root + path_of(ds), headers=AS_STORED).content == file


def test_a_body_without_content_type_is_taken_as_dicom(archive: RunningArchive) -> None:
    file = encode(data_set())
    request = httpx.Request("POST", archive.root + "/studies", content=file)
    assert "content-type" not in request.headers
    assert httpx.Client().send(request).status_code == 200


@pytest.mark.parametrize("boundary", ["x", "a'()+_,-./:=?z", "0" * 70])
def test_boundaries(archive: RunningArchive, boundary: str) -> None:
    body, headers = multipart([encode(data_set())], boundary)
    assert httpx.post(archive.root + "/studies", content=body, headers=headers).status_code == 200


def test_G05_each_part_has_its_own_truth(archive: RunningArchive) -> None:
    good, other = data_set(), data_set()
    response = store(archive, [encode(good), b"this is no DICOM at all, but long enough" * 9, encode(other)])
    assert response.status_code == 202
    stored = {item["00081155"]["Value"][0] for item in items(response, "00081199")}
    assert stored == {good.SOPInstanceUID, other.SOPInstanceUID}
    assert len(items(response, "0008119A")) == 1


def test_a_part_that_ends_before_its_uids_fails_and_its_neighbour_is_stored(archive: RunningArchive) -> None:
    good, cut = data_set(), data_set()
    content = encode(cut)
    response = store(archive, [encode(good), content[: content.index(str(cut.SeriesInstanceUID).encode())]])
    assert response.status_code == 202
    assert [item["00081155"]["Value"][0] for item in items(response, "00081199")] == [good.SOPInstanceUID]
    assert [item["00081197"]["Value"] for item in items(response, "0008119A")] == [[0xC000]]
    assert httpx.get(archive.root + path_of(cut), headers=AS_STORED).status_code == 404


def test_a_body_without_its_closing_delimiter_is_refused(archive: RunningArchive) -> None:
    ds = data_set()
    body, headers = multipart([encode(ds)])
    response = httpx.post(archive.root + "/studies", content=body[:-30], headers=headers)
    assert response.status_code == 400
    assert httpx.get(archive.root + path_of(ds), headers=AS_STORED).status_code == 404


def test_wrong_study_is_refused_by_instance(archive: RunningArchive) -> None:
    right, wrong = data_set(), data_set()
    response = store(archive, [encode(right), encode(wrong)], f"/studies/{right.StudyInstanceUID}")
    assert response.status_code == 202
    (failed,) = items(response, "00081198")
    assert failed["00081197"]["Value"] == [0xA900]
    assert response.json()["00081190"]["Value"] == [f"{archive.root}/studies/{right.StudyInstanceUID}"]


def test_G06_the_same_content_again_is_success_without_a_new_version(archive: RunningArchive) -> None:
    ds = data_set()
    file = encode(ds)
    first = httpx.post(archive.root + "/studies", content=file, headers=DICOM)
    ds.file_meta.ImplementationVersionName = "OTHER"
    again = encode(ds)[:128] + file[128:]
    second = httpx.post(archive.root + "/studies", content=again, headers=DICOM)
    assert (first.status_code, second.status_code) == (200, 200)
    study = httpx.get(f"{archive.root}/studies?StudyInstanceUID={ds.StudyInstanceUID}").json()
    assert study[0]["00201208"]["Value"] == [1]
    folder = next(archive.data.glob(f"blobs/*/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}"))
    assert len(list(folder.iterdir())) == 1


def test_G07_other_content_replaces_and_the_old_bytes_stay(archive: RunningArchive) -> None:
    ds = data_set()
    old = encode(ds)
    new = encode(_changed(ds))
    assert httpx.post(archive.root + "/studies", content=old, headers=DICOM).status_code == 200
    assert httpx.post(archive.root + "/studies", content=new, headers=DICOM).status_code == 200
    assert httpx.get(archive.root + path_of(ds), headers=AS_STORED).content == new
    folder = next(archive.data.glob(f"blobs/*/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}"))
    assert sorted(file.read_bytes() for file in folder.iterdir()) == sorted([old, new])


def _changed(ds: Any) -> Any:
    other = copy.deepcopy(ds)
    other.PixelData = bytes(16)
    return other


def test_G08_twins_give_one_version_and_only_successes(archive: RunningArchive) -> None:
    ds = data_set()
    file = encode(ds)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: store(archive, [file]).status_code, range(32)))
    assert set(answers) == {200}
    study = httpx.get(f"{archive.root}/studies?StudyInstanceUID={ds.StudyInstanceUID}").json()
    assert study[0]["00201208"]["Value"] == [1]


def test_one_sop_uid_in_two_series_is_stored_twice_and_warned(archive: RunningArchive) -> None:
    ds = data_set()
    store(archive, [encode(ds)])
    ds.SeriesInstanceUID = new_uid()
    response = store(archive, [encode(ds)])
    assert response.status_code == 202
    assert items(response, "00081199")[0]["00081196"]["Value"] == [0xB007]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/related; type=image/jpeg; boundary=b"}, 415),
        ({"Content-Type": "multipart/related; type=application/dicom"}, 400),
        ({"Content-Type": "application/dicom", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "nonsense"}, 400),
    ],
)
def test_requests_that_are_refused_as_a_whole(archive: RunningArchive, headers: dict[str, str], status: int) -> None:
    response = httpx.post(archive.root + "/studies", content=b"x", headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 200, b"\0" * 128 + b"DICM", b"{}" * 400])
def test_a_body_that_is_no_dicom_fails_with_a_reason(archive: RunningArchive, content: bytes) -> None:
    response = httpx.post(archive.root + "/studies", content=content, headers=DICOM)
    assert response.status_code == 409
    (item,) = items(response, "0008119A")
    assert item["00081197"]["Value"][0] >= 0xC000
    assert item["00000902"]["Value"][0]


def test_the_answer_in_xml(archive: RunningArchive) -> None:
    body, headers = multipart([encode(data_set())])
    response = httpx.post(
        archive.root + "/studies", content=body, headers=headers | {"Accept": "application/dicom+xml"}
    )
    assert response.headers["content-type"] == "application/dicom+xml"
    assert "ReferencedSOPSequence" in response.text


def files(folder: Path) -> list[tuple[str, list[str]]]:
    """Name of each file below `folder`, with the operations that it tells if it is a journal."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [(path.name, [entry.op for entry in entries(path.read_bytes().splitlines())]) for path in found]


async def test_G09_a_store_that_never_reached_the_catalog_leaves_nothing(tmp_path: Path) -> None:
    keeper = Storekeeper(Context(Catalog("postgresql://nobody@127.0.0.1:1/none"), LocalBlobStore(tmp_path)))
    reception = await keeper.receive()
    await reception.write(encode(data_set()))
    receipt = await reception.finish()
    await keeper.drain()
    assert (receipt.outcome, receipt.retry) == (Outcome.DATABASE_DOWN, True)
    assert files(tmp_path) == [(JOURNAL_NAME, ["publish", "withdraw"])]
