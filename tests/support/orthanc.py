"""Orthanc with its DICOMweb plugin as a process: another archive, for both directions of the bridge."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.archive import free_port

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass
class Orthanc:
    """One that runs. `aet` is its AE title."""

    http: int
    dimse: int
    aet: str = "ORTHANC"
    command: Sequence[str] = ()
    log_file: Path = Path()

    def start(self) -> None:
        """Starts it, again when it was killed, and waits until it answers."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.request("GET", "/system")
            except OSError:
                assert self._process.poll() is None, self.log_file.read_text()
                assert time.monotonic() < deadline, self.log_file.read_text()
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        """Ends it in the orderly way."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def root(self) -> str:
        """Its DICOMweb root."""
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def request(self, method: str, path: str, body: object = None) -> object:
        """Asks its own interface; what it answers, parsed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=30)
        try:
            data = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
            connection.request(method, path, data)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, f"{method} {path}: {answer.status} {text!r}"
            return json.loads(text) if text else None
        finally:
            connection.close()

    def know(self, modality: str, ae_title: str, port: int) -> None:
        """Registers a modality of 127.0.0.1."""
        self.request("PUT", f"/modalities/{modality}", [ae_title, "127.0.0.1", port])


@contextmanager
def start_orthanc(folder: Path, more: Mapping[str, object] | None = None) -> Iterator[Orthanc]:
    """Starts one with its data in `folder`; `more` is further configuration."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not _PLUGIN.exists():
        pytest.fail("Orthanc with its DICOMweb plugin is not installed: run `make tools`")
    running = Orthanc(free_port(), free_port())
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [str(_PLUGIN)],
        "HttpPort": running.http,
        "DicomPort": running.dimse,
        "DicomAet": running.aet,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "UnknownSopClassAccepted": True,
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
        "DefaultEncoding": "Utf8",
        "DicomModalitiesInDatabase": True,
        "SaveJobs": False,
        **(more or {}),
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration))
    running.command, running.log_file = (program, str(file)), folder / "orthanc.log"
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One for the whole run: use new UIDs."""
    with start_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running
