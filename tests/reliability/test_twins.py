"""R10: many stores of one instance at the same moment, with the same content and with two contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, local

from tests.reliability.conftest import tier
from tests.support.archive import RunningArchive
from tests.support.dicomweb import Client, Stored
from tests.support.ledger import Ledger, Oracle, Violation
from tests.support.samples import Sample, new_sample, new_uid

TWINS = 32
ROUNDS = tier(50, 5_000, 20_000)


class Twins:
    """Senders that all start at once, each with a connection of its own."""

    def __init__(self, port: int, ledger: Ledger, pool: ThreadPoolExecutor) -> None:
        self._port = port
        self._ledger = ledger
        self._pool = pool
        self._barrier = Barrier(TWINS)
        self._own = local()

    def store(self, samples: list[Sample]) -> list[Stored]:
        """One request for each sample."""
        return list(self._pool.map(self._store, samples))

    def _store(self, sample: Sample) -> Stored:
        if not hasattr(self._own, "client"):
            self._own.client = Client(self._port)
        self._barrier.wait(30)
        answer: Stored = self._ledger.store(self._own.client, sample)
        return answer


@contextmanager
def twins_of(archive: RunningArchive, ledger: Ledger) -> Iterator[Twins]:
    """Senders to an archive."""
    with ThreadPoolExecutor(TWINS) as pool:
        yield Twins(archive.port, ledger, pool)


def play(twins: Twins, client: Client, rounds: int) -> None:
    """`rounds` of both kinds; raises `Violation`."""
    study = new_uid()
    for number in range(rounds):
        first = new_sample(study)
        contents = [first, first.other_content()] if number % 2 else [first]
        answers = twins.store([contents[at % len(contents)] for at in range(TWINS)])
        refused = [answer.status for answer in answers if answer.status != 200]
        if refused:
            raise Violation(f"of {TWINS} twins {len(refused)} got {set(refused)}")
        status, body = client.retrieve(first.path)
        digests = {hashlib.sha256(content.encode()).hexdigest() for content in contents}
        if status != 200 or hashlib.sha256(body).hexdigest() not in digests:
            raise Violation(f"after its twins an instance answers {status} with {len(body)} bytes")


def test_G08_twins_give_one_whole_instance_and_only_successes(
    battered: RunningArchive, ledger: Ledger, oracle: Oracle, tmp_path: Path
) -> None:
    battered.wait_ready()
    with twins_of(battered, ledger) as twins:
        play(twins, Client(battered.port), ROUNDS)
    oracle.check()
