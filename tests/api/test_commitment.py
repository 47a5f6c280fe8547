"""Storage commitment (PS3.18 13): success only after the bytes were read again, and one answer for each reference."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from app.archive import commitments as deed
from app.archive.commitments import Requester
from app.archive.context import CommitmentRules, Context
from app.archive.store import Storekeeper
from app.blobs.local import LocalBlobStore
from app.catalog import commitments as table
from app.catalog.engine import Catalog
from app.catalog.notices import Notices
from app.dicom import commitment as model
from app.errors import DuplicateInstance, NotFound
from tests.support.archive import RunningArchive
from tests.support.commitment import by_study, committed, failed, pairs, request
from tests.support.small_files import data_set, encode, multipart

JSON = {"Content-Type": "application/dicom+json"}
SC = "1.2.840.10008.5.1.4.1.1.7"


def url(archive: RunningArchive, uid: str) -> str:
    return f"{archive.root}/commitment-requests/{uid}"


def post(archive: RunningArchive, uid: str, content: dict[str, Any]) -> httpx.Response:
    return httpx.post(url(archive, uid), json=content, headers=JSON)


def store(archive: RunningArchive, *images: Dataset) -> None:
    body, headers = multipart([encode(image) for image in images])
    assert httpx.post(f"{archive.root}/studies", content=body, headers=headers).status_code == 200


def test_what_is_stored_is_committed_at_once(archive: RunningArchive) -> None:
    images = [data_set(), data_set()]
    store(archive, *images)
    uid = str(generate_uid())
    answer = post(archive, uid, request(pairs(*images)))
    assert answer.status_code == 200
    (result,) = answer.json()
    assert (committed(result), failed(result)) == (pairs(*images), {})
    assert set(result) == {"00081199"}  # D21: no Retrieve AE Title, no file-set
    assert httpx.get(url(archive, uid)).json() == [result]
    xml = httpx.get(url(archive, uid), headers={"Accept": "application/dicom+xml"})
    assert xml.headers["content-type"] == "application/dicom+xml"


def test_a_request_by_study_is_answered_by_study(archive: RunningArchive) -> None:
    images = [data_set(), data_set()]
    store(archive, *images)
    answer = post(archive, str(generate_uid()), by_study(*images))
    assert (answer.status_code, answer.json()) == (200, [by_study(*images)])


def test_a_transaction_uid_is_used_once(archive: RunningArchive) -> None:
    image = data_set()
    store(archive, image)
    uid = str(generate_uid())
    assert post(archive, uid, request(pairs(image))).status_code == 200
    answer = post(archive, uid, request(pairs(image)))
    assert (answer.status_code, answer.json()["reason"]) == (409, "0111")


def test_what_has_not_come_is_worked_on(archive: RunningArchive) -> None:
    uid = str(generate_uid())
    answer = post(archive, uid, request(pairs(data_set())))
    assert (answer.status_code, answer.content) == (202, b"")
    assert httpx.get(url(archive, uid)).status_code == 202
    assert httpx.get(url(archive, str(generate_uid()))).status_code == 404


@pytest.mark.parametrize(
    "content",
    [{}, {"00081199": {"vr": "SQ"}}, request([(SC, "")]), request([("", "1.2")]), request([(SC, "no uid")]), [], "x"],
)
def test_requests_without_sense(archive: RunningArchive, content: Any) -> None:
    assert post(archive, str(generate_uid()), content).status_code == 400


# ---------------------------------------------------------------- with settings of their own


@pytest.fixture
async def context(catalog: Catalog, tmp_path: Path) -> Context:
    """An archive whose requests wait a moment only."""
    return Context(catalog, LocalBlobStore(tmp_path), commitment=CommitmentRules(0.05, 0.5, 2))


def blob_of(folder: Path, image: Dataset) -> Path:
    (path,) = folder.rglob(f"{image.SeriesInstanceUID}/{image.SOPInstanceUID}~*.dcm")
    return path


async def keep(context: Context, *images: Dataset) -> None:
    keeper = Storekeeper(context)
    for image in images:
        reception = await keeper.receive()
        await reception.write(encode(image))
        assert (await reception.finish()).stored


async def ask(context: Context, references: list[tuple[str, str]], uid: str = "") -> tuple[str, bytes | None]:
    uid = uid or str(generate_uid())
    return uid, await deed.request(context, Requester("test", "CT1", "FILEROOM"), uid, request(references))


async def outcome(context: Context, uid: str) -> dict[str, Any]:
    """The result, when the jobs have come to it."""
    async with asyncio.timeout(20):
        while (found := await deed.result(context, uid, None)) is None:
            if not await deed.work(context):
                await asyncio.sleep(0.02)
    return dict(orjson.loads(found))


async def test_G25_bytes_are_read_again_before_success(context: Context, tmp_path: Path) -> None:
    whole, damaged, cut, lost = (data_set() for _ in range(4))
    await keep(context, whole, damaged, cut, lost)
    for image, harm in ((damaged, "flip"), (cut, "cut"), (lost, "lose")):
        path = blob_of(tmp_path, image)
        content = bytearray(path.read_bytes())
        if harm == "flip":
            content[-1] ^= 1
            path.write_bytes(content)
        elif harm == "cut":
            path.write_bytes(content[:-1])
        else:
            path.unlink()
    uid, _ = await ask(context, pairs(whole, damaged, cut, lost))
    result = await outcome(context, uid)
    assert committed(result) == pairs(whole)
    assert failed(result) == dict.fromkeys(pairs(damaged, cut, lost), 0x0110)


async def test_G25_what_comes_later_is_waited_for(context: Context) -> None:
    early, late = data_set(), data_set()
    await keep(context, early)
    uid, answer = await ask(context, pairs(early, late))
    assert answer is None
    await deed.work(context)
    assert await deed.result(context, uid, None) is None
    await keep(context, late)
    result = await outcome(context, uid)
    assert (committed(result), failed(result)) == (pairs(early, late), {})


async def test_G25_each_reference_is_answered_once_with_its_reason(context: Context) -> None:
    here, missing = data_set(), data_set()
    await keep(context, here)
    (good,), (absent,) = pairs(here), pairs(missing)
    conflict = ("1.2.840.10008.5.1.4.1.1.2", str(data_set().SOPInstanceUID))
    other = data_set(SOPInstanceUID=conflict[1])
    await keep(context, other)
    unsupported = ("1.2.840.10008.5.1.4.31", "1.2.3")
    uid, _ = await ask(context, [good, absent, conflict, unsupported, good])
    result = await outcome(context, uid)
    assert committed(result) == [good]
    assert failed(result) == {absent: 0x0112, conflict: 0x0119, unsupported: 0x0122}
    assert len(result["00081198"]["Value"]) == 3


async def test_without_space_for_what_is_to_come_the_reason_says_so(context: Context) -> None:
    context.reserve_bytes = 1 << 62
    uid, _ = await ask(context, pairs(data_set()))
    assert list(failed(await outcome(context, uid)).values()) == [0x0213]


async def test_every_copy_must_be_whole(context: Context, tmp_path: Path) -> None:
    one = data_set()
    two = data_set(SOPInstanceUID=one.SOPInstanceUID)
    await keep(context, one, two)
    path = blob_of(tmp_path, two)
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    uid, _ = await ask(context, pairs(one))
    assert failed(await outcome(context, uid)) == dict.fromkeys(pairs(one), 0x0110)


async def test_G25_who_dies_in_the_middle_is_followed_by_another(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = data_set()
    await keep(context, image)
    monkeypatch.setattr(table, "LEASE_SECONDS", 0.3)
    uid = str(generate_uid())
    await table.add(context.catalog, uid, "CT1", "FILEROOM", model.read(request(pairs(image))), 60)
    assert await table.claim(context.catalog, "of one that was killed", uid) is not None
    assert not await deed.work(context)
    assert committed(await outcome(context, uid)) == pairs(image)


async def test_a_peer_may_ask_the_same_again_and_nobody_else(context: Context) -> None:
    image = data_set()
    await keep(context, image)
    uid, first = await ask(context, pairs(image))
    assert (await ask(context, pairs(image), uid))[1] == first
    with pytest.raises(DuplicateInstance):
        await ask(context, pairs(image, data_set()), uid)
    with pytest.raises(DuplicateInstance):
        await deed.request(context, Requester("test", "CT2", "FILEROOM"), uid, request(pairs(image)))
    with pytest.raises(NotFound):
        await deed.result(context, uid, "CT2")


async def test_G25_a_report_is_tried_until_it_is_taken(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases run out; what could not be delivered comes again, until the tries are used up."""
    image = data_set()
    await keep(context, image)
    uid, _ = await ask(context, pairs(image))
    notices = Notices(context.catalog.url)
    try:
        assert await deed.await_report(context, notices, 0) is None  # the association that asked is told first
        monkeypatch.setattr(table, "LEASE_SECONDS", 0.2)
        taken = await deed.await_report(context, notices, 0, uid)
        assert taken is not None
        lease, report = taken
        assert (report.uid, report.requester, report.called) == (uid, "CT1", "FILEROOM")
        assert await deed.await_report(context, notices, 0, uid) is None
        await asyncio.sleep(0.25)
        again = await deed.await_report(context, notices, 0, uid)
        assert again is not None
        with pytest.raises(NotFound):
            await deed.told(context, lease, "")
        await deed.told(context, again[0], "nobody there")
        assert await deed.await_report(context, notices, 0, uid) is None  # two tries were allowed
        await ask(context, pairs(image), uid)
        third = await deed.await_report(context, notices, 5)
        assert third is not None
        await deed.told(context, third[0], "")
        assert await table.next_report(context.catalog) is None
    finally:
        await notices.close()
