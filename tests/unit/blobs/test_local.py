"""The folder store's own promises: which syncs happen, how errors of the disk are told, what is left on disk."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from app.blobs.base import ByteRange
from app.blobs.checksum import Checks
from app.blobs.journal import tombstone
from app.blobs.keys import folder, make_key, new_version
from app.blobs.local import BUFFER, LocalBlobStore
from app.errors import BlobStoreFailed, Corrupt, StorageFull
from tests.support.waiting import soon

LINE = tombstone("delete", ["x"])


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths synced so far, by the kernel's own names of the descriptors."""
    paths: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


async def put(store: LocalBlobStore, content: bytes = b"x", study: str = "1.2", series: str = "1.3") -> str:
    """Stores a new blob with a journal line."""
    writer = store.create(make_key(study, series, "1.4", new_version()))
    await writer.write(content)
    await writer.close()
    await store.sync([writer], [(study, LINE)])
    return writer.key


async def test_G01_file_journal_folder_and_new_parents_are_synced(tmp_path: Path, synced: list[str]) -> None:
    root = tmp_path / "a" / "blobs"
    store = LocalBlobStore(root)
    assert set(synced) == {str(tmp_path), str(tmp_path / "a")}
    synced.clear()
    key = await put(store)
    study = root / folder("1.2")
    wanted = {root / key, study / "journal.jsonl", study / "1.3", study, study.parent, root}
    assert {Path(path) for path in synced} == wanted
    assert len(synced) == len(wanted)


async def test_folders_known_durable_are_not_synced_again(tmp_path: Path, synced: list[str]) -> None:
    store = LocalBlobStore(tmp_path)
    await put(store)
    synced.clear()
    key = await put(store)
    study = tmp_path / folder("1.2")
    assert sorted(synced) == sorted(map(str, [tmp_path / key, study / "journal.jsonl", study / "1.3"]))


async def test_another_worker_does_not_trust_folders_that_it_merely_found(tmp_path: Path, synced: list[str]) -> None:
    await put(LocalBlobStore(tmp_path))
    other = LocalBlobStore(tmp_path)
    synced.clear()
    await put(other)
    study = tmp_path / folder("1.2")
    assert {str(study), str(study.parent), str(tmp_path)} <= set(synced)


async def test_a_folder_that_somebody_removed_is_made_and_synced_again(tmp_path: Path, synced: list[str]) -> None:
    store = LocalBlobStore(tmp_path)
    key = await put(store)
    study = tmp_path / folder("1.2")
    await store.remove(key)
    (study / "1.3").rmdir()
    synced.clear()
    again = await put(store)
    assert (tmp_path / again).read_bytes() == b"x"
    assert {str(study), str(study / "1.3")} <= set(synced)


async def test_a_journal_that_somebody_removed_is_made_and_synced_again(tmp_path: Path, synced: list[str]) -> None:
    store = LocalBlobStore(tmp_path)
    await put(store)
    study = tmp_path / folder("1.2")
    (study / "journal.jsonl").unlink()
    synced.clear()
    await put(store)
    assert {str(study), str(study / "journal.jsonl")} <= set(synced)


async def test_syncs_at_the_same_time_share_journal_and_folder(tmp_path: Path, synced: list[str]) -> None:
    store = LocalBlobStore(tmp_path)
    await put(store)
    synced.clear()
    await asyncio.gather(*(put(store) for _ in range(30)))
    assert len([path for path in synced if path.endswith(".dcm")]) == 30
    assert len([path for path in synced if path.endswith("journal.jsonl")]) < 10


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EIO, BlobStoreFailed), (errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull)],
)
@pytest.mark.parametrize("victim", [".dcm", "journal.jsonl", "/1.3"])
@pytest.mark.parametrize("known", [False, True])
async def test_G12_a_failed_sync_fails_its_store_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool, victim: str, number: int, error: type[Exception]
) -> None:
    calls: list[str] = []

    def fsync(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path.endswith(victim):
            calls.append(path)
            raise OSError(number, "planted")

    store = LocalBlobStore(tmp_path)
    if known:
        await put(store)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(error):
        await put(store)
    assert len(calls) == 1
    monkeypatch.undo()
    await put(store)


async def test_G12_a_failed_write_fails_its_store_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev

    def writev(fd: int, pieces: list[bytes]) -> int:
        if b"victim" in pieces or bytearray(b"victim") in pieces:
            raise OSError(errno.EIO, "planted")
        return real(fd, pieces)

    monkeypatch.setattr(os, "writev", writev)
    store = LocalBlobStore(tmp_path)
    contents = [b"victim" if number == 3 else b"fine" for number in range(8)]
    results = await asyncio.gather(*(put(store, content) for content in contents), return_exceptions=True)
    assert [isinstance(result, BlobStoreFailed) for result in results] == [c == b"victim" for c in contents]


async def test_G12_a_long_blob_whose_write_failed_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalBlobStore(tmp_path)
    writer = store.create(make_key("1.2", "1.3", "1.4", new_version()))
    await writer.write(b"x" * (BUFFER + 1))

    def writev(fd: int, pieces: list[bytes]) -> int:
        raise OSError(errno.ENOSPC, "planted")

    monkeypatch.setattr(os, "writev", writev)
    with pytest.raises(StorageFull):
        await writer.write(b"x" * (BUFFER + 1))
    monkeypatch.undo()
    with pytest.raises(BlobStoreFailed):
        await store.sync([writer], [])
    await writer.abandon()
    assert list(store.scan()) == []


async def test_what_is_written_ahead_is_synced_with_others_and_not_written_twice(
    tmp_path: Path, synced: list[str]
) -> None:
    store = LocalBlobStore(tmp_path)
    await put(store)
    writers = [store.create(make_key("1.2", "1.3", "1.4", new_version())) for _ in range(3)]
    for writer in writers:
        await writer.write(b"ahead" * 20_000)
        await writer.close()
        await writer.write_ahead()
        assert (tmp_path / writer.key).read_bytes() == b"ahead" * 20_000
    synced.clear()
    await asyncio.gather(*(store.sync([writer], [("1.2", LINE)]) for writer in writers))
    assert {str(tmp_path / writer.key) for writer in writers} <= set(synced)
    assert len([path for path in synced if path.endswith("journal.jsonl")]) == 1
    assert all((tmp_path / writer.key).read_bytes() == b"ahead" * 20_000 for writer in writers)


async def test_G12_what_could_not_be_written_ahead_cannot_be_synced_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalBlobStore(tmp_path)
    writer = store.create(make_key("1.2", "1.3", "1.4", new_version()))
    await writer.write(b"x")

    def writev(fd: int, pieces: list[bytes]) -> int:
        raise OSError(errno.ENOSPC, "planted")

    monkeypatch.setattr(os, "writev", writev)
    with pytest.raises(StorageFull):
        await writer.write_ahead()
    monkeypatch.undo()
    with pytest.raises(BlobStoreFailed):
        await store.sync([writer], [])
    await writer.abandon()
    assert list(store.scan()) == []


async def test_G12_three_failures_in_a_minute_make_the_store_suspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "planted")

    store = LocalBlobStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        for number in range(3):
            assert store.suspect == (number == 3)
            with pytest.raises(BlobStoreFailed):
                await put(store)
    assert store.suspect


async def test_G11_a_full_disk_does_not_make_the_store_suspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "planted")

    store = LocalBlobStore(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    for _ in range(5):
        with pytest.raises(StorageFull):
            await put(store)
    assert not store.suspect


async def test_partial_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "writev", lambda fd, pieces: real(fd, b"".join(pieces)[:100]))
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:700] if len(data) > 700 else data))
    content = os.urandom(5000)
    key = await put(LocalBlobStore(tmp_path), content)
    assert (tmp_path / key).read_bytes() == content


async def test_a_sender_of_single_bytes_costs_no_memory_of_its_own(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    writer = store.create(make_key("1.2", "1.3", "1.4", new_version()))
    for number in range(20_000):
        await writer.write(bytes([number % 256]))
    assert len(writer.file.pieces) == 1
    await writer.close()
    await store.sync([writer], [])
    assert (tmp_path / writer.key).read_bytes() == bytes(number % 256 for number in range(20_000))


async def test_files_are_not_for_everybody(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        key = await put(LocalBlobStore(tmp_path / "blobs"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "blobs" / key).stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "blobs" / key).parent.stat().st_mode) == 0o750


async def test_no_link_is_followed(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path / "blobs")
    key = await put(store)
    outside = tmp_path / "secret"
    outside.write_bytes(b"x")
    (store.root / key).unlink()
    (store.root / key).symlink_to(outside)
    checks = Checks()
    checks.update(b"x")
    with pytest.raises(BlobStoreFailed):
        await store.pread_verified(key, 0, 1, checks.finish()[1], 1)
    journal = store.root / folder("1.2") / "journal.jsonl"
    journal.unlink()
    journal.symlink_to(outside)
    with pytest.raises(BlobStoreFailed):
        await put(store)
    assert outside.read_bytes() == b"x"


async def test_a_file_system_that_is_not_mounted_is_waited_for(tmp_path: Path) -> None:
    """Its folder is there, and empty: nothing is lost."""
    store = LocalBlobStore(tmp_path / "blobs")
    key = await put(store)
    checks = Checks()
    checks.update(b"x")
    sums = checks.finish()[1]
    store.root.rename(tmp_path / "elsewhere")
    store.root.mkdir()
    with pytest.raises(BlobStoreFailed):
        await store.pread_verified(key, 0, 1, sums, 1)
    store.root.rmdir()
    (tmp_path / "elsewhere").rename(store.root)
    assert await store.pread_verified(key, 0, 1, sums, 1) == b"x"


async def test_G19_a_truncated_file_is_corrupt(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    content = os.urandom(3 << 20)
    writer = store.create(make_key("1.2", "1.3", "1.4", new_version()))
    checks = Checks()
    for start in range(0, len(content), 1 << 18):
        await writer.write(content[start : start + (1 << 18)])
        checks.update(content[start : start + (1 << 18)])
    await writer.close()
    await store.sync([writer], [])
    os.truncate(tmp_path / writer.key, len(content) - 1)
    read = store.read_verified(writer.key, ByteRange(0, len(content)), checks.finish()[1], len(content))
    assert await anext(read) + await anext(read) == content[: 2 << 20]
    with pytest.raises(Corrupt):
        await anext(read)


def open_paths() -> list[str]:
    """What every descriptor of this process is open on."""
    paths = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            paths.append(os.readlink(f"/proc/self/fd/{fd}"))
    return paths


async def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    await put(store)
    checks = Checks()
    checks.update(b"x" * (BUFFER * 3))
    sums = checks.finish()[1]
    for _ in range(5):
        key = await put(store, b"x" * (BUFFER * 3))
        read = store.read_verified(key, ByteRange(0, BUFFER * 3), sums, BUFFER * 3)
        await anext(read)
        await read.aclose()  # type: ignore[attr-defined]
        writer = store.create(make_key("1.2", "1.3", "1.4", new_version()))
        await writer.write(b"x" * (BUFFER * 2))
        await writer.abandon()
    await soon(lambda: not any(path.startswith(str(tmp_path)) for path in open_paths()), "all are closed")
