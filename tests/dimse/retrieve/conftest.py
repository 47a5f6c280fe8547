"""A bridge in this process before the running archive, its peers, and other people's tools that talk to it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread

from app.dicom.peer import Peer
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.acceptor import serve_associations
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import C_ECHO_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_STORE_RQ
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.negotiation import LocalAE, policy
from dimse_bridge.association.requestor import connect
from dimse_bridge.services import echo, find, get, move
from dimse_bridge.services import store as store_service
from tests.support.archive import RunningArchive, free_port

CALLED = "FILEROOM"


@dataclass
class Bridge:
    """One listener, and the peers that it knows. Unknown calling AE titles may do everything."""

    port: int
    root: str
    peers: dict[str, Peer] = field(default_factory=dict)

    async def find(self, ae_title: str) -> Peer | None:
        """A destination."""
        peer = self.peers.get(ae_title)
        return peer if peer is not None and peer.host else None

    def connect(
        self, peer: Peer, calling: str, contexts: Sequence[Proposed], opened: move.Opened | None = None
    ) -> AbstractAsyncContextManager[Association]:
        """An association with a destination."""
        return connect(
            peer.host,
            peer.port,
            calling=calling,
            called=peer.ae_title,
            contexts=contexts,
            peer=peer,
            opened=opened,
        )

    async def caller(self, ae_title: str) -> Peer:
        """The peer of a calling AE title."""
        return self.peers.get(ae_title) or Peer(ae_title)


@asynccontextmanager
async def open_bridge(root: str, *, ours: bool = True) -> AsyncIterator[Bridge]:
    """A bridge before the server at `root`."""
    archive = Archive(root, ours=ours)
    bridge = Bridge(0, root)
    services = {
        C_ECHO_RQ: echo.serve,
        C_STORE_RQ: store_service.serve,
        C_FIND_RQ: find.serve,
        C_GET_RQ: get.serve,
        C_MOVE_RQ: move.service(bridge),
    }

    async def answer(association: Association) -> None:
        while True:
            message = await association.receive()
            await services[message.command.field](association, message, archive)

    listener = await serve_associations("127.0.0.1", 0, policy({CALLED: LocalAE(CALLED)}, bridge.caller), answer)
    async with listener:
        bridge.port = listener.port
        yield bridge
    archive.close()


@pytest.fixture
async def bridge(archive: RunningArchive) -> AsyncIterator[Bridge]:
    """The bridge before the archive of this run."""
    async with open_bridge(archive.root) as running:
        yield running


@pytest.fixture(scope="session")
def client(archive: RunningArchive) -> Iterator[httpx.Client]:
    """Requests below the archive's DICOMweb root."""
    with httpx.Client(base_url=archive.root, timeout=60) as client:
        yield client


def store(client: httpx.Client, *files: bytes) -> None:
    """Puts files into the archive."""
    for data in files:
        answer = client.post("/studies", content=data, headers={"content-type": "application/dicom"})
        assert answer.status_code in (200, 202), answer.text


def tool(name: str) -> str:
    """DCMTK's command of this name: others of the same name may stand before it in PATH."""
    for folder in ("/usr/bin", "/usr/local/bin"):
        path = shutil.which(name, path=folder)
        if path and b"dcmtk" in subprocess.run([path, "--version"], capture_output=True, check=False).stdout:
            return path
    pytest.fail(f"DCMTK's {name} is not installed")


async def run(name: str, *arguments: str | int | Path, timeout: float = 60) -> tuple[int, str]:
    """Runs a tool of DCMTK; its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        tool(name), *map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, said.decode("latin-1")


@asynccontextmanager
async def storescp(folder: Path, *options: str) -> AsyncIterator[int]:
    """DCMTK's storescp, which writes what comes into `folder`; its port."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 (a folder of the test)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        tool("storescp"), "-od", str(folder), *options, str(port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        await wait_for_port(port)
        yield port
    finally:
        process.kill()
        await process.communicate()


async def wait_for_port(port: int) -> None:
    """Returns when somebody listens there."""
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise AssertionError(f"nobody listens on port {port}")


def files_in(folder: Path) -> dict[str, Dataset]:
    """SOP Instance UID → data set of the files in a folder."""
    data_sets = [dcmread(path) for path in sorted(folder.iterdir())]
    return {str(one.SOPInstanceUID): one for one in data_sets}
