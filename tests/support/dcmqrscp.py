"""DCMTK's dcmqrscp as a process: an archive that knows DIMSE only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.archive import free_port
from tests.support.bridge import dcmtk

_CONFIGURATION = """\
NetworkTCPPort  = {port}
MaxPDUSize      = 131072
MaxAssociations = 16
HostTable BEGIN
{hosts}
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{aet} {folder} RW (100, 64mb) ANY
AETable END
"""


@dataclass
class QueryRetrieve:
    """One that runs."""

    port: int
    folder: Path
    aet: str = "DCMQRSCP"
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Starts it, again when it was killed, and waits until it listens."""
        command = [dcmtk("dcmqrscp"), "-c", str(self.folder / "dcmqrscp.cfg")]
        with (self.folder / "dcmqrscp.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"TCP_NODELAY": "1"}, start_new_session=True
            )
        _wait(self.port, self.process, self.folder / "dcmqrscp.log")

    def kill(self) -> None:
        """Ends it and its children, one for each association, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def start_dcmqrscp(folder: Path, destinations: Mapping[str, int]) -> Iterator[QueryRetrieve]:
    """Starts one with its data in `folder`; `destinations` are ports of 127.0.0.1 by AE title, for C-MOVE."""
    port = free_port()
    data = folder / "db"
    data.mkdir(parents=True)
    hosts = "\n".join(f"host{at} = ({aet}, 127.0.0.1, {to})" for at, (aet, to) in enumerate(destinations.items()))
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(_CONFIGURATION.format(port=port, hosts=hosts, aet="DCMQRSCP", folder=data))
    running = QueryRetrieve(port, folder)
    running.start()
    try:
        yield running
    finally:
        running.kill()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return
