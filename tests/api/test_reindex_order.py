"""reindex finds the same current version as the commits made, whatever the order of the journal's lines."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from app.archive.context import Context
from app.archive.reindex import Rebuilt, in_order_of_commits, reindex
from app.archive.store import Storekeeper
from app.blobs import journal
from app.blobs.journal import Entry
from app.blobs.local import LocalBlobStore
from app.catalog import replay
from app.catalog.engine import Catalog
from tests.support.small_files import data_set, encode

CURRENT = "SELECT encode(digest, 'hex') FROM instance WHERE state = 0"


async def _store(keeper: Storekeeper, file: bytes) -> None:
    reception = await keeper.receive()
    await reception.write(file)
    assert (await reception.finish()).stored


def swap_publish_lines(folder: Path) -> list[str]:
    """As if the second of two workers had been the first to write its line; the operations of the journal."""
    (path,) = folder.rglob(journal.JOURNAL_NAME)
    lines = path.read_bytes().splitlines(keepends=True)
    published = [at for at, line in enumerate(lines) if b'"op":"publish"' in line]
    first, second = published
    lines[first], lines[second] = lines[second], lines[first]
    path.write_bytes(b"".join(lines))
    return [entry.op for entry in journal.entries(lines)]


async def test_G07_reindex_keeps_the_winner_of_two_contents(catalog: Catalog, tmp_path: Path) -> None:
    context = Context(catalog, LocalBlobStore(tmp_path))
    keeper = Storekeeper(context)
    loser = data_set()
    winner = copy.deepcopy(loser)
    winner.PixelData = bytes(16)
    await _store(keeper, encode(loser))
    await _store(keeper, encode(winner))
    await keeper.drain()
    digest = await catalog.fetchval(CURRENT)
    assert sorted(swap_publish_lines(tmp_path)) == ["publish", "publish", "supersede"]
    await replay.clear(catalog)
    told: list[Rebuilt] = []
    assert (await reindex(context, told.append)).instances == 2
    assert await catalog.fetchval(CURRENT) == digest


def publish(version: str) -> Entry:
    """A line of a new version."""
    return Entry("publish", 0.0, (version,), key=version)


def supersede(new: str, old: str) -> Entry:
    """A line that says which version `new` replaced."""
    return Entry("supersede", 0.0, (new, old))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([publish("a"), publish("b")], "ab"),
        ([publish("b"), publish("a"), supersede("b", "a")], "ab"),
        ([publish("c"), publish("b"), publish("a"), supersede("c", "b"), supersede("b", "a")], "abc"),
        ([publish("b"), supersede("b", "gone")], "b"),
        ([publish("a"), publish("b"), supersede("b", "a"), supersede("a", "b")], "ba"),
        ([Entry("publish", 0.0, ()), publish("a")], "a"),
    ],
)
def test_versions_follow_those_that_they_replaced(entries: list[Entry], expected: str) -> None:
    ordered = in_order_of_commits(entries)
    assert "".join(entry.key for entry in ordered if entry.op == "publish") == expected
