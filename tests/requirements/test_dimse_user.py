"""As user: what each product sends of its own accord is sent, in every SOP class and transfer syntax of the lists, by
the behaviour of its preset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from app.dicom.peer import PRESETS
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_FIND, STUDY_ROOT_MOVE, VERIFICATION
from dimse_bridge.user import echo, find, move, store
from dimse_bridge.user.identifiers import parse_key
from dimse_bridge.user.remote import Remote
from tests.dimse.retrieve.scripted import destination
from tests.dimse.store.conftest import sent_of
from tests.requirements.dimse_rows import Row, operations, pairs
from tests.requirements.instances import encode, make

STUDY = "7410"
UID = "1.2.3.4"
UNKNOWN_DESTINATION = 0xA801


@pytest.mark.parametrize("seed", ["dxserver", "onepacs"])
async def test_every_storage_class_is_sent_in_every_syntax(tmp_path: Path, seed: str) -> None:
    sent, paths = {}, []
    for at, pair in enumerate(pairs(seed, "SCU")):
        file = encode(make(f"{STUDY}.{len(seed)}", at, *pair))
        path = tmp_path / f"{at}.dcm"
        path.write_bytes(file)
        paths.append(path)
        one = sent_of(file)
        sent[one.sop_instance] = (pair.syntax, one.data_set)
    async with destination() as there:
        remote = Remote("THERE", "127.0.0.1", there.port, behaviour=PRESETS[seed])
        found = [one async for one in store.store(remote, paths)]
        assert [one for one in found if not one.is_stored] == []
        assert there.received == sent
        assert {one.affected_sop_class for one in there.commands} == {pair.sop_class for pair in pairs(seed, "SCU")}


class Provider:
    """pynetdicom as SCP in one transfer syntax only; what came by it."""

    def __init__(self, syntax: str) -> None:
        self.came: list[tuple[str, str]] = []
        ae = AE("PROVIDER")
        for model in (VERIFICATION, STUDY_ROOT_FIND, STUDY_ROOT_MOVE):
            ae.add_supported_context(model, [syntax])
        handlers: list[Any] = [(evt.EVT_C_ECHO, self._echo), (evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move)]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.port: int = server.server_address[1]
        self.stop = server.shutdown

    def _note(self, event: evt.Event) -> None:
        self.came.append((str(event.context.abstract_syntax), str(event.context.transfer_syntax)))

    def _echo(self, event: evt.Event) -> int:
        self._note(event)
        return 0

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        self._note(event)
        assert event.identifier.StudyInstanceUID == UID
        yield 0xFF00, event.identifier

    def _move(self, event: evt.Event) -> Iterator[tuple[None, None]]:
        self._note(event)
        assert event.identifier.StudyInstanceUID == UID
        yield None, None


@asynccontextmanager
async def provider(syntax: str) -> AsyncIterator[Provider]:
    there = Provider(syntax)
    yield there
    await asyncio.to_thread(there.stop)


async def echoed(remote: Remote) -> str:
    await echo.echo(remote)
    return VERIFICATION


async def found(remote: Remote) -> str:
    matches = [one async for one in find.find(remote, "STUDY", [parse_key(f"StudyInstanceUID={UID}")])]
    assert [one.text(0x0020000D) for one in matches] == [UID]
    return STUDY_ROOT_FIND


async def moved(remote: Remote) -> str:
    keys = [parse_key(f"StudyInstanceUID={UID}")]
    assert [one.status async for one in move.move(remote, "STUDY", keys, "NOWHERE")] == [UNKNOWN_DESTINATION]
    return STUDY_ROOT_MOVE


SENT: dict[str, Callable[[Remote], Coroutine[None, None, str]]] = {"C-ECHO": echoed, "C-FIND": found, "C-MOVE": moved}


@pytest.mark.parametrize("row", operations("SCU"), ids="-".join)
async def test_every_operation_is_asked_for_in_its_syntax(row: Row) -> None:
    async with provider(row.syntax) as there:
        remote = Remote("PROVIDER", "127.0.0.1", there.port, behaviour=PRESETS[row.seed])
        model = await SENT[row.service.split(" ")[0]](remote)
        assert there.came == [(model, row.syntax)]
