"""A bridge in this process before the running archive: its associations, its services, and a peer for each preset."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from app.dicom.peer import PRESETS, STANDARD, Peer
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.acceptor import serve_associations
from dimse_bridge.association.association import Association
from dimse_bridge.association.negotiation import LocalAE, policy
from dimse_bridge.services import find
from tests.requirements.instances import store
from tests.support.archive import RunningArchive, start_archive
from tests.testdata.fixtures import CorpusFile

CALLED = "FILEROOM"
SMALL = 60_000
HTTP_SERVER_ERROR = 500
PEERS = {name.upper(): Peer(name.upper(), behaviour=preset) for name, preset in PRESETS.items()}
PEERS["GREEK"] = Peer("GREEK", character_set="ISO_IR 126")
PEERS["DEAF"] = Peer("DEAF", behaviour=replace(STANDARD, find_cancel=False))
PEERS["LATE"] = Peer("LATE")


class Bridge:
    """One listener in a thread of its own; `ours` is false before servers that are no Fileroom."""

    def __init__(self, root: str, *, ours: bool = True) -> None:
        self._root = root
        self._ours = ours
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        archive = Archive(self._root, ours=self._ours)

        async def answer(association: Association) -> None:
            if association.calling == "LATE":
                association.peer = replace(association.peer, may=("echo",))
            while True:
                await find.serve(association, await association.receive(), archive)

        async def peer_of(title: str) -> Peer | None:
            return PEERS.get(title)

        listener = await serve_associations("127.0.0.1", 0, policy({CALLED: LocalAE(CALLED)}, peer_of), answer)
        async with listener:
            self.port = listener.port
            self._ready.set()
            await self._stopping.wait()
        archive.close()

    def stop(self) -> None:
        """Ends it."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)


@pytest.fixture(scope="session")
def own_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """An archive of these tests alone: what they ask must not depend on what others store."""
    running = start_archive(tmp_path_factory.mktemp("find") / "data", FILEROOM_WORKERS="1", FILEROOM_DIMSE_PORT="0")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def client(own_archive: RunningArchive) -> Iterator[httpx.Client]:
    """Requests below the archive's DICOMweb root."""
    with httpx.Client(base_url=own_archive.root, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def bridge(own_archive: RunningArchive) -> Iterator[Bridge]:
    """The bridge before that archive."""
    running = Bridge(own_archive.root)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def stocked(client: httpx.Client, corpus: list[CorpusFile]) -> None:
    """The small files of the corpus are stored."""
    files = [file.path.read_bytes() for file in corpus if file.path.stat().st_size < SMALL]
    for start in range(0, len(files), 50):
        assert store(client, files[start : start + 50]).status_code < HTTP_SERVER_ERROR
