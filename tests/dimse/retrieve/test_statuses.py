"""How C-GET and C-MOVE end: statuses, counters, Error Comment, and the list of what failed."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from app.dicom.peer import PRESETS, Behaviour, Peer
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import PATIENT_ROOT_GET, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dimse_bridge.association.association import Association, Message
from dimse_bridge.association.commands import cancel_rq, get_rq, move_rq, response
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.requestor import connect
from dimse_bridge.identifiers.request import Key
from dimse_bridge.user.identifiers import encode_identifier, parse_key
from dimse_bridge.user.move import read_response
from dimse_bridge.user.remote import Retrieved
from tests.dimse.retrieve.conftest import Bridge, open_bridge, store
from tests.dimse.retrieve.scripted import destination
from tests.dimse.retrieve.test_dcmtk import study_of
from tests.support.archive import free_port
from tests.support.samples import SECONDARY_CAPTURE, Sample, new_uid

SC = SECONDARY_CAPTURE.decode()
STORAGE = Proposed(SC, (EXPLICIT_LE, IMPLICIT_LE), scu_role=False, scp_role=True)


def study_key(samples: list[Sample]) -> list[Key]:
    return [parse_key(f"StudyInstanceUID={samples[0].study}")]


class Asker:
    """One association with the bridge."""

    def __init__(self, association: Association) -> None:
        self.association = association

    async def ask(self, command: bytes, keys: list[Key], level: str = "STUDY") -> None:
        (context, *_) = self.association.contexts.values()
        await self.association.send(context, command, encode_identifier(keys, level, context.transfer_syntax))

    async def next(self) -> Message:
        """The next message; C-STORE-RQs are answered well."""
        message = await self.association.receive()
        if not message.command.is_response:
            await message.drain()
            await self.association.send(message.context, response(message.command, 0))
        return message

    async def responses(self) -> list[Retrieved]:
        """All responses up to the final one."""
        found = []
        while True:
            message = await self.next()
            if message.command.is_response:
                found.append(await read_response(message))
                if found[-1].is_final:
                    return found


async def ask(
    bridge: Bridge, command: bytes, keys: list[Key], *more: Proposed, level: str = "STUDY", calling: str = "ASKER"
) -> list[Retrieved]:
    """The responses to one request."""
    abstract = command[command.index(b"1.2.840") :].split(b"\0")[0].decode()
    contexts = [Proposed(abstract, (IMPLICIT_LE,)), *more]
    async with connect("127.0.0.1", bridge.port, calling=calling, called="FILEROOM", contexts=contexts) as association:
        asker = Asker(association)
        await asker.ask(command, keys, level)
        return await asker.responses()


MOVE = move_rq(7, STUDY_ROOT_MOVE, "DEST")
GET = get_rq(7, STUDY_ROOT_GET)


@pytest.mark.parametrize(
    ("command", "level", "keys"),
    [
        (MOVE, "STUDY", []),
        (MOVE, "STUDY", ["StudyInstanceUID"]),
        (MOVE, "STUDY", ["StudyInstanceUID=1.2*"]),
        (MOVE, "SERIES", ["SeriesInstanceUID=1.2"]),
        (MOVE, "SERIES", ["StudyInstanceUID=1.2\\1.3", "SeriesInstanceUID=1.2"]),
        (MOVE, "IMAGE", ["StudyInstanceUID=1.2", "SOPInstanceUID=1.2.3"]),
        (MOVE, "PATIENT", ["PatientID=1"]),
        (MOVE, "NONSENSE", ["StudyInstanceUID=1.2"]),
        (GET, "STUDY", ["PatientName=Doe*"]),
        (get_rq(1, PATIENT_ROOT_GET), "PATIENT", ["PatientID=*"]),
        (get_rq(1, PATIENT_ROOT_GET), "PATIENT", []),
    ],
)
async def test_an_identifier_that_breaks_the_rules(bridge: Bridge, command: bytes, level: str, keys: list[str]) -> None:
    bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", 1)
    bridge.peers["ONEPACS"] = Peer("ONEPACS", behaviour=PRESETS["onepacs"])
    (last,) = await ask(bridge, command, list(map(parse_key, keys)), level=level)
    assert last.status == 0xA900
    assert last.comment
    (last,) = await ask(bridge, command, list(map(parse_key, keys)), level=level, calling="ONEPACS")
    assert last.status == 0xC001


async def test_an_archive_that_is_away() -> None:
    async with open_bridge(f"http://127.0.0.1:{free_port()}/dicom-web") as bridge:
        bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", 1)
        (last,) = await ask(bridge, MOVE, [parse_key("StudyInstanceUID=1.2")])
    assert last.status == 0xA701
    assert last.comment == "the archive cannot be reached"


async def test_nothing_matches(bridge: Bridge) -> None:
    (last,) = await ask(bridge, GET, [parse_key(f"StudyInstanceUID={new_uid()}")])
    assert last == Retrieved(0)


async def test_a_destination_that_is_dead(bridge: Bridge, client: httpx.Client) -> None:
    samples = study_of(1, 3)
    store(client, *(one.encode() for one in samples))
    bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", free_port())
    (last,) = await ask(bridge, MOVE, study_key(samples))
    assert (last.status, last.remaining, last.completed, last.failed, last.warning) == (0xA702, 0, 0, 3, 0)
    assert set(last.failed_uids) == {one.sop for one in samples}
    assert last.comment.startswith("destination: no connection")


async def test_no_role_selection(bridge: Bridge, client: httpx.Client) -> None:
    samples = study_of(1, 2)
    store(client, *(one.encode() for one in samples))
    (last,) = await ask(bridge, GET, study_key(samples), Proposed(SC, (EXPLICIT_LE,)))
    assert (last.status, last.failed, last.comment) == (0xA702, 2, "no role selection proposed")
    (last,) = await ask(bridge, GET, study_key(samples))
    assert (last.status, last.failed, last.comment) == (0xA702, 2, "no role selection proposed")


async def test_statuses_of_the_destination(bridge: Bridge, client: httpx.Client) -> None:
    samples = study_of(1, 4)
    store(client, *(one.encode() for one in samples))
    async with destination() as there:
        bridge.peers["DEST"] = there.peer
        there.statuses = [0xB000, 0xC000, 0, 0xA700, 0]
        last = (await ask(bridge, MOVE, study_key(samples)))[-1]
        assert (last.status, last.completed, last.failed, last.warning) == (0xB000, 2, 1, 1)
        assert len(there.commands) == 5
        assert last.failed_uids == (there.commands[1].affected_sop_instance,)
        assert last.comment == "the peer answered C000H"
        assert there.associations == 1


async def test_one_attempt_and_statuses_ignored(bridge: Bridge, client: httpx.Client) -> None:
    samples = study_of(1, 3)
    store(client, *(one.encode() for one in samples))
    async with destination() as there:
        bridge.peers["DEST"] = Peer("DEST", "127.0.0.1", there.port, behaviour=PRESETS["onepacs"])
        there.statuses = [0xA700, 0xC000]
        last = (await ask(bridge, MOVE, study_key(samples)))[-1]
        assert (last.status, last.completed, last.failed) == (0, 3, 0)
        assert len(there.commands) == 3


async def test_who_asked_and_how_urgently(bridge: Bridge, client: httpx.Client) -> None:
    samples = study_of(1, 1)
    store(client, *(one.encode() for one in samples))
    async with destination() as there:
        bridge.peers["DEST"] = there.peer
        await ask(bridge, move_rq(77, STUDY_ROOT_MOVE, "DEST", priority=1), study_key(samples))
        (command,) = there.commands
    assert (command.move_originator, command.move_originator_message_id, command.priority) == ("ASKER", 77, 1)


async def test_a_destination_that_leaves(bridge: Bridge, client: httpx.Client) -> None:
    samples = study_of(1, 4)
    store(client, *(one.encode() for one in samples))
    async with destination() as there:
        bridge.peers["DEST"] = there.peer
        there.hook = lambda association, count: association.abort() if count == 2 else None
        last = (await ask(bridge, MOVE, study_key(samples)))[-1]
    assert (last.status, last.completed, last.failed) == (0xB000, 1, 3)
    assert last.comment.startswith("destination: ")


async def test_cancel_of_a_get(bridge: Bridge, client: httpx.Client) -> None:
    samples = study_of(1, 20)
    store(client, *(one.encode() for one in samples))
    contexts = [Proposed(STUDY_ROOT_GET, (EXPLICIT_LE,)), STORAGE]
    async with connect("127.0.0.1", bridge.port, calling="A", called="FILEROOM", contexts=contexts) as association:
        asker = Asker(association)
        await asker.ask(GET, study_key(samples))
        message = await association.receive()
        await message.drain()
        await association.send(association.contexts[1], cancel_rq(7))
        await association.send(message.context, response(message.command, 0))
        last = (await asker.responses())[-1]
    assert last.status == 0xFE00
    assert last.completed + last.remaining == 20
    assert 1 <= last.completed <= 3


@pytest.mark.parametrize("goes_on", [True, False])
async def test_cancel_of_a_move(bridge: Bridge, client: httpx.Client, goes_on: bool) -> None:
    samples = study_of(1, 8)
    store(client, *(one.encode() for one in samples))
    bridge.peers["A"] = Peer("A", behaviour=Behaviour(suboperations_after_cancel=goes_on))
    contexts = [Proposed(STUDY_ROOT_MOVE, (EXPLICIT_LE,))]
    async with destination() as there:
        bridge.peers["DEST"] = there.peer
        async with connect("127.0.0.1", bridge.port, calling="A", called="FILEROOM", contexts=contexts) as association:
            asker = Asker(association)
            await asker.ask(MOVE, study_key(samples))
            await asker.next()
            await association.send(association.contexts[1], cancel_rq(7))
            last = (await asker.responses())[-1]
        assert last.status == 0xFE00
        assert last.completed + last.remaining == 8
        for _ in range(200 if goes_on else 20):
            if len(there.received) == 8:
                break
            await asyncio.sleep(0.02)
        assert len(there.received) == (8 if goes_on else last.completed)


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_requestor_that_leaves(bridge: Bridge, client: httpx.Client, goes_on: bool) -> None:
    samples = study_of(1, 8)
    store(client, *(one.encode() for one in samples))
    bridge.peers["A"] = Peer("A", behaviour=Behaviour(suboperations_after_cancel=goes_on))
    contexts = [Proposed(STUDY_ROOT_MOVE, (EXPLICIT_LE,))]
    async with destination() as there:
        bridge.peers["DEST"] = there.peer
        async with connect("127.0.0.1", bridge.port, calling="A", called="FILEROOM", contexts=contexts) as association:
            asker = Asker(association)
            there.hook = lambda _, count: association.abort() if count == 3 else None
            await asker.ask(MOVE, study_key(samples))
            for _ in range(200 if goes_on else 25):
                if len(there.received) == 8:
                    break
                await asyncio.sleep(0.02)
        assert (len(there.received) == 8) == goes_on


async def test_ordinary_keys_only_for_peers_that_may(bridge: Bridge, client: httpx.Client) -> None:
    samples = [*study_of(1, 2), *study_of(1, 1)]
    store(client, *(one.encode() for one in samples))
    bridge.peers["XPACS"] = Peer("XPACS", behaviour=PRESETS["xpacs"])
    keys = [parse_key(f"PatientID=S{samples[0].study[-6:]}"), parse_key("StudyDate=20240101-20241231")]
    (last,) = await ask(bridge, GET, keys, STORAGE)
    assert last.status == 0xA900
    last = (await ask(bridge, GET, keys, STORAGE, calling="XPACS"))[-1]
    assert (last.status, last.completed) == (0, 2)
    series = [*keys, parse_key("Modality=OT")]
    assert (await ask(bridge, GET, series, STORAGE, level="SERIES", calling="XPACS"))[-1].completed == 2
    (last,) = await ask(bridge, GET, [parse_key("PatientName=*")], STORAGE, calling="XPACS")
    assert last.status == 0xA900


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.2"])
async def test_c_get_in_a_transfer_syntax_of_images(bridge: Bridge, client: httpx.Client, syntax: str) -> None:
    samples = study_of(1, 2)
    store(client, *(one.encode() for one in samples))
    contexts = [Proposed(STUDY_ROOT_GET, (syntax,)), STORAGE]
    async with connect("127.0.0.1", bridge.port, calling="A", called="FILEROOM", contexts=contexts) as association:
        context = association.contexts[1]
        assert context.transfer_syntax == syntax
        written = EXPLICIT_BE if syntax == EXPLICIT_BE else EXPLICIT_LE
        await association.send(context, GET, encode_identifier(study_key(samples), "STUDY", written))
        assert (await Asker(association).responses())[-1].completed == 2
