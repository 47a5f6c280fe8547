"""The whole corpus comes out by C-MOVE and C-GET as it was stored: every data set byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from app.dicom.part10 import HeaderReader
from app.dicom.transfer_syntaxes import IMPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dimse_bridge.association.commands import C_STORE_RQ, get_rq, move_rq, response
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.requestor import connect
from dimse_bridge.user.identifiers import encode_identifier, parse_key
from dimse_bridge.user.move import read_response
from dimse_bridge.user.remote import Retrieved
from tests.dimse.retrieve.conftest import Bridge, open_bridge
from tests.dimse.retrieve.scripted import destination
from tests.dimse.retrieve.test_statuses import ask
from tests.support.archive import RunningArchive, start_archive
from tests.testdata.fixtures import CorpusFile

Stored = dict[str, dict[str, tuple[str, str, bytes]]]
"""Study → SOP Instance UID → class, transfer syntax and data set."""


@pytest.fixture(scope="module")
def stored(
    corpus: list[CorpusFile], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningArchive, Stored]]:
    """An archive with the corpus, and what must come out of it. UIDs that stand in several files are left out."""
    running = start_archive(tmp_path_factory.mktemp("corpus") / "data")
    found: Stored = {}
    with httpx.Client(base_url=running.root, timeout=60) as client:
        for file in corpus:
            if file.facts["shares_sop_uid"]:
                continue
            data = file.path.read_bytes()
            answer = client.post("/studies", content=data, headers={"content-type": "application/dicom"})
            if answer.status_code not in (200, 202):
                continue
            reader = HeaderReader()
            reader.feed(data)
            header = reader.finish()
            one = (header.sop_class, header.transfer_syntax, data[header.dataset_offset :])
            found.setdefault(header.study, {})[header.sop_instance] = one
    yield running, found
    assert running.stop() == 0
    assert "Traceback" not in running.log


@pytest.fixture
async def corpus_bridge(stored: tuple[RunningArchive, Stored]) -> AsyncIterator[Bridge]:
    async with open_bridge(stored[0].root) as bridge:
        yield bridge


def differences(expected: dict[str, tuple[str, str, bytes]], received: dict[str, tuple[str, bytes]]) -> list[str]:
    wrong = [f"{sop} is missing" for sop in expected if sop not in received]
    return wrong + [f"{sop} differs" for sop, one in received.items() if sop in expected and one != expected[sop][1:]]


async def test_by_c_move(corpus_bridge: Bridge, stored: tuple[RunningArchive, Stored]) -> None:
    wrong = []
    command = move_rq(1, STUDY_ROOT_MOVE, "DEST")
    for study, expected in stored[1].items():
        async with destination() as there:
            corpus_bridge.peers["DEST"] = there.peer
            last = (await ask(corpus_bridge, command, [parse_key(f"StudyInstanceUID={study}")]))[-1]
            wrong += [f"{one}: {last}" for one in differences(expected, there.received)]
    assert wrong == []
    assert len(stored[1]) > 50


async def get(bridge: Bridge, study: str, contexts: list[Proposed]) -> tuple[dict[str, tuple[str, bytes]], Retrieved]:
    received: dict[str, tuple[str, bytes]] = {}
    async with connect("127.0.0.1", bridge.port, calling="A", called="FILEROOM", contexts=contexts) as association:
        key = [parse_key(f"StudyInstanceUID={study}")]
        await association.send(
            association.contexts[1], get_rq(1, STUDY_ROOT_GET), encode_identifier(key, "STUDY", IMPLICIT_LE)
        )
        while True:
            message = await association.receive()
            if message.command.field != C_STORE_RQ:
                last = await read_response(message)
                if last.is_final:
                    return received, last
                continue
            data = await message.data_set(1 << 31)
            received[message.command.affected_sop_instance or ""] = (message.context.transfer_syntax, data)
            await association.send(message.context, response(message.command, 0))


async def test_by_c_get(corpus_bridge: Bridge, stored: tuple[RunningArchive, Stored]) -> None:
    wrong = []
    for study, expected in stored[1].items():
        kinds = sorted({(one[0], one[1]) for one in expected.values()})
        contexts = [Proposed(one, (uid,), scu_role=False, scp_role=True) for one, uid in kinds]
        received, last = await get(corpus_bridge, study, [Proposed(STUDY_ROOT_GET, (IMPLICIT_LE,)), *contexts])
        wrong += [f"{one}: {last}" for one in differences(expected, received)]
    assert wrong == []
