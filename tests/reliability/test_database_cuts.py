"""R7: the connection to PostgreSQL breaks at each message of the store transaction, before COMMIT is sent and after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.reliability.conftest import tier
from tests.support.archive import RunningArchive, start_archive
from tests.support.database import DatabaseServer
from tests.support.db_proxy import Action, Cut, DatabaseProxy
from tests.support.dicomweb import Client
from tests.support.ledger import Ledger, Oracle
from tests.support.samples import new_sample

ROUNDS = tier(1, 15, 60)
PLACES = [
    *(("client", number, part) for number in range(3) for part in (0.0, 0.5)),
    *(("server", number, part) for number in range(4) for part in (0.0, 0.5)),
]
"""Before and in the middle of Bind, Execute, Sync; and of BindComplete, DataRow, CommandComplete, ReadyForQuery."""
OUT_OF_RESOURCES = 0xA700
UNAVAILABLE = 503
RECOVERY_SECONDS = 10.0
CONNECTIONS = 2 * 8 + 8
"""Of two workers with a pool each, and one for jobs."""


@dataclass
class Behind:
    """An archive whose database is behind a proxy."""

    archive: RunningArchive
    proxy: DatabaseProxy
    oracle: Oracle
    ledger: Ledger
    client: Client


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseServer) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("behind")
    url = database_server.create()
    proxy = DatabaseProxy(url)
    archive = start_archive(folder / "data", FILEROOM_DATABASE_URL=proxy.url)
    ledger = Ledger(folder / "ledger.jsonl")
    yield Behind(archive, proxy, Oracle(archive, ledger, url), ledger, Client(archive.port))
    archive.stop()
    proxy.close()
    database_server.drop(url)


def wait_stored(behind: Behind) -> float:
    """Seconds until a store succeeds again."""
    begun = time.monotonic()
    while behind.ledger.store(behind.client, new_sample()).status != 200:
        assert time.monotonic() < begun + RECOVERY_SECONDS, "stores do not succeed again"
        time.sleep(0.05)
    return time.monotonic() - begun


@pytest.mark.parametrize("action", ["close", "reset", "stall"])
def test_G09_a_store_whose_outcome_is_unknown_is_a_failure_that_may_be_tried_again(
    behind: Behind, action: Action
) -> None:
    places = PLACES if action != "stall" else PLACES[1::5]
    for side, number, part in places * ROUNDS:
        first = new_sample()
        for sample in (first, new_sample(first.study)):
            wait_stored(behind)
            behind.proxy.plan(Cut(side, number, part, action, 0.5), sample.sop)  # type: ignore[arg-type]
            answer = behind.ledger.store(behind.client, sample)
            assert behind.proxy.struck.is_set(), "the store did not pass the proxy"
            assert (answer.status, answer.failed) == (UNAVAILABLE, {sample.sop: OUT_OF_RESOURCES})
            assert int(answer.headers["retry-after"]) > 0
            committed = behind.client.retrieve(sample.path)[0] == 200
            assert committed == (side == "server"), "COMMIT was sent" if side == "server" else "COMMIT was not sent"
            behind.oracle.check_instances([sample])
            again = behind.ledger.store(behind.client, sample)
            assert (again.status, again.acknowledged) == (200, {sample.sop}), (side, number, part)
            behind.oracle.check_instances([sample])
    behind.oracle.check()
    assert behind.proxy.connections <= CONNECTIONS


def test_G13_a_database_that_is_away_is_503_and_comes_back_by_itself(behind: Behind) -> None:
    behind.proxy.refuse(True)
    for path in ("/dicom-web/studies", "/readyz"):
        assert behind.archive.status(path) == UNAVAILABLE
    assert behind.archive.status("/healthz") == 200
    answer = behind.ledger.store(behind.client, new_sample())
    assert answer.status == UNAVAILABLE
    assert int(answer.headers["retry-after"]) > 0
    behind.proxy.refuse(False)
    assert wait_stored(behind) < RECOVERY_SECONDS
    behind.archive.wait_ready(RECOVERY_SECONDS)
    behind.oracle.check()
    assert behind.proxy.connections <= CONNECTIONS
