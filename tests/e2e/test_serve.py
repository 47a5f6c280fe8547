"""`fileroom serve`: what it says, who may reach it, how it spreads clients, and how it ends."""

from __future__ import annotations

import collections
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from app.errors import CannotStart
from app.serve import check_exposure
from app.settings import Settings
from tests.support.archive import ROOT, RunningArchive, free_port, start_archive
from tests.support.small_files import data_set, encode, path_of
from tests.support.waiting import PATIENCE, has_read_all, until


def get(connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer


def refusal(data: Path, **environment: str) -> tuple[int, str]:
    """Exit status and message of a `fileroom serve` that must not start."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FILEROOM_")}
    own = {"FILEROOM_DATA": str(data), "FILEROOM_HTTP_PORT": str(free_port()), "FILEROOM_DIMSE_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"],
        cwd=ROOT,
        env=inherited | own | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_start_says_what_listens_where_and_how_to_go_on(archive: RunningArchive) -> None:
    until(lambda: "Fileroom is ready." in archive.log, "the last worker serves")
    for words in (
        f"{archive.url}/dicom-web",
        str(archive.data),
        "embedded PostgreSQL 18",
        "everybody on this machine",
        "curl -H 'Content-Type: application/dicom' --data-binary",
        "Stop with Ctrl-C",
    ):
        assert words in archive.log


def test_all_processes_together_are_small(archive: RunningArchive) -> None:
    idle = sum(process.memory_full_info().pss for process in archive.processes())
    assert idle <= 350 << 20, f"{idle >> 20} MiB"


def test_kept_alive_clients_spread_over_the_workers(archive: RunningArchive) -> None:
    """On a busy machine the worker that has fewer may be kept from taking one in time: it is tried again."""
    for _ in range(10):
        clients = [http.client.HTTPConnection("127.0.0.1", archive.port) for _ in range(8)]
        prefixes = collections.Counter(
            get(client, "/healthz").headers["X-Request-ID"].partition("-")[0] for client in clients
        )
        for client in clients:
            client.close()
        if len(prefixes) == 2 and min(prefixes.values()) >= 3:
            return
        time.sleep(0.2)
    pytest.fail(f"8 clients of 2 workers: {prefixes}")


def test_metrics_add_up_over_the_workers(archive: RunningArchive) -> None:
    def answered() -> float:
        client = http.client.HTTPConnection("127.0.0.1", archive.port)
        client.request("GET", "/metrics")
        text = client.getresponse().read().decode()
        client.close()
        wanted = 'fileroom_http_requests_total{method="GET",route="/healthz",status="200"} '
        return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))

    before = answered()
    clients = [http.client.HTTPConnection("127.0.0.1", archive.port) for _ in range(6)]
    for client in clients:
        get(client, "/healthz")
    until(lambda: answered() - before >= 6, "a request is counted after its answer has left")
    assert answered() - before == 6
    for client in clients:
        client.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_without_authentication_only_loopback_is_served(host: str) -> None:
    with pytest.raises(CannotStart, match="FILEROOM_AUTH=none"):
        check_exposure(Settings(http_host=host))
    check_exposure(Settings(http_host=host, auth="token"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_authentication(host: str) -> None:
    check_exposure(Settings(http_host=host))


def test_a_name_counts_as_the_addresses_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.1", "192.0.2.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(CannotStart, match=r"archive\.example is 192\.0\.2\.7"):
        check_exposure(Settings(http_host="archive.example"))


def test_exposed_archive_is_refused_in_words(tmp_path: Path) -> None:
    status, message = refusal(tmp_path / "data", FILEROOM_HTTP_HOST="0.0.0.0")
    assert status == 2
    assert "fileroom token create" in message
    assert "Traceback" not in message


def test_taken_port_and_taken_folder_are_refused_in_words(archive: RunningArchive, tmp_path: Path) -> None:
    status, message = refusal(tmp_path / "data", FILEROOM_HTTP_PORT=str(archive.port))
    assert (status, f"port {archive.port}: Address already in use" in message) == (2, True), message
    status, message = refusal(archive.data)
    assert (status, "Another Fileroom serves the data folder" in message) == (2, True), message


def test_wrong_setting_is_named(tmp_path: Path) -> None:
    status, message = refusal(tmp_path / "data", FILEROOM_WORKERS="many")
    assert (status, "FILEROOM_WORKERS: " in message) == (2, True), message


def test_system_database_is_used_when_named(database_url: str, tmp_path: Path) -> None:
    running = start_archive(tmp_path / "data", FILEROOM_DATABASE_URL=database_url)
    try:
        assert running.status("/dicom-web/studies") in (200, 204)
        assert not (tmp_path / "data" / "postgres").exists()
    finally:
        assert running.stop() == 0


LONG = "600"
"""Seconds that no test has."""


@pytest.fixture
def own_archive(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[RunningArchive]:
    """An archive that a test may end, which waits long for requests under way unless the parameter says less."""
    running = start_archive(
        tmp_path / "data",
        FILEROOM_DATABASE_URL=database_url,
        FILEROOM_SHUTDOWN_SECONDS=getattr(request, "param", LONG),
        FILEROOM_BODY_SECONDS=LONG,
    )
    yield running
    if running.process.poll() is None:
        running.kill()
    running.stop()


def begin_upload(port: int, length: int) -> socket.socket:
    upload = socket.create_connection(("127.0.0.1", port))
    head = "POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"
    upload.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + bytes(length // 2))
    until(lambda: has_read_all(port, upload.getsockname()[1]), "the beginning of the request is read")
    return upload


def is_ending(archive: RunningArchive) -> bool:
    """Whether new connections are refused."""
    return archive.status("/healthz") == 0


def test_G18_a_request_under_way_is_finished(own_archive: RunningArchive) -> None:
    upload = begin_upload(own_archive.port, 1000)
    own_archive.kill(signal.SIGTERM)
    until(lambda: is_ending(own_archive), "new connections are refused")
    upload.sendall(bytes(500))
    answer = upload.recv(65536)
    assert answer.startswith(b"HTTP/1.1 409 "), "nothing but zeros is no DICOM, and that is said"
    own_archive.process.wait(PATIENCE)
    assert own_archive.process.returncode == 0


@pytest.mark.parametrize("own_archive", ["3"], indirect=True)
def test_G18_shutdown_has_an_end(own_archive: RunningArchive) -> None:
    upload = begin_upload(own_archive.port, 1000)
    started = time.monotonic()
    own_archive.kill(signal.SIGTERM)
    own_archive.process.wait(PATIENCE)
    assert time.monotonic() - started > 2
    assert own_archive.process.returncode == 0
    upload.close()


def test_G18_a_second_signal_ends_at_once(own_archive: RunningArchive) -> None:
    upload = begin_upload(own_archive.port, 1000)
    own_archive.kill(signal.SIGINT)
    until(lambda: is_ending(own_archive), "new connections are refused")
    assert own_archive.process.poll() is None
    own_archive.kill(signal.SIGINT)
    own_archive.process.wait(PATIENCE)
    upload.close()


def test_G16_connections_over_the_cap_are_refused_and_freed(database_url: str, tmp_path: Path) -> None:
    running = start_archive(
        tmp_path / "data",
        FILEROOM_DATABASE_URL=database_url,
        FILEROOM_WORKERS="1",
        FILEROOM_MAX_CONNECTIONS="20",
    )
    try:
        until(lambda: not connections(running.port), "those that asked whether it is ready are gone")
        held = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(20)]
        mine = [connection.getsockname()[1] for connection in held]
        until(lambda: all(has_read_all(running.port, port) for port in mine), "all are accepted")
        for _ in range(5):
            extra = socket.create_connection(("127.0.0.1", running.port))
            extra.settimeout(5)
            answer = extra.recv(4096)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 5" in answer
            extra.close()
        for connection in held:
            connection.close()
        until(lambda: running.status("/readyz") == 200, "their places are free")
    finally:
        running.stop()


def connections(port: int) -> set[int]:
    """Ports of the clients that a server on `port` has not cut."""
    return {
        found.raddr.port
        for found in psutil.net_connections("tcp4")
        if found.laddr and found.laddr.port == port and found.raddr and found.status in ("ESTABLISHED", "CLOSE_WAIT")
    }


class SlowClients:
    """Stalled headers, dribbled bodies and readers that do not read."""

    def __init__(self, port: int, headers: int, bodies: int) -> None:
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(headers + bodies)]
        for number, connection in enumerate(self.sockets[:headers]):
            if number % 3:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        self._bodies = self.sockets[headers:]
        for connection in self._bodies:
            connection.sendall(b"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n")
            connection.sendall(b"Content-Length: 1000000\r\n\r\n" + bytes(200))

    def dribble(self) -> None:
        for connection in self._bodies:
            try:
                connection.send(b"\0")
            except OSError:
                continue

    def left(self, port: int) -> int:
        """How many the server has not cut."""
        return len(connections(port) & {connection.getsockname()[1] for connection in self.sockets})

    def close(self) -> None:
        for connection in self.sockets:
            connection.close()


def answered(port: int) -> socket.socket:
    """A kept connection whose request has been answered."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    return connection


def send_nothing(connection: socket.socket) -> None:
    """An empty line, which begins no request."""
    try:
        connection.send(b"\r\n")
    except OSError:
        pass  # it was cut


def test_G16_slow_clients_are_cut_and_others_do_not_notice(database_url: str, tmp_path: Path) -> None:
    running = start_archive(
        tmp_path / "data",
        FILEROOM_DATABASE_URL=database_url,
        FILEROOM_HEADER_SECONDS="2",
        FILEROOM_BODY_SECONDS="2",
        FILEROOM_IDLE_SECONDS="1",
    )
    slow = SlowClients(running.port, headers=300, bodies=50)
    done = [answered(running.port) for _ in range(2)]
    try:
        assert slow.left(running.port) == 350
        waits = []
        deadline = time.monotonic() + PATIENCE
        while slow.left(running.port) and time.monotonic() < deadline:
            slow.dribble()
            send_nothing(done[1])
            started = time.monotonic()
            assert running.status("/healthz") == 200
            waits.append(time.monotonic() - started)
            time.sleep(0.1)
        assert slow.left(running.port) == 0
        assert sorted(waits)[len(waits) // 2] < 0.25
        assert running.status("/readyz") == 200
        idle = {connection.getsockname()[1] for connection in done}
        until(lambda: not idle & connections(running.port), "the idle are cut")
    finally:
        for connection in done:
            connection.close()
        slow.close()
        running.stop()


def test_G16_endless_header_is_cut(archive: RunningArchive) -> None:
    with socket.create_connection(("127.0.0.1", archive.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        until(lambda: has_read_all(archive.port, connection.getsockname()[1]), "the first line is read")
        answer = b""
        try:
            for _ in range(200):
                connection.sendall(b"X-Filler: " + b"a" * 1000 + b"\r\n")
            answer = connection.recv(4096)
        except ConnectionError:
            return
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


def test_pipelined_and_concurrent_requests_are_answered(archive: RunningArchive) -> None:
    statuses: list[int] = []

    def ask() -> None:
        client = http.client.HTTPConnection("127.0.0.1", archive.port)
        statuses.extend(get(client, "/healthz").status for _ in range(20))
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 160
    with socket.create_connection(("127.0.0.1", archive.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 3:
            received += connection.recv(65536)


def test_G16_readers_that_do_not_read_are_cut(database_url: str, tmp_path: Path) -> None:
    ds = data_set()
    ds.PixelData = bytes(24 << 20)
    running = start_archive(tmp_path / "data", FILEROOM_DATABASE_URL=database_url, FILEROOM_BODY_SECONDS="1")
    readers = SlowClients(running.port, headers=0, bodies=0)
    try:
        dicom = {"Content-Type": "application/dicom"}
        assert httpx.post(f"{running.root}/studies", content=encode(ds), headers=dicom, timeout=60).status_code == 200
        for _ in range(10):
            reader = socket.create_connection(("127.0.0.1", running.port))
            head = f"GET /dicom-web{path_of(ds)} HTTP/1.1\r\nHost: x\r\nAccept: application/dicom\r\n\r\n"
            reader.sendall(head.encode())
            readers.sockets.append(reader)
        until(lambda: readers.left(running.port) == 10, "all are connected")
        deadline = time.monotonic() + PATIENCE
        while readers.left(running.port) and time.monotonic() < deadline:
            assert running.status("/healthz") == 200
            time.sleep(0.1)
        assert readers.left(running.port) == 0
        assert (
            len(httpx.get(f"{running.root}{path_of(ds)}", headers={"Accept": "application/dicom"}).content) > 24 << 20
        )
    finally:
        readers.close()
        running.stop()


def test_G26_an_exposed_archive_lets_only_tokens_in(database_url: str, tmp_path: Path) -> None:
    running = start_archive(
        tmp_path / "data", FILEROOM_DATABASE_URL=database_url, FILEROOM_AUTH="token", FILEROOM_HTTP_HOST="0.0.0.0"
    )

    def token(*words: str) -> str:
        command = [sys.executable, "-m", "app.cli", "token", *words]
        done = subprocess.run(
            command, cwd=ROOT, env={"FILEROOM_DATABASE_URL": database_url}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        assert running.status("/dicom-web/studies") == 401
        headers = {"Authorization": "Bearer " + token("create", "reader", "--scope", "read")}
        with httpx.Client(base_url=running.root, headers=headers) as client:
            assert client.get("/studies").status_code < 300
            assert client.delete("/studies/1.2.3").status_code == 403
            token("revoke", "reader")
            until(lambda: client.get("/studies").status_code == 401, "it is revoked")
    finally:
        assert running.stop() == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, message = refusal(tmp_path / "file" / "data")
    assert status == 1
    assert message.startswith("fileroom: Not a directory: ")
