"""The bridge as real processes: `fileroom bridge` before an archive, or `fileroom serve` with its own; and DCMTK."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.archive import ROOT, RunningArchive, free_port, start_archive

CALLED = "FILEROOM"


@cache
def dcmtk(name: str) -> str:
    """DCMTK's command of this name: pynetdicom's of the same name may stand before it in PATH."""
    for folder in ("/usr/bin", "/usr/local/bin"):
        path = shutil.which(name, path=folder)
        if path and b"dcmtk" in subprocess.run([path, "--version"], capture_output=True, check=False).stdout:
            return path
    pytest.fail(f"DCMTK's {name} is not installed")


def run_dcmtk(name: str, *arguments: str | int | Path, timeout: float = 60) -> tuple[int, str]:
    """Runs a command of DCMTK; its exit status and what it said."""
    command = [dcmtk(name), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False)
    return done.returncode, done.stdout.decode("latin-1")


def echo(port: int, *, calling: str = "ECHOSCU", called: str = CALLED) -> tuple[int, str]:
    """C-ECHO by DCMTK: 0 for success, and what it said."""
    return run_dcmtk("echoscu", "-aet", calling, "-aec", called, "127.0.0.1", port)


class RunningBridge:
    """One `fileroom bridge`. Settings are environment variables."""

    def __init__(self, log_file: Path, port: int, environment: dict[str, str]) -> None:
        self.port = port
        self.log_file = log_file
        self._environment = environment
        self.start()

    def start(self) -> None:
        """Starts it, again when it was killed; does not wait."""
        command = [sys.executable, "-m", "app.cli", "bridge"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        """Everything printed so far."""
        return self.log_file.read_text(errors="replace")

    def wait_listening(self, seconds: float = 30) -> None:
        """Returns when it takes connections."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the bridge does not listen:\n{self.log}") from None
                time.sleep(0.02)

    def kill(self) -> None:
        """Ends its parent process at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Ends it in the orderly way; the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise AssertionError(f"the bridge did not stop:\n{self.log}") from None
        return self.process.returncode


def start_bridge(folder: Path, archive_url: str, *, port: int = 0, **environment: str) -> RunningBridge:
    """Starts a bridge before the DICOMweb server at `archive_url`; keywords are environment variables, such as
    FILEROOM_AET="FIRST". Its log is in `folder`."""
    port = port or free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FILEROOM_")}
    own = {
        "FILEROOM_DATA": str(folder),
        "FILEROOM_ARCHIVE_URL": archive_url,
        "FILEROOM_DIMSE_PORT": str(port),
        "FILEROOM_DIMSE_WORKERS": "2",
        "PYTHONUNBUFFERED": "1",
    }
    bridge = RunningBridge(folder / "bridge.log", port, inherited | own | environment)
    try:
        bridge.wait_listening()
    except AssertionError:
        bridge.stop()
        raise
    return bridge


def start_both(data: Path, **environment: str) -> tuple[RunningArchive, int]:
    """`fileroom serve` with its bridge, and the port on which that listens."""
    port = free_port()
    settings: Any = {"FILEROOM_DIMSE_PORT": str(port), "FILEROOM_DIMSE_WORKERS": "2"} | environment
    return start_archive(data, **settings), port


@pytest.fixture(scope="session")
def bridge_process(archive: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """A `fileroom bridge` before the archive of the whole run: every caller is admitted."""
    running = start_bridge(tmp_path_factory.mktemp("bridge"), archive.root)
    yield running
    assert running.stop() == 0
