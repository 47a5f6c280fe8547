"""The journal beside the blobs of each study: one JSON line for each deed, synced before the deed is answered.

Blobs and journals alone rebuild the catalog. A `publish` line may name a blob that never became visible, since its
transaction failed: readers take only blobs that exist with the length and digests named, and obey later lines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import orjson

from app.blobs.keys import parse_key

JOURNAL_NAME = "journal.jsonl"

Operation = Literal["publish", "withdraw", "supersede", "delete", "undo", "purge"]
_OPERATIONS = frozenset(get_args(Operation))
_START = b'{"op":"'


class Described(Protocol):
    """What a header tells the journal; `app.dicom.header.Header` is one."""

    @property
    def dataset_offset(self) -> int:
        """Bytes before the data set."""

    @property
    def transfer_syntax(self) -> str:
        """Transfer Syntax UID."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `versions` are those that the deed concerns; all fields from `key` on are of `publish` only. Digests
    are SHA-256 in hexadecimal: `digest` of the data set, `digest_meta` of what precedes it. `time` is seconds since
    the epoch."""

    op: Operation
    time: float
    versions: tuple[str, ...]
    key: str = ""
    length: int = 0
    dataset_offset: int = 0
    digest: str = ""
    digest_meta: str = ""
    transfer_syntax: str = ""
    source: str = ""
    policy: str = ""


def publish(
    key: str, length: int, header: Described, digests: tuple[bytes, bytes], policy: str, source: str = ""
) -> bytes:
    """The line of a new version. `digests` are of the data set and of what precedes it."""
    return _line(
        {
            "op": "publish",
            "time": round(time.time(), 6),
            "versions": [_version(key)],
            "key": key,
            "length": length,
            "dataset_offset": header.dataset_offset,
            "digest": digests[0].hex(),
            "digest_meta": digests[1].hex(),
            "transfer_syntax": header.transfer_syntax,
            "source": source,
            "policy": policy,
        }
    )


def withdraw(key: str) -> bytes:
    """The line of a version that was announced and then not taken by the catalog."""
    return tombstone("withdraw", [_version(key)])


def tombstone(op: Operation, versions: Sequence[str]) -> bytes:
    """The line of a deed done to `versions`, such as a delete."""
    return _line({"op": op, "time": round(time.time(), 6), "versions": list(versions)})


def decode(line: bytes) -> Entry | None:
    """The entry of a line; None when it is empty or torn. An entry appended straight after a torn one is still found:
    no JSON string can hold the unescaped bytes with which an entry begins."""
    start = line.rfind(_START)
    if start < 0:
        return None
    try:
        members = orjson.loads(line[start:])
    except orjson.JSONDecodeError:
        return None
    return _entry(members)


def entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a journal, in order; torn lines are left out."""
    for line in lines:
        entry = decode(line)
        if entry is not None:
            yield entry


_KINDS: tuple[tuple[str, type], ...] = (
    ("key", str),
    ("length", int),
    ("dataset_offset", int),
    ("digest", str),
    ("digest_meta", str),
    ("transfer_syntax", str),
    ("source", str),
    ("policy", str),
)


def _entry(members: dict[str, Any]) -> Entry | None:
    versions = members.get("versions")
    if members.get("op") not in _OPERATIONS or not isinstance(versions, list):
        return None
    if not all(isinstance(version, str) for version in versions):
        return None
    if not isinstance(members.get("time"), int | float):
        return None
    details = {name: members[name] for name, kind in _KINDS if isinstance(members.get(name), kind)}
    return Entry(members["op"], float(members["time"]), tuple(versions), **details)


def _line(members: dict[str, object]) -> bytes:
    return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


def _version(key: str) -> str:
    parsed = parse_key(key)
    return parsed.version if parsed else ""
