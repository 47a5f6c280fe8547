"""Delete, undo and the sweeper."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path

import httpx

from app.archive import delete as deed
from app.archive.context import Context
from app.archive.store import Storekeeper
from app.archive.sweep import sweep
from app.blobs.local import LocalBlobStore
from app.catalog.engine import Catalog
from tests.support.archive import RunningArchive
from tests.support.small_files import data_set, encode, multipart, path_of

AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}


def store(archive: RunningArchive, *files: bytes) -> None:
    """Stores `files`, all of them."""
    body, headers = multipart(list(files))
    assert httpx.post(archive.root + "/studies", content=body, headers=headers).status_code == 200


def status(archive: RunningArchive, path: str) -> int:
    """HTTP status of a retrieve."""
    return httpx.get(archive.root + path, headers=AS_STORED).status_code


def test_G21_a_delete_hides_at_once_and_can_be_undone(archive: RunningArchive) -> None:
    ds = data_set()
    file = encode(ds)
    store(archive, file)
    answer = httpx.delete(f"{archive.root}/studies/{ds.StudyInstanceUID}")
    assert answer.json()["instances"] == 1
    assert status(archive, path_of(ds)) == 404
    assert httpx.get(f"{archive.root}/studies?StudyInstanceUID={ds.StudyInstanceUID}").status_code == 204
    assert httpx.delete(f"{archive.root}/studies/{ds.StudyInstanceUID}").status_code == 404
    assert httpx.post(answer.json()["undo"]).json() == {"instances": 1}
    assert httpx.get(archive.root + path_of(ds), headers=AS_STORED).content == file
    assert httpx.post(answer.json()["undo"]).status_code == 404


def test_one_instance_of_two(archive: RunningArchive) -> None:
    one, two = data_set(), data_set()
    two.StudyInstanceUID, two.SeriesInstanceUID = one.StudyInstanceUID, one.SeriesInstanceUID
    store(archive, encode(one), encode(two))
    assert httpx.delete(archive.root + path_of(one)).status_code == 200
    assert (status(archive, path_of(one)), status(archive, path_of(two))) == (404, 200)
    (row,) = httpx.get(f"{archive.root}/studies?StudyInstanceUID={one.StudyInstanceUID}").json()
    assert row["00201208"]["Value"] == [1]


def test_a_store_after_a_delete_is_visible_and_undo_does_not_hide_it(archive: RunningArchive) -> None:
    ds = data_set()
    newer = copy.deepcopy(ds)
    newer.PixelData = bytes(16)
    store(archive, encode(ds))
    answer = httpx.delete(archive.root + path_of(ds)).json()
    store(archive, encode(newer))
    assert httpx.post(answer["undo"]).status_code == 404
    assert httpx.get(archive.root + path_of(ds), headers=AS_STORED).content == encode(newer)


def files(folder: Path) -> list[Path]:
    """The blobs below `folder`."""
    return list(folder.rglob("*.dcm"))


async def _store(keeper: Storekeeper, file: bytes) -> None:
    reception = await keeper.receive()
    await reception.write(file)
    assert (await reception.finish()).stored


async def test_G21_the_sweeper_removes_bytes_when_the_grace_period_is_over(catalog: Catalog, tmp_path: Path) -> None:
    context = Context(catalog, LocalBlobStore(tmp_path), undo_hours=0.0, orphan_hours=0.0)
    keeper = Storekeeper(context)
    kept, gone = data_set(), data_set()
    await _store(keeper, encode(kept))
    await _store(keeper, encode(gone))
    await deed.delete(context, "test", str(gone.StudyInstanceUID))
    await asyncio.sleep(0.01)
    assert (await sweep(context)).purged == 1
    assert len(files(tmp_path)) == 1
    assert files(tmp_path)[0].read_bytes() == encode(kept)


async def test_G10_an_orphan_goes_after_two_sightings(catalog: Catalog, tmp_path: Path) -> None:
    context = Context(catalog, LocalBlobStore(tmp_path), orphan_hours=0.0)
    ds = data_set()
    await _store(Storekeeper(context), encode(ds))
    (whole,) = files(tmp_path)
    orphan = whole.with_name(f"{whole.name.partition('~')[0]}~{'z' * 18}.dcm")
    orphan.write_bytes(b"left by a crash")
    await asyncio.sleep(0.01)
    first = await sweep(context)
    assert (first.orphans_seen, first.orphans_removed, orphan.exists()) == (1, 0, True)
    await asyncio.sleep(0.01)
    assert (await sweep(context)).orphans_removed == 1
    assert (orphan.exists(), whole.exists()) == (False, True)
    assert (await sweep(context)).orphans_seen == 0
