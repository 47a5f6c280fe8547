"""What every blob store must do, inherited by the test of each; and a state machine that compares them with a dict."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.blobs import journal
from app.blobs.base import BlobStore, BlobWriter, ByteRange
from app.blobs.checksum import PIECE, Checks
from app.blobs.keys import make_key, new_version
from app.blobs.local import LocalBlobStore
from app.blobs.memory import MemoryBlobStore
from app.errors import BlobMissing, BlobStoreFailed, Corrupt, Unreadable

STUDY = "1.2.826.0.1"


def new_key(sop: str = "1.2.3") -> str:
    """A key that nobody used."""
    return make_key(STUDY, "1.2", sop, new_version())


def sums(content: bytes) -> bytes:
    """The fast checksums of `content`."""
    checks = Checks()
    checks.update(content)
    return checks.finish()[1]


async def put(store: BlobStore, content: bytes, key: str = "", lines: tuple[bytes, ...] = ()) -> BlobWriter:
    """Stores `content` in pieces of unequal length."""
    writer = store.create(key or new_key())
    for start in range(0, len(content), 300_007):
        await writer.write(content[start : start + 300_007])
    await writer.close()
    await store.sync([writer], [(STUDY, line) for line in lines])
    return writer


async def get(store: BlobStore, key: str, length: int) -> bytes:
    """The first `length` bytes, unverified."""
    return b"".join([chunk async for chunk in store.read(key, ByteRange(0, length))])


async def drain(chunks: AsyncIterator[bytes], into: list[bytes]) -> None:
    """Keeps what came before an error."""
    async for chunk in chunks:
        into.append(chunk)


class BlobStoreContract:
    """Inherit and give `store`."""

    @pytest.mark.parametrize("length", [0, 1, 5_000, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 17])
    async def test_bytes_out_are_bytes_in(self, store: BlobStore, length: int) -> None:
        content = os.urandom(length)
        writer = await put(store, content)
        checks = sums(content)
        assert await get(store, writer.key, length) == content
        chunks = [c async for c in store.read_verified(writer.key, ByteRange(0, length), checks, length)]
        assert b"".join(chunks) == content
        assert all(len(chunk) <= PIECE for chunk in chunks)
        assert await store.pread_verified(writer.key, 0, length, checks, length) == content

    async def test_any_part_can_be_read(self, store: BlobStore) -> None:
        content = os.urandom(3 * PIECE + 100)
        writer = await put(store, content)
        checks = sums(content)
        for offset, length in [(0, 1), (PIECE - 1, 2), (17, 2 * PIECE), (3 * PIECE, 100), (3 * PIECE + 99, 1), (5, 0)]:
            wanted = content[offset : offset + length]
            part = ByteRange(offset, length)
            assert b"".join([c async for c in store.read(writer.key, part)]) == wanted
            verified = [c async for c in store.read_verified(writer.key, part, checks, len(content))]
            assert b"".join(verified) == wanted
            assert await store.pread_verified(writer.key, offset, length, checks, len(content)) == wanted

    async def test_one_piece_can_be_read(self, store: BlobStore) -> None:
        """Twice: what was read is in memory then."""
        content = os.urandom(2 * PIECE + 100)
        writer = await put(store, content)
        for number in (0, 2, 0, 2):
            piece = await store.read_piece(writer.key, number, sums(content), len(content))
            assert piece == content[number * PIECE : (number + 1) * PIECE]

    async def test_pieces_are_read_into_given_memory(self, store: BlobStore) -> None:
        content = os.urandom(3 * PIECE + 100)
        writer = await put(store, content)
        for numbers in (range(1), range(1, 3), range(3, 4), range(4)):
            wanted = content[numbers.start * PIECE : numbers.stop * PIECE]
            room = bytearray(b"." * (len(wanted) + 1))
            await store.read_into(writer.key, numbers, sums(content), len(content), memoryview(room)[:-1])
            assert room == wanted + b"."

    async def test_a_part_beyond_the_end_is_corrupt(self, store: BlobStore) -> None:
        writer = await put(store, b"x" * 100)
        checks = sums(b"x" * 100)
        with pytest.raises(Corrupt):
            await store.pread_verified(writer.key, 90, 11, checks, 100)
        with pytest.raises(Corrupt):
            await store.pread_verified(writer.key, 90, 11, checks, 200)

    async def test_G19_no_byte_of_a_piece_with_a_wrong_checksum_is_yielded(self, store: BlobStore) -> None:
        content = os.urandom(2 * PIECE)
        wrong = bytearray(sums(content))
        wrong[8] ^= 1
        writer = await put(store, content)
        sent: list[bytes] = []
        with pytest.raises(Corrupt):
            await drain(store.read_verified(writer.key, ByteRange(0, 2 * PIECE), bytes(wrong), 2 * PIECE), sent)
        assert b"".join(sent) == content[:PIECE]
        with pytest.raises(Corrupt):
            await store.pread_verified(writer.key, 2 * PIECE - 1, 1, bytes(wrong), 2 * PIECE)
        for _ in range(2):
            with pytest.raises(Corrupt):
                await store.read_piece(writer.key, 1, bytes(wrong), 2 * PIECE)
        assert await store.pread_verified(writer.key, 0, 1, bytes(wrong), 2 * PIECE) == content[:1]
        with pytest.raises(Corrupt):
            await store.read_into(writer.key, range(2), bytes(wrong), 2 * PIECE, memoryview(bytearray(2 * PIECE)))

    async def test_a_missing_checksum_is_corrupt(self, store: BlobStore) -> None:
        writer = await put(store, b"x" * 100)
        with pytest.raises(Corrupt):
            await store.pread_verified(writer.key, 0, 1, b"", 100)

    async def test_a_blob_that_is_gone_is_missing(self, store: BlobStore) -> None:
        """To try again later does not help."""
        key = (await put(store, b"x")).key
        await store.remove(key)
        with pytest.raises(BlobMissing):
            await get(store, key, 1)
        with pytest.raises(BlobMissing):
            await store.pread_verified(key, 0, 1, sums(b"x"), 1)
        with pytest.raises(BlobMissing):
            await store.read_piece(key, 0, sums(b"x"), 1)
        with pytest.raises(BlobMissing):
            await store.read_into(key, range(1), sums(b"x"), 1, memoryview(bytearray(1)))

    async def test_nothing_is_overwritten(self, store: BlobStore) -> None:
        key = (await put(store, b"first")).key
        writer = store.create(key)
        await writer.write(b"second")
        await writer.close()
        with pytest.raises(BlobStoreFailed):
            await store.sync([writer], [])
        await writer.abandon()
        assert await get(store, key, 5) == b"first"

    @pytest.mark.parametrize(
        "key", ["", "x", "../1.2/1.2/1.2~a.dcm", "00/1.2/1.2/1.2.dcm", "00/1.2/../1.2~0123456789abcdefgh.dcm"]
    )
    async def test_G30_only_keys_made_of_uids_are_taken(self, store: BlobStore, key: str) -> None:
        with pytest.raises(Unreadable):
            store.create(key)
        with pytest.raises(Unreadable):
            await store.pread_verified(key, 0, 1, sums(b"x"), 1)
        with pytest.raises(Unreadable):
            await store.remove(key)
        with pytest.raises(Unreadable):
            await store.sync([], [("../..", b"line\n")])

    async def test_abandoned_blobs_are_gone_synced_or_not(self, store: BlobStore) -> None:
        written = store.create(new_key())
        for _ in range(4):
            await written.write(os.urandom(PIECE))
        await written.abandon()
        synced = await put(store, b"synced")
        await synced.abandon()
        await synced.abandon()
        never = store.create(new_key())
        await never.abandon()
        assert list(store.scan()) == []

    async def test_removed_blobs_are_gone_and_removing_again_is_no_error(self, store: BlobStore) -> None:
        keep, drop = await put(store, b"keep"), await put(store, b"drop")
        await store.remove(drop.key)
        await store.remove(drop.key)
        assert [info.key for info in store.scan()] == [keep.key]

    async def test_scan_tells_key_length_and_age(self, store: BlobStore) -> None:
        writers = [await put(store, b"x" * length, new_key(f"1.{length}")) for length in (0, 10, PIECE + 1)]
        found = {info.key: info.length for info in store.scan()}
        assert found == {writer.key: length for writer, length in zip(writers, (0, 10, PIECE + 1), strict=True)}
        assert all(info.modified > 1_600_000_000 for info in store.scan())

    async def test_journal_lines_come_back_in_order(self, store: BlobStore) -> None:
        lines = [journal.tombstone("delete", [str(number)]) for number in range(20)]
        await put(store, b"x", lines=(lines[0], lines[1]))
        for line in lines[2:]:
            await store.sync([], [(STUDY, line)])
        await store.sync([], [("1.9", lines[0])])
        told = [line for study, line in store.journals() if study == STUDY]
        assert told == [line.rstrip(b"\n") for line in lines]
        assert [line for study, line in store.journals() if study == "1.9"] == [lines[0].rstrip(b"\n")]

    async def test_concurrent_syncs_each_succeed_or_fail_alone(self, store: BlobStore) -> None:
        taken = (await put(store, b"taken")).key
        writers = [store.create(taken if number == 7 else new_key(f"1.{number}")) for number in range(40)]
        for writer in writers:
            await writer.write(b"content")
            await writer.close()
        results = await asyncio.gather(
            *(store.sync([writer], [(STUDY, b'{"op":"x"}\n')]) for writer in writers), return_exceptions=True
        )
        assert [type(result) for result in results] == [
            BlobStoreFailed if number == 7 else type(None) for number in range(40)
        ]
        assert len(list(store.scan())) == 40

    async def test_one_call_with_many_writers(self, store: BlobStore) -> None:
        writers = [store.create(new_key(f"1.{number}")) for number in range(50)]
        for writer in writers:
            await writer.write(writer.key.encode())
            await writer.close()
        await store.sync(writers, [(STUDY, writer.key.encode() + b"\n") for writer in writers])
        for writer in writers:
            assert await get(store, writer.key, len(writer.key)) == writer.key.encode()
        assert [line.decode() for _, line in store.journals()] == [writer.key for writer in writers]

    async def test_free_space_is_told(self, store: BlobStore) -> None:
        assert store.free_bytes() > PIECE
        assert not store.suspect


class TestLocalBlobStore(BlobStoreContract):
    """A folder."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[BlobStore]:
        with closing(LocalBlobStore(tmp_path / "blobs")) as store:
            yield store


class TestMemoryBlobStore(BlobStoreContract):
    """The shipped fake."""

    @pytest.fixture
    def store(self) -> BlobStore:
        return MemoryBlobStore()


class Machine(RuleBasedStateMachine):
    """Any sequence of deeds leaves a store equal to a dict of what should be in it."""

    store: BlobStore

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model: dict[str, bytes] = {}
        self.lines: list[bytes] = []

    def teardown(self) -> None:
        self.loop.close()

    async def write(self, contents: list[bytes], repeat: int) -> list[BlobWriter]:
        """Writers that hold the contents, each repeated."""
        writers = [self.store.create(new_key()) for _ in contents]
        for writer, content in zip(writers, contents, strict=True):
            for _ in range(repeat):
                await writer.write(content)
            await writer.close()
        return writers

    @rule(contents=st.lists(st.binary(max_size=9000), min_size=1, max_size=4), repeat=st.sampled_from([1, 1, 200]))
    def store_some(self, contents: list[bytes], repeat: int) -> None:
        async def deed() -> None:
            writers = await self.write(contents, repeat)
            line = journal.tombstone("undo", [str(len(self.lines))])
            await self.store.sync(writers, [(STUDY, line)])
            self.lines.append(line.rstrip(b"\n"))
            self.model.update({w.key: c * repeat for w, c in zip(writers, contents, strict=True)})

        self.loop.run_until_complete(deed())

    @rule(content=st.binary(max_size=3000), repeat=st.sampled_from([1, 900]))
    def store_and_abandon(self, content: bytes, repeat: int) -> None:
        async def deed() -> None:
            for writer in await self.write([content], repeat):
                await writer.abandon()

        self.loop.run_until_complete(deed())

    @rule(number=st.integers(0, 1000))
    def remove_one(self, number: int) -> None:
        if self.model:
            key = sorted(self.model)[number % len(self.model)]
            del self.model[key]
            self.loop.run_until_complete(self.store.remove(key))

    @invariant()
    def equals_the_model(self) -> None:
        async def look() -> None:
            for key, content in self.model.items():
                checks = sums(content)
                assert await self.store.pread_verified(key, 0, len(content), checks, len(content)) == content

        lengths = {key: len(content) for key, content in self.model.items()}
        assert {info.key: info.length for info in self.store.scan()} == lengths
        assert [line for _, line in self.store.journals()] == self.lines
        self.loop.run_until_complete(look())


_FEW = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
"""The tests collect garbage first: hypothesis parses their source, and CPython 3.11 fails in `ast.parse` when a full
collection runs finalizers in the middle of it (gh-106905)."""


def test_any_history_of_a_folder_equals_a_dict(tmp_path_factory: pytest.TempPathFactory) -> None:
    class OfFolder(Machine):
        def __init__(self) -> None:
            super().__init__()
            self.store = LocalBlobStore(tmp_path_factory.mktemp("machine"))

        def teardown(self) -> None:
            self.store.close()

    gc.collect()
    run_state_machine_as_test(OfFolder, settings=_FEW)


def test_any_history_of_the_fake_equals_a_dict() -> None:
    class OfFake(Machine):
        def __init__(self) -> None:
            super().__init__()
            self.store = MemoryBlobStore()

    gc.collect()
    run_state_machine_as_test(OfFake, settings=_FEW)
