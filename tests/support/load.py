"""Writers, readers and a deleter that go on while an archive is being broken under them."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.dicomweb import Broken, Client
from tests.support.ledger import Ledger, Violation
from tests.support.samples import Sample, new_sample, new_uid

PAUSE_WHEN_DOWN = 0.02


class Load:
    """Threads against one archive. What a reader sees is checked at once; the rest is for the oracle. Writers rest for
    `pause` seconds on average after each request."""

    def __init__(
        self, port: int, ledger: Ledger, seed: int, *, writers: int = 8, readers: int = 2, pause: float = 0
    ) -> None:
        self._port = port
        self._ledger = ledger
        self._stop = threading.Event()
        self._stored: list[Sample] = []
        self._doomed: list[Sample] = []
        self.errors: list[BaseException] = []
        self.reads = 0
        self.latencies: list[float] = []
        self._pause = pause
        self._last_acknowledged = time.monotonic()
        jobs: list[Callable[[random.Random], None]] = [
            *[self._write] * writers,
            *[self._read] * readers,
            self._delete,
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(job, random.Random(seed * 100 + number)))
            for number, job in enumerate(jobs)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs the load while the block runs; raises what a thread raised."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(60)
        if self.errors:
            raise self.errors[0]

    def wait_progress(self, seconds: float = 30.0) -> None:
        """Returns once a store has been acknowledged since the call; raises `Violation` when none is."""
        since = time.monotonic()
        while self._last_acknowledged < since:
            if self.errors:
                raise self.errors[0]
            if time.monotonic() > since + seconds:
                raise Violation(f"no store was acknowledged for {seconds} s")
            time.sleep(0.005)

    def _run(self, job: Callable[[random.Random], None], chance: random.Random) -> None:
        try:
            job(chance)
        except BaseException as error:  # noqa: BLE001 - raised again by `running`
            self.errors.append(error)
            self._stop.set()

    def _write(self, chance: random.Random) -> None:
        client = Client(self._port)
        study, mine = new_uid(), list[Sample]()
        while not self._stop.is_set():
            if chance.random() < 0.03:
                study = new_uid()
            samples = _choose(chance, study, mine)
            begun = time.monotonic()
            try:
                answer = self._ledger.store(client, *samples)
            except Broken:
                time.sleep(PAUSE_WHEN_DOWN)
                continue
            self.latencies.append(time.monotonic() - begun)
            _check_status(answer.status)
            for sample in samples:
                if sample.sop in answer.acknowledged:
                    self._last_acknowledged = time.monotonic()
                    self._keep(sample, mine, chance)
            if answer.status >= 500:
                time.sleep(PAUSE_WHEN_DOWN)
            if self._pause:
                time.sleep(chance.uniform(0, 2 * self._pause))
        client.close()

    def _keep(self, sample: Sample, mine: list[Sample], chance: random.Random) -> None:
        mine[:] = [other for other in mine[-50:] if other.sop != sample.sop]
        if chance.random() < 0.1:
            self._doomed.append(sample)  # from now on only the deleter may touch it
        else:
            mine.append(sample)
        self._stored.append(sample)

    def _read(self, chance: random.Random) -> None:
        """Whatever can be read at all is whole and was sent by a writer."""
        client = Client(self._port)
        while not self._stop.is_set():
            if not self._stored:
                time.sleep(PAUSE_WHEN_DOWN)
                continue
            sample = chance.choice(self._stored)
            try:
                status, body = client.retrieve(sample.path)
            except Broken:
                time.sleep(PAUSE_WHEN_DOWN)
                continue
            self.reads += 1
            if status == 200 and hashlib.sha256(body).hexdigest() not in self._ledger.contents:
                raise Violation(f"{sample.path} gave bytes that nobody stored")
            if status not in (200, 404, 503):
                raise Violation(f"{sample.path} answers {status}: {body[:300]!r}")
            time.sleep(0.005)
        client.close()

    def _delete(self, chance: random.Random) -> None:
        client = Client(self._port)
        while not self._stop.is_set():
            if not self._doomed:
                time.sleep(PAUSE_WHEN_DOWN)
                continue
            sample = self._doomed.pop()
            try:
                status = self._ledger.delete(client, sample)
            except Broken:
                time.sleep(PAUSE_WHEN_DOWN)
                continue
            if status not in (200, 404, 503):
                raise Violation(f"delete of {sample.path} answers {status}")
        client.close()


def _choose(chance: random.Random, study: str, mine: list[Sample]) -> list[Sample]:
    """A new instance, three of them, one again, or one with other content."""
    dice = chance.random()
    if mine and dice < 0.1:
        return [chance.choice(mine)]
    if mine and dice < 0.2:
        return [chance.choice(mine).other_content()]
    series = f"{study}.{chance.randrange(2)}"
    rows = chance.choice([8, 32, 32, 128, 1024])
    return [new_sample(study, series, rows) for _ in range(3 if dice < 0.35 else 1)]


def _check_status(status: int) -> None:
    if status not in (200, 202, 503):
        raise Violation(f"a store answers {status}")
