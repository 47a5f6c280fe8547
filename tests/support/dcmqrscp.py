"""DCMTK's dcmqrscp as a process: an archive that knows DIMSE only."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
    process: subprocess.Popen[bytes]
    aet: str = "DCMQRSCP"


@contextmanager
def start_dcmqrscp(folder: Path, destinations: Mapping[str, int]) -> Iterator[QueryRetrieve]:
    """Starts one with its data in `folder`; `destinations` are ports of 127.0.0.1 by AE title, for C-MOVE."""
    port = free_port()
    data = folder / "db"
    data.mkdir(parents=True)
    hosts = "\n".join(f"host{at} = ({aet}, 127.0.0.1, {to})" for at, (aet, to) in enumerate(destinations.items()))
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(_CONFIGURATION.format(port=port, hosts=hosts, aet="DCMQRSCP", folder=data))
    with (folder / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen(
            [dcmtk("dcmqrscp"), "-c", str(configuration)], stdout=log, stderr=log, env=os.environ | {"TCP_NODELAY": "1"}
        )
    try:
        _wait(port, process, folder / "dcmqrscp.log")
        yield QueryRetrieve(port, process)
    finally:
        process.kill()
        process.wait(10)


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
