"""The ledger: what an archive acknowledged, written by the sender; and the oracle that holds the archive to it.

The sender, not the archive, records each attempt before it is made and each acknowledgement after it came, synced. An
attempt without an answer may have happened or not, at any time until the archive was at rest."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.archive.context import Context
from app.archive.sweep import sweep
from app.blobs import journal
from app.blobs.keys import make_key, parse_key
from app.blobs.local import LocalBlobStore
from app.catalog.engine import Catalog
from tests.support.archive import RunningArchive
from tests.support.dicomweb import Broken, Client, Item, Stored, first
from tests.support.samples import Sample

ABSENT = ""
"""The content of an instance that is not visible."""
COMMENTS = "00204000"


class Violation(AssertionError):
    """The archive broke a promise."""


@dataclass(slots=True)
class Account:
    """One instance: which contents it may have now, by digest. `unsettled` are attempts that may still happen;
    `settled` those acknowledged, with the time of that: what overlapped with them may have come before or after."""

    path: str
    allowed: set[str] = field(default_factory=lambda: {ABSENT})
    unsettled: dict[int, str] = field(default_factory=dict)
    settled: list[tuple[int, str]] = field(default_factory=list)

    def begin(self, attempt: int, digest: str) -> None:
        """An attempt at `digest` is about to be made."""
        self.unsettled[attempt] = digest
        self.allowed.add(digest)

    def settle(self, attempt: int, now: int) -> None:
        """It was acknowledged. What was acknowledged before it began is over."""
        digest = self.unsettled.pop(attempt)
        self.settled = [(at, other) for at, other in self.settled if at > attempt] + [(now, digest)]
        self.allowed = {other for _, other in self.settled} | set(self.unsettled.values())


class Ledger:
    """What was tried and what was acknowledged. For several threads."""

    def __init__(self, log: Path) -> None:
        self.accounts: dict[str, Account] = {}
        self.contents: dict[str, Sample] = {}
        self.acknowledged = 0
        self._studies: set[str] = set()
        self._clock = itertools.count(1)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    @property
    def studies(self) -> list[str]:
        """Every study that something was tried on."""
        return sorted(self._studies)

    def store(self, client: Client, *samples: Sample) -> Stored:
        """Stores `samples` in one request and records what became of each; raises `Broken` after recording that too."""
        files = [sample.encode() for sample in samples]
        digests = [hashlib.sha256(file).hexdigest() for file in files]
        with self._lock:
            attempt = next(self._clock)
            for sample, digest in zip(samples, digests, strict=True):
                self.accounts.setdefault(sample.sop, Account(sample.path)).begin(attempt, digest)
                self.contents[digest] = sample
                self._studies.add(sample.study)
                self._write("try", sample.sop, digest)
        answer = client.store(*files)
        with self._lock:
            for sample, digest in zip(samples, digests, strict=True):
                if sample.sop in answer.acknowledged:
                    self._settle(sample.sop, attempt, digest)
            os.fsync(self._log)
        return answer

    def delete(self, client: Client, sample: Sample) -> int:
        """Deletes an instance; the status. Nothing else may be done to it at the same time."""
        with self._lock:
            attempt = next(self._clock)
            self.accounts[sample.sop].begin(attempt, ABSENT)
            self._write("try-delete", sample.sop, "")
        status = client.delete(sample.path)
        if status == 200:
            with self._lock:
                self._settle(sample.sop, attempt, ABSENT)
                os.fsync(self._log)
        return status

    def _settle(self, sop: str, attempt: int, digest: str) -> None:
        self.accounts[sop].settle(attempt, next(self._clock))
        self.acknowledged += 1
        self._write("acknowledged", sop, digest)

    def _write(self, what: str, sop: str, digest: str) -> None:
        os.write(self._log, json.dumps([time.time(), what, sop, digest]).encode() + b"\n")

    def rest(self, found: dict[str, str]) -> None:
        """Takes what an archive at rest holds as settled: nothing tried before can happen any more."""
        for sop, account in self.accounts.items():
            account.allowed = {found.get(sop, ABSENT)}
            account.unsettled.clear()
            account.settled.clear()


@dataclass(slots=True)
class Findings:
    """What a check counted."""

    instances: int = 0
    orphans: int = 0


class Oracle:
    """Holds one archive, at rest, to one ledger. Each method raises `Violation`."""

    def __init__(
        self, archive: RunningArchive, ledger: Ledger, database_url: str = "", blobs: Path | None = None
    ) -> None:
        self._archive = archive
        self._ledger = ledger
        self._database_url = database_url
        self._blobs = blobs or archive.data / "blobs"

    def check(self) -> Findings:
        """Everything: visibility, bytes, metadata, counts at three levels, journals, blobs of all rows, orphans."""
        self._archive.wait_ready()
        with _connected(self._archive) as client:
            findings, found = self._check_visible(client)
        self._check_accounts(found)
        self._check_journals(found)
        findings.orphans = asyncio.run(self._check_blobs())
        self._ledger.rest(found)
        return findings

    def _check_visible(self, client: Client) -> tuple[Findings, dict[str, str]]:
        findings = Findings()
        found: dict[str, str] = {}
        studies = {first(item, "0020000D"): item for item in client.search("/studies?includefield=all")}
        for study in self._ledger.studies:
            in_study = self._check_study(client, study, studies.get(study))
            found |= in_study
            findings.instances += len(in_study)
        return findings, found

    def check_instances(self, samples: Iterable[Sample]) -> None:
        """That each of `samples` can be found and has a content that it may have; the rest is left to `check`."""
        found: dict[str, str] = {}
        with _connected(self._archive) as client:
            for sample in samples:
                status, body = client.retrieve(sample.path)
                _require(status in (200, 404), f"{sample.path} answers {status}")
                visible = client.search(f"/instances?SOPInstanceUID={sample.sop}")
                _require(len(visible) == (status == 200), f"{sample.path}: WADO {status}, QIDO {len(visible)}")
                found[sample.sop] = hashlib.sha256(body).hexdigest() if status == 200 else ABSENT
        self._check_accounts(found, found)

    def _check_study(self, client: Client, study: str, item: Item | None) -> dict[str, str]:
        """Digest of each visible instance of a study."""
        instances = client.search(f"/studies/{study}/instances")
        series = client.search(f"/studies/{study}/series?includefield=all")
        files = client.retrieve_study(study)
        metadata = {first(entry, "00080018"): entry for entry in client.metadata(study)}
        listed = [first(entry, "00080018") for entry in instances]
        digests = [hashlib.sha256(file).hexdigest() for file in files]
        _require(len(set(listed)) == len(listed), f"study {study} lists an instance twice")
        _require(len(files) == len(listed), f"study {study} lists {len(listed)} and gives {len(files)} instances")
        _require(set(metadata) == set(listed), f"study {study}: metadata of {len(metadata)}, {len(listed)} listed")
        found: dict[str, str] = {}
        for digest in digests:
            _require(digest in self._ledger.contents, f"study {study} gives bytes that nobody stored")
            sample = self._ledger.contents[digest]
            listed_once = sample.sop in listed and sample.sop not in found
            _require(listed_once, f"study {study} gives an instance that it does not list")
            found[sample.sop] = digest
            comments = first(metadata[sample.sop], COMMENTS)
            _require(comments == sample.token, f"metadata of {sample.sop} is not that of its bytes")
        self._check_counts(study, item, series, instances)
        return found

    def _check_counts(self, study: str, item: Item | None, series: list[Item], instances: list[Item]) -> None:
        if not instances:
            _require(item is None and not series, f"study {study} is visible without an instance")
            return
        _require(item is not None, f"study {study} has instances and is not found")
        assert item is not None
        counted = (first(item, "00201206"), first(item, "00201208"))
        _require(counted == (len(series), len(instances)), f"study {study} counts {counted}")
        for entry in series:
            uid = first(entry, "0020000E")
            there = sum(first(instance, "0020000E") == uid for instance in instances)
            _require(first(entry, "00201209") == there, f"series {uid} counts {first(entry, '00201209')} of {there}")

    def _check_accounts(self, found: dict[str, str], only: Iterable[str] | None = None) -> None:
        for sop in self._ledger.accounts if only is None else only:
            digest, account = found.get(sop, ABSENT), self._ledger.accounts[sop]
            _require(
                digest in account.allowed,
                f"{account.path} has content {digest[:12] or 'none'}, not any of {[d[:12] for d in account.allowed]}",
            )

    def _check_journals(self, found: dict[str, str]) -> None:
        """Each visible instance can be rebuilt from a journal line."""
        store = LocalBlobStore(self._blobs)
        published = set()
        for _, line in store.journals():
            entry = journal.decode(line)
            parsed = parse_key(entry.key) if entry is not None else None
            if parsed is not None:
                published.add(parsed.sop)
        for sop in found:
            _require(sop in published, f"no journal line publishes {sop}")

    async def _check_blobs(self) -> int:
        """Each row has its blob, whole; how many blobs have no row, none of which two sweeps leave."""
        store = LocalBlobStore(self._blobs)
        catalog = Catalog(self._database_url or database_url(self._archive.data))
        try:
            orphans = await _compare(catalog, store)
            context = Context(catalog, store, orphan_hours=0)
            for _ in range(2):
                await sweep(context)
            left = await _compare(catalog, store)
            _require(left == 0, f"{left} orphans are left after two sweeps")
        finally:
            await catalog.close()
        return orphans


_ROWS = """
SELECT study.uid, series.uid, instance.uid, instance.version, instance.length
  FROM instance JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id
"""


async def _compare(catalog: Catalog, store: LocalBlobStore) -> int:
    rows = {make_key(*row[:4]): row[4] for row in await catalog.fetch(_ROWS)}
    blobs = {info.key: info.length for info in store.scan()}
    for key, length in rows.items():
        _require(blobs.get(key) == length, f"row without its blob: {key} has {blobs.get(key)} of {length} bytes")
    return len(blobs.keys() - rows.keys())


def database_url(data: Path) -> str:
    """The URL of the embedded server that runs on `data`."""
    socket_folder = (data / "postgres" / "postmaster.pid").read_text().splitlines()[4]
    return f"postgresql://postgres@/fileroom?host={socket_folder}"


@contextmanager
def _connected(archive: RunningArchive) -> Iterator[Client]:
    """A client of an archive at rest, whose answers must come whole."""
    client = Client(archive.port)
    try:
        yield client
    except Violation:
        raise
    except (Broken, AssertionError) as error:
        raise Violation(f"an archive at rest gave no good answer: {error}") from error
    finally:
        client.close()


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise Violation(message)
