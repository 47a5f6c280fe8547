"""The write path. Its laws, in the only legal order:

1 admit · 2 create the file under its final key as soon as the identifiers are known, and stream to it · 3 judge
4 sync file, journal, folder and new parents concurrently · 5 one transaction, COMMIT · 6 answer.
COMMIT never starts before every sync has returned; an answer never leaves before COMMIT has. Bytes before facts: an
orphan byte wastes space, an orphan fact is a lie. Nothing here unlinks a file but its own unpublished one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field

from app.archive.context import Context
from app.archive.receipts import Receipt
from app.archive.rounds import Rounds
from app.archive.row import make_row
from app.blobs import journal
from app.blobs.base import BlobWriter
from app.blobs.checksum import Checks
from app.blobs.keys import make_key, new_version, parse_key
from app.catalog.engine import Unreached
from app.catalog.instances import BatchRefused, InstanceTable, NewInstance, Stored, Verdict
from app.dicom.header import Header, HeaderWarning
from app.dicom.part10 import HeaderReader
from app.dicom.status import Outcome, outcome_of
from app.errors import (
    BlobStoreFailed,
    DatabaseDown,
    FileroomError,
    LimitExceeded,
    Overloaded,
    StorageFull,
    Unreadable,
    WrongStudy,
)
from app.failpoints import Failpoint, hit

UNPLACED_LIMIT = 8 << 20
"""Bytes held back while the identifiers, which name the blob, have not come yet."""
SPACE_CHECK_SECONDS = 0.5
SHORT = 1 << 20
"""Bytes of the longest instance that shares a round of syncs with others; a longer one would hold them up."""
AHEAD = 64 << 10
"""Bytes from which on an instance that must wait for its round is written meanwhile."""
PLACE_SECONDS = 20.0
"""Longest wait for a place, which slow senders may hold."""


@dataclass(slots=True)
class Waiting:
    """An instance that is durable and waits for its commit."""

    writer: BlobWriter
    row: NewInstance
    policy: str
    done: asyncio.Future[Verdict]


@dataclass(slots=True)
class Storekeeper:
    """One worker's path from received bytes to committed facts, in rounds: those that came meanwhile share the syncs
    and the commit of the next one."""

    context: Context
    rounds: Rounds = field(default_factory=Rounds)
    _table: InstanceTable = field(init=False)
    _to_commit: list[Waiting] = field(default_factory=list)
    _committing: bool = False
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _places: asyncio.Semaphore = field(init=False)
    _space_checked: float = 0.0
    _free: int = 0

    def __post_init__(self) -> None:
        self._table = InstanceTable(self.context.catalog)
        self._places = asyncio.Semaphore(self.context.max_stores)

    def admit(self) -> None:
        """Raises `StorageFull` when free space is under the reserve; looks at most twice a second."""
        now = time.monotonic()
        if now - self._space_checked > SPACE_CHECK_SECONDS:
            self._free = self.context.blobs.free_bytes()
            self._space_checked = now
        if self._free < self.context.reserve_bytes:
            raise StorageFull("free space is under the reserve; nothing was stored")

    async def receive(self, study: str | None = None, policy: str = "") -> Reception:
        """A place for one instance; waits while too many are under way, and raises `Overloaded` when that lasts.
        `study` is the resource's, if it names one; `policy` the sender's for other content, if it has one."""
        if self._places.locked():
            try:
                async with asyncio.timeout(PLACE_SECONDS):
                    await self._places.acquire()
            except TimeoutError as error:
                raise Overloaded("too many instances are being stored") from error
        else:
            await self._places.acquire()
        return Reception(self, study, policy or self.context.duplicate_policy)

    def leave(self) -> None:
        """Frees the place of a reception that has ended."""
        self._places.release()

    async def publish(self, writer: BlobWriter, row: NewInstance, length: int, line: bytes, policy: str) -> Verdict:
        """Syncs and commits one closed blob of `length` bytes; its verdict once that is durable and visible."""
        if length > SHORT:
            return await self._publish(writer, row, line, policy)
        if length >= AHEAD and self.rounds.inside:
            await writer.write_ahead()
        await self.rounds.enter()
        try:
            return await self._publish(writer, row, line, policy)
        finally:
            self.rounds.leave()

    async def _publish(self, writer: BlobWriter, row: NewInstance, line: bytes, policy: str) -> Verdict:
        await self.context.blobs.sync([writer], [(row.study, line)])
        hit(Failpoint.STORE_SYNCED)
        waiting = Waiting(writer, row, policy, asyncio.get_running_loop().create_future())
        self._to_commit.append(waiting)
        if not self._committing:
            await self._commit_next()
        return await waiting.done

    async def _commit_next(self) -> None:
        """One transaction for all that wait. What comes meanwhile is the next one's, which has a task of its own, so
        that nobody's answer waits for later comers."""
        self._committing = True
        try:
            if self.rounds.inside > 1:
                await asyncio.sleep(0)  # those whose syncs ended together with the first one's come now
            await self._commit(self._take_distinct())
        finally:
            self._committing = bool(self._to_commit)
            if self._committing:
                self._in_background(self._commit_next())

    def _take_distinct(self) -> list[Waiting]:
        """All that wait, but each instance once: a twin goes into the next transaction and meets the first there. So
        does what comes under another policy than the first."""
        taken: dict[tuple[str, str, str], Waiting] = {}
        later = []
        policy = self._to_commit[0].policy
        for waiting in self._to_commit:
            row = waiting.row
            identity = (row.study, row.series, row.sop)
            if identity in taken or waiting.policy != policy:
                later.append(waiting)
            else:
                taken[identity] = waiting
        self._to_commit = later
        return list(taken.values())

    async def _commit(self, batch: list[Waiting]) -> None:
        hit(Failpoint.STORE_COMMITTING)
        try:
            verdicts = await self._table.commit([w.row for w in batch], batch[0].policy)
            hit(Failpoint.STORE_COMMITTED)
            for waiting, verdict in zip(batch, verdicts, strict=True):
                waiting.done.set_result(verdict)
                if verdict.stored in (Stored.IDENTICAL, Stored.REJECTED):
                    self._in_background(self._withdraw(waiting))
                elif verdict.stored is Stored.REPLACED:
                    self._in_background(self._tell_order(waiting))
        except BatchRefused as error:
            await self._commit_singly(batch, error)
        except Unreached as error:
            _fail(batch, error)
            for waiting in batch:
                self._in_background(self._withdraw(waiting))
        except DatabaseDown as error:
            _fail(batch, error)  # perhaps it was committed: the blobs stay, for the sweeper to judge
        finally:
            _fail(batch, DatabaseDown("the commit failed"))  # nobody may wait for ever, whatever went wrong

    async def _commit_singly(self, batch: list[Waiting], error: BatchRefused) -> None:
        """What the catalog refuses must not harm its neighbours."""
        if len(batch) == 1:
            _fail(batch, Unreadable(f"the catalog cannot hold the instance ({error.sqlstate})"))
            return
        for waiting in batch:
            await self._commit([waiting])

    async def _withdraw(self, waiting: Waiting) -> None:
        """Removes a blob that the catalog did not take, and says so in the journal."""
        try:
            await self.context.blobs.sync([], [(waiting.row.study, journal.withdraw(waiting.writer.key))])
            await waiting.writer.abandon()
        except BlobStoreFailed:
            return  # an orphan, which the sweeper removes

    async def _tell_order(self, waiting: Waiting) -> None:
        """Says in the journal which version this one replaced: of two workers, the first to write its line need not
        be the first to commit."""
        key = parse_key(waiting.writer.key)
        assert key is not None
        try:
            old = await self._table.superseded_by(waiting.row, key.version)
            if old is not None:
                line = journal.tombstone("supersede", [key.version, old])
                await self.context.blobs.sync([], [(waiting.row.study, line)])
        except (BlobStoreFailed, StorageFull, DatabaseDown):
            return  # the order of the journal's lines then stands for that of the commits

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def drain(self) -> None:
        """Waits for everything under way; for shutdown."""
        while self._background:
            await asyncio.wait(self._background)


def _fail(batch: list[Waiting], error: FileroomError) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)


class Reception:
    """One instance while its bytes come in. `write` each chunk, then `finish`, or `abandon`."""

    def __init__(self, keeper: Storekeeper, study: str | None, policy: str) -> None:
        self._keeper = keeper
        self._study = study
        self._policy = policy
        self._reader = HeaderReader(keeper.context.limits)
        self._checks = Checks()
        self._writer: BlobWriter | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._version = ""
        self.length = 0
        self.failure: FileroomError | None = None

    async def write(self, chunk: bytes) -> None:
        """Takes the next bytes. After a refusal the rest of the object is passed over; `finish` tells why."""
        if self.failure is not None:
            return
        try:
            await self._write(chunk)
        except FileroomError as error:
            self.failure = error

    async def _write(self, chunk: bytes) -> None:
        self.length += len(chunk)
        if self.length > self._keeper.context.limits.part:
            raise LimitExceeded("part", "the instance is longer than the limit for one part")
        self._reader.feed(chunk)
        if self._writer is not None:
            self._checks.update(chunk)
            await self._writer.write(chunk)
            return
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        identifiers = self._reader.identifiers
        if identifiers is not None:
            await self._place(identifiers)
        elif self._held_bytes > UNPLACED_LIMIT:
            raise LimitExceeded("header", f"no Series Instance UID in the first {UNPLACED_LIMIT >> 20} MiB")

    async def _place(self, identifiers: tuple[str, str, str]) -> None:
        study, series, sop = identifiers
        if self._study is not None and study != self._study:
            raise WrongStudy("the Study Instance UID is not that of the resource")
        self._version = new_version()
        self._writer = self._keeper.context.blobs.create(make_key(study, series, sop, self._version))
        hit(Failpoint.STORE_CREATED)
        self._checks.dataset_offset = self._reader.dataset_offset or 0
        for chunk in self._held:
            self._checks.update(chunk)
            await self._writer.write(chunk)
        self._held = []

    async def finish(self) -> Receipt:
        """Makes the instance durable and visible. Gives its receipt, also for a refusal or failure."""
        try:
            return await self._finish()
        except FileroomError as error:
            return await self._failed(error)
        finally:
            self._keeper.leave()

    async def _finish(self) -> Receipt:
        if self.failure is not None:
            raise self.failure
        header = self._reader.finish()
        if self._writer is None:
            await self._place((header.study, header.series, header.sop_instance))
        assert self._writer is not None
        await self._writer.close()
        hit(Failpoint.STORE_WRITTEN)
        digests, checks = self._checks.finish()
        row = make_row(header, self._version, self.length, digests, checks)
        line = journal.publish(self._writer.key, self.length, header, digests, self._policy)
        verdict = await self._keeper.publish(self._writer, row, self.length, line, self._policy)
        return _receipt(header, verdict)

    async def _failed(self, error: FileroomError) -> Receipt:
        unknown = isinstance(error, DatabaseDown)
        if self._writer is not None and not unknown:
            await self._writer.abandon()
        study, series, sop = self._reader.identifiers or ("", "", "")
        return Receipt(outcome_of(error), "", sop, study, series, error.detail)

    async def abandon(self) -> None:
        """Forgets the instance: its bytes did not come whole."""
        try:
            if self._writer is not None:
                await self._writer.abandon()
        finally:
            self._keeper.leave()


def _receipt(header: Header, verdict: Verdict) -> Receipt:
    warnings: tuple[HeaderWarning, ...] = header.warnings
    if verdict.stored is Stored.REJECTED:
        outcome = Outcome.CONFLICT
    elif verdict.elsewhere:
        outcome = Outcome.STORED_ELSEWHERE_TOO
        warnings = (HeaderWarning("00080018", "the SOP Instance UID is stored in another series too"), *warnings)
    elif header.broken_off:
        outcome = Outcome.STORED_BROKEN_OFF
    elif warnings:
        outcome = Outcome.STORED_WITH_WARNING
    else:
        outcome = Outcome.STORED
    comment = "other content is stored under this SOP Instance UID" if outcome is Outcome.CONFLICT else ""
    return Receipt(outcome, header.sop_class, header.sop_instance, header.study, header.series, comment, warnings)
