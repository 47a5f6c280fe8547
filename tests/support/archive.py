"""The real archive as a process: `fileroom serve` on a free port."""

from __future__ import annotations

import atexit
import functools
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.catalog.embedded import Embedded

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RunningArchive:
    """One `fileroom serve` on a data folder, with all its processes."""

    def __init__(self, data: Path, port: int, environment: dict[str, str]) -> None:
        self.data = data
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.root = f"{self.url}/dicom-web"
        self.log_file = data.with_name(data.name + ".log")
        self.environment = environment
        self.start()

    def start(self) -> None:
        """Starts it, again when it was killed; does not wait."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "serve"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        """The parent process."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything printed so far, by earlier runs on the same folder too."""
        return self.log_file.read_text(errors="replace")

    def status(self, path: str) -> int:
        """HTTP status of a GET; 0 when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def wait_ready(self, seconds: float = 60) -> None:
        """Returns when stores and searches are possible."""
        deadline = time.monotonic() + seconds
        while self.status("/readyz") != 200:
            if self.process.poll() is not None:
                raise AssertionError(f"the archive ended with {self.process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the archive is not ready after {seconds} s:\n{self.log}")
            time.sleep(0.02)

    def workers(self) -> list[psutil.Process]:
        """The processes that answer requests."""
        children = psutil.Process(self.pid).children()
        return [child for child in children if child.name().removeprefix("fileroom-").isdigit()]

    def processes(self) -> list[psutil.Process]:
        """Every process of the archive, PostgreSQL's too."""
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def postmaster(self) -> int:
        """The embedded PostgreSQL's first process."""
        return int((self.data / "postgres" / "postmaster.pid").read_text().split()[0])

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """Sends a signal to the parent process; waits for its end when that is SIGKILL."""
        self.process.send_signal(signal_number)
        if signal_number == signal.SIGKILL:
            self.process.wait(10)

    def stop(self) -> int:
        """Ends it in the orderly way, and the PostgreSQL that a killed archive left behind. The exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise AssertionError(f"the archive did not stop:\n{self.log}") from None
        if (self.data / "postgres").exists():
            leftover = Embedded()
            leftover.join(self.data)
            leftover.stop()
        return self.process.returncode


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("FILEROOM_")}


@functools.cache
def _cluster() -> Path:
    """A database cluster with an empty catalog, made once in each process of the run: to make one takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="fileroom-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, "-m", "app.cli", "migrate"]
    environment = _inherited() | {"FILEROOM_DATA": str(folder)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
    return folder / "postgres"


def start_archive(
    data: Path, *, port: int = 0, ready: bool = True, from_nothing: bool = False, **environment: str
) -> RunningArchive:
    """Starts an archive on `data`; keywords are environment variables, such as FILEROOM_AUTH="token". `from_nothing`:
    it makes its database cluster itself, as at its first start; otherwise it gets a copy of one."""
    port = port or free_port()
    data.parent.mkdir(parents=True, exist_ok=True)
    inherited = _inherited()
    if not from_nothing and not data.exists() and "FILEROOM_DATABASE_URL" not in environment:
        data.mkdir(mode=0o755)
        subprocess.run(["cp", "-a", str(_cluster()), str(data / "postgres")], check=True)
    own = {"FILEROOM_DATA": str(data), "FILEROOM_HTTP_PORT": str(port), "FILEROOM_WORKERS": "2"}
    own["FILEROOM_DIMSE_PORT"] = "0"  # a bridge is started where a test wants one
    archive = RunningArchive(data, port, inherited | {"PYTHONUNBUFFERED": "1"} | own | environment)
    if ready:
        try:
            archive.wait_ready()
        except AssertionError:
            archive.kill()
            archive.stop()
            raise
    return archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """An archive with its own embedded PostgreSQL, shared by the whole run: leave its studies alone or use new UIDs."""
    running = start_archive(tmp_path_factory.mktemp("archive") / "data")
    yield running
    assert running.stop() == 0
