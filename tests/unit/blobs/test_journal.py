"""Journal lines: what is written is read, and what was torn is passed over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from app.blobs import journal
from app.blobs.keys import folder, make_key, new_version
from app.blobs.local import LocalBlobStore

DIGESTS = (b"\1" * 32, b"\2" * 32)


@dataclass(frozen=True)
class Described:
    """The part of a header that the journal needs."""

    dataset_offset: int = 340
    transfer_syntax: str = "1.2.840.10008.1.2.1"


def test_a_publish_line_tells_all_that_a_rebuild_needs() -> None:
    version = new_version()
    key = make_key("1.2", "1.3", "1.4", version)
    line = journal.publish(key, 5_000_000_000, Described(), DIGESTS, "replace", 'AE "é"')
    assert line.count(b"\n") == 1
    entry = journal.decode(line)
    assert entry is not None
    assert entry == journal.Entry(
        "publish",
        entry.time,
        (version,),
        key,
        5_000_000_000,
        340,
        "01" * 32,
        "02" * 32,
        "1.2.840.10008.1.2.1",
        'AE "é"',
        "replace",
    )


def test_other_lines_name_versions() -> None:
    version = new_version()
    withdrawn = journal.decode(journal.withdraw(make_key("1.2", "1.3", "1.4", version)))
    deleted = journal.decode(journal.tombstone("delete", ["a", "b"]))
    assert withdrawn is not None
    assert deleted is not None
    assert (withdrawn.op, withdrawn.versions) == ("withdraw", (version,))
    assert (deleted.op, deleted.versions) == ("delete", ("a", "b"))


@given(st.integers(1, 300), st.sampled_from(["a", '{"op":"', "\n\\"]))
def test_an_entry_appended_to_a_torn_line_is_found(cut: int, source: str) -> None:
    key = make_key("1.2", "1.3", "1.4", new_version())
    torn = journal.publish(key, 1, Described(), DIGESTS, "replace", source)[:cut].rstrip(b"\n")
    whole = journal.publish(key, 2, Described(), DIGESTS, "replace", source)
    entry = journal.decode(torn + whole)
    assert entry is not None
    assert entry == journal.decode(whole)


@given(st.binary(max_size=200))
def test_any_line_is_an_entry_or_nothing(line: bytes) -> None:
    journal.decode(line)
    journal.decode(b'{"op":"publish",' + line)


async def test_a_line_after_a_torn_one_begins_a_new_line(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    first, second = journal.tombstone("delete", ["1"]), journal.tombstone("delete", ["2"])
    await store.sync([], [("1.2", first)])
    with (tmp_path / folder("1.2") / "journal.jsonl").open("ab") as file:
        file.write(first[:20])
    await store.sync([], [("1.2", second)])
    lines = [line for _, line in store.journals()]
    assert lines == [first.rstrip(b"\n"), first[:20], second.rstrip(b"\n")]
    assert [entry.versions for entry in journal.entries(lines)] == [("1",), ("2",)]
