"""A bridge in this process before an archive, and a requestor that sends it data sets byte by byte as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from app.dicom.part10 import HeaderReader
from app.dicom.peer import Peer
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.archive_client.connection import DEFAULT_TIMES, Times
from dimse_bridge.association.acceptor import serve_associations
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import Command, store_rq
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.negotiation import LocalAE, policy
from dimse_bridge.association.requestor import connect
from dimse_bridge.services import SERVICES
from tests.support.archive import RunningArchive, start_archive

CALLED = "FILEROOM"


@dataclass(frozen=True)
class Sent:
    """An instance as C-STORE has it: a data set, and what the command says of it."""

    sop_class: str
    sop_instance: str
    syntax: str
    data_set: bytes
    path: str = ""

    @property
    def context(self) -> tuple[str, str]:
        """What must be negotiated for it."""
        return self.sop_class, self.syntax


def sent_of(file: bytes) -> Sent:
    """The data set of a PS3.10 file, and where the archive will have it."""
    reader = HeaderReader()
    reader.feed(file)
    header = reader.finish()
    path = f"/studies/{header.study}/series/{header.series}/instances/{header.sop_instance}"
    data_set = file[header.dataset_offset :]
    return Sent(header.sop_class, header.sop_instance, header.transfer_syntax, data_set, path)


@dataclass
class Bridge:
    """One listener before `archive`."""

    archive: Archive
    port: int = 0
    peers: Mapping[str, Peer] = field(default_factory=dict)

    @asynccontextmanager
    async def associate(
        self, contexts: Iterable[tuple[str, str]], calling: str = "MODALITY"
    ) -> AsyncIterator[Association]:
        """An association with these (class, transfer syntax), each a context of its own."""
        proposed = [Proposed(sop_class, (syntax,)) for sop_class, syntax in dict.fromkeys(contexts)]
        async with connect("127.0.0.1", self.port, calling=calling, called=CALLED, contexts=proposed) as association:
            yield association

    async def stored(self, path: str, syntax: str = "*") -> bytes:
        """The data set that the archive has."""
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'
        async for part in self.archive.retrieve(path, accept):
            return sent_of(await part.read(1 << 30)).data_set
        raise AssertionError("no part")


async def send(
    association: Association, one: Sent, data_set: bytes | AsyncIterable[bytes] | None = None, message_id: int = 1
) -> Command:
    """One C-STORE; the response. `data_set` goes instead of that of `one`."""
    (context,) = (c for c in association.contexts.values() if (c.abstract_syntax, c.transfer_syntax) == one.context)
    command = store_rq(message_id, one.sop_class, one.sop_instance)
    await association.send(context, command, one.data_set if data_set is None else data_set)
    response = (await association.receive()).command
    assert response.message_id_responded == message_id
    assert (response.affected_sop_class, response.affected_sop_instance) == (one.sop_class, one.sop_instance)
    return response


@asynccontextmanager
async def open_bridge(
    root: str, *, ours: bool = True, times: Times = DEFAULT_TIMES, peers: Mapping[str, Peer] | None = None
) -> AsyncIterator[Bridge]:
    """A bridge before the server at `root`."""
    bridge = Bridge(Archive(root, ours=ours, times=times), peers=peers or {})

    async def find_peer(title: str) -> Peer | None:
        return bridge.peers.get(title, Peer(title))

    async def answer(association: Association) -> None:
        archive = bridge.archive.on_behalf(
            calling=association.calling, called=association.called, association=association.identity
        )
        while True:
            message = await association.receive()
            await SERVICES[message.command.field](association, message, archive)

    listener = await serve_associations("127.0.0.1", 0, policy({CALLED: LocalAE(CALLED)}, find_peer), answer)
    async with listener:
        bridge.port = listener.port
        yield bridge
    bridge.archive.close()
    await asyncio.sleep(0)


@pytest.fixture
async def bridge(archive: RunningArchive) -> AsyncIterator[Bridge]:
    """A bridge before the archive of this run."""
    async with open_bridge(archive.root) as running:
        yield running


@pytest.fixture(scope="package")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """An archive for the corpus alone: by whomever it is sent, what came last counts."""
    running = start_archive(tmp_path_factory.mktemp("corpus") / "data")
    yield running
    running.stop()
    assert "Traceback" not in running.log
