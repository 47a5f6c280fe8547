"""`fileroom serve` with its bridge, and `fileroom bridge` before an archive that runs elsewhere, as real processes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.archive import RunningArchive, free_port, start_archive
from tests.support.bridge import dcmtk, echo, run_dcmtk, start_both, start_bridge
from tests.support.database import DatabaseServer
from tests.support.small_files import data_set, encode


def eventually(check: Callable[[], bool], seconds: float = 20) -> None:
    """Returns when `check` holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseServer
) -> Iterator[tuple[RunningArchive, int]]:
    """An archive with tokens and its own bridge."""
    settings = {
        "FILEROOM_AUTH": "token",
        "FILEROOM_LOG_LEVEL": "debug",
        "FILEROOM_DATABASE_URL": database_server.create(),
    }
    archive, port = start_both(tmp_path_factory.mktemp("both") / "data", **settings)
    yield archive, port
    assert archive.stop() == 0
    database_server.drop(settings["FILEROOM_DATABASE_URL"])


def token(archive: RunningArchive, *scopes: str) -> str:
    """A new token, made by the command."""
    name = f"t{time.monotonic_ns()}"
    arguments = [word for scope in scopes for word in ("--scope", scope)]
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "token", "create", name, *arguments],
        env={**archive.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def ask(archive: RunningArchive, method: str, path: str, key: str, **options: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.request(method, archive.url + path, headers=headers, **options)  # type: ignore[arg-type]


def test_G26_with_tokens_only_registered_peers_may_call(both: tuple[RunningArchive, int], tmp_path: Path) -> None:
    archive, port = both
    status, said = echo(port, calling="CT1")
    assert status != 0
    assert "Calling AE Title Not Recognized" in said
    admin = token(archive, "admin", "read")
    assert ask(archive, "PUT", "/peers/CT1", admin, json={"may": ["echo", "store"]}).status_code == 201
    eventually(lambda: echo(port, calling="CT1")[0] == 0, 5)
    ds = data_set()
    file = tmp_path / "one.dcm"
    file.write_bytes(encode(ds))
    status, said = run_dcmtk("storescu", "-aet", "CT1", "-aec", "FILEROOM", "127.0.0.1", port, file)
    assert status == 0, said
    found = ask(archive, "GET", f"/dicom-web/studies?StudyInstanceUID={ds.StudyInstanceUID}", admin)
    assert len(found.json()) == 1
    assert ask(archive, "DELETE", "/peers/CT1", admin).status_code == 204
    eventually(lambda: echo(port, calling="CT1")[0] != 0, 5)


def test_the_association_stands_in_both_logs_and_no_patient_in_either(
    both: tuple[RunningArchive, int], tmp_path: Path
) -> None:
    archive, port = both
    admin = token(archive, "admin")
    ask(archive, "PUT", "/peers/LOGGED", admin, json={})
    eventually(lambda: echo(port, calling="LOGGED")[0] == 0, 5)
    file = tmp_path / "one.dcm"
    file.write_bytes(encode(data_set(PatientName="Canary^Yellow", PatientID="CANARY-7")))
    assert run_dcmtk("storescu", "-aet", "LOGGED", "-aec", "FILEROOM", "127.0.0.1", port, file)[0] == 0

    def lines() -> list[str]:
        return [line for line in archive.log.splitlines() if "peer=LOGGED" in line and "route=" in line]

    eventually(lambda: bool(lines()), 10)
    association = re.search(r"association=(\w+)", lines()[-1])
    assert association is not None
    of_bridge = [line for line in archive.log.splitlines() if f"association={association[1]}" in line]
    assert any("fileroom.bridge" in line and "service=store:1" in line for line in of_bridge)
    assert "CANARY" not in archive.log.upper()


def test_associations_are_counted_with_the_archive(both: tuple[RunningArchive, int]) -> None:
    archive, port = both
    admin = token(archive, "admin", "read")
    ask(archive, "PUT", '/peers/C"1', admin, json={})
    eventually(lambda: echo(port, calling='C"1')[0] == 0, 5)

    def text() -> str:
        return ask(archive, "GET", "/metrics", admin).text

    eventually(lambda: 'fileroom_dimse_messages_total{service="echo",peer="C\\"1"} 1' in text())
    assert 'fileroom_dimse_associations_total{peer="C\\"1",outcome="accepted"} 1' in text()
    echo(port, calling="STRANGER")
    eventually(lambda: 'outcome="rejected"' in text())
    assert "STRANGER" not in text()
    eventually(lambda: "fileroom_dimse_associations 0" in text())


def test_a_bridge_that_dies_is_started_again(both: tuple[RunningArchive, int]) -> None:
    archive, port = both
    ask(archive, "PUT", "/peers/AGAIN", token(archive, "admin"), json={})
    eventually(lambda: echo(port, calling="AGAIN")[0] == 0, 5)
    (bridge,) = [child for child in psutil.Process(archive.pid).children() if child.name() == "fileroom-dimse"]
    workers = bridge.children()
    assert len(workers) == 2
    bridge.kill()
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    eventually(lambda: echo(port, calling="AGAIN")[0] == 0)


def test_a_port_that_is_taken_is_told(tmp_path: Path, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        archive = start_archive(
            tmp_path / "data", ready=False, FILEROOM_DIMSE_PORT=str(port), FILEROOM_DATABASE_URL=database_url
        )
        assert archive.process.wait(60) == 2
    archive.stop()
    assert f"Cannot listen for DIMSE on 127.0.0.1 port {port}: Address already in use." in archive.log
    assert "FILEROOM_DIMSE_PORT" in archive.log


def test_G28_plain_dimse_for_others_must_be_asked_for(tmp_path: Path) -> None:
    archive = start_archive(tmp_path / "data", ready=False, FILEROOM_DIMSE_PORT="11112", FILEROOM_DIMSE_HOST="0.0.0.0")
    assert archive.process.wait(60) == 2
    archive.stop()
    assert "FILEROOM_DIMSE_PLAIN=anywhere" in archive.log


def test_wrong_settings_of_the_bridge_are_named(tmp_path: Path) -> None:
    archive = start_archive(tmp_path / "data", ready=False, FILEROOM_DIMSE_PORT="1000000", FILEROOM_DIMSE_PRT="1")
    assert archive.process.wait(60) == 2
    assert "FILEROOM_DIMSE_PORT: Input should be less than or equal to 65535" in archive.log
    assert "FILEROOM_DIMSE_PRT is no setting and is ignored" in archive.log


def test_G18_a_store_under_way_is_finished_at_sigterm(tmp_path: Path, database_url: str) -> None:
    """The bridge ends before the archive that it needs."""
    archive, port = start_both(tmp_path / "data", FILEROOM_LOG_LEVEL="debug", FILEROOM_DATABASE_URL=database_url)
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.dcm").write_bytes(encode(data_set(InstanceNumber=number)))
    with subprocess.Popen(
        [dcmtk("storescu"), "-aec", "FILEROOM", "+sd", "127.0.0.1", str(port), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as sender:
        eventually(lambda: "service=" in archive.log or "route=/dicom-web/studies" in archive.log)
        archive.process.send_signal(signal.SIGTERM)
        sender.communicate(timeout=60)
    assert archive.process.wait(60) == 0
    archive.stop()
    assert "before all requests were finished" not in archive.log
    assert "status=503" not in archive.log


def told(port: int, path: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, f"http://127.0.0.1:{port}{path}", timeout=10)


def test_a_bridge_elsewhere_has_a_token_of_its_own(both: tuple[RunningArchive, int], tmp_path: Path) -> None:
    archive, _ = both
    ask(archive, "PUT", "/peers/FAR", token(archive, "admin"), json={})
    status, key = free_port(), token(archive, "bridge")
    where = f"127.0.0.1:{status}"
    bridge = start_bridge(tmp_path, archive.root, FILEROOM_ARCHIVE_TOKEN=key, FILEROOM_DIMSE_STATUS=where)
    try:
        eventually(lambda: echo(bridge.port, calling="FAR")[0] == 0, 5)
        assert "Calling AE Title Not Recognized" in echo(bridge.port, calling="NOBODY")[1]
        assert (told(status, "/healthz").status_code, told(status, "/readyz").status_code) == (200, 200)
        assert 'fileroom_dimse_messages_total{service="echo",peer="FAR"} ' in told(status, "/metrics").text
        assert (told(status, "/peers").status_code, told(status, "/metrics", "POST").status_code) == (404, 405)
        assert told(status, "/metrics", "HEAD").headers["content-length"] != "0"
        with socket.create_connection(("127.0.0.1", status), 5) as garbage:
            garbage.sendall(b"\r\n\r\n")
            assert garbage.recv(100).startswith(b"HTTP/1.1 400")
        assert told(status, "/healthz").status_code == 200
    finally:
        assert bridge.stop() == 0


def test_G15_before_an_archive_that_is_away_callers_are_asked_to_try_again(tmp_path: Path) -> None:
    status = free_port()
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    bridge = start_bridge(tmp_path, url, FILEROOM_DIMSE_STATUS=f"127.0.0.1:{status}")
    try:
        ended, said = echo(bridge.port)
        assert ended != 0
        assert "Rejected Transient" in said
        assert (told(status, "/healthz").status_code, told(status, "/readyz").status_code) == (200, 503)
    finally:
        assert bridge.stop() == 0
