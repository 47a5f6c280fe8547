"""Every listed status of C-STORE, C-FIND and C-MOVE is answered, with its related fields, to the peer whose product
answers it; one that a product never sends is answered to others, but never to its peer; and as user we do with each
what the product does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.dicom.peer import PRESETS, Peer
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.association import Association, Released
from dimse_bridge.association.commands import Command, cancel_rq, find_rq, move_rq, response, store_rq
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.requestor import connect
from dimse_bridge.user import find, move
from dimse_bridge.user import store as user_store
from dimse_bridge.user.identifiers import encode_identifier, parse_key
from dimse_bridge.user.remote import PENDING, OperationFailed, Remote, Retrieved
from tests.dimse.retrieve.conftest import Bridge, open_bridge, store
from tests.dimse.retrieve.scripted import Destination, destination
from tests.dimse.retrieve.test_dcmtk import study_of
from tests.dimse.retrieve.test_statuses import SC
from tests.requirements.instances import rows
from tests.support.archive import RunningArchive, free_port
from tests.support.samples import Sample
from tests.unit.bridge.scripted_server import Exchange, serving

ELSEWHERE_SERVICES = {"MWL C-FIND": 8, "MPPS N-CREATE": 4, "MPPS N-SET": 4}
"""What other tests try row by row (`tests/dimse/worklist`, `tests/dimse/procedures`), and how many rows each has."""
AS_USER = {"C-STORE SCU", "C-FIND SCU", "C-MOVE SCU"}
INSTANCES = 4


@dataclass
class World:
    """A bridge before the archive, and before one that is away; instances, and where they are sent."""

    bridge: Bridge
    lonely: Bridge
    samples: list[Sample]
    there: Destination

    @property
    def port(self) -> int:
        """Where the bridge listens."""
        return self.bridge.port

    def identifier(self, level: str = "STUDY", *keys: str) -> bytes:
        """Asks for the instances."""
        wanted = keys or (f"StudyInstanceUID={self.samples[0].study}",)
        return encode_identifier(map(parse_key, wanted), level, EXPLICIT_LE)


@pytest.fixture
async def world(archive: RunningArchive, client: httpx.Client) -> AsyncIterator[World]:
    samples = study_of(1, INSTANCES)
    store(client, *(one.encode() for one in samples))
    nowhere = f"http://127.0.0.1:{free_port()}/dicom-web"
    async with open_bridge(archive.root) as bridge, open_bridge(nowhere) as lonely, destination() as there:
        for one in (bridge, lonely):
            one.peers |= {name.upper(): Peer(name.upper(), behaviour=preset) for name, preset in PRESETS.items()}
            one.peers["DEST"] = there.peer
            one.peers["DEAD"] = Peer("DEAD", "127.0.0.1", free_port())
        yield World(bridge, lonely, samples, there)


async def exchange(
    port: int, calling: str, model: str, command: bytes, data_set: bytes, *, cancel: bool = False
) -> list[Command]:
    """The responses to one request; `cancel` sends a C-CANCEL after the first."""
    contexts = [Proposed(model, (EXPLICIT_LE,))]
    async with connect("127.0.0.1", port, calling=calling, called="FILEROOM", contexts=contexts) as association:
        await association.send(association.contexts[1], command, data_set)
        found: list[Command] = []
        while not found or found[-1].status in PENDING:
            message = await association.receive()
            await message.drain()
            found.append(message.command)
            if cancel and len(found) == 1:
                await association.send(association.contexts[1], cancel_rq(1))
        return found


# ---------------------------------------------------------------- C-STORE


async def stored(port: int, calling: str, one: Sample, data_set: bytes = b"") -> list[Command]:
    file = one.encode()
    data = data_set or file[file.index(b"\x08\0\x16\0UI") :]
    return await exchange(port, calling, SC, store_rq(1, SC, one.sop), data)


async def away(world: World, calling: str) -> list[Command]:
    return await stored(world.lonely.port, calling, world.samples[0])


async def well(world: World, calling: str) -> list[Command]:
    return await stored(world.port, calling, world.samples[0])


async def of_another(world: World, calling: str) -> list[Command]:
    other = world.samples[1].encode()
    return await stored(world.port, calling, world.samples[0], other[other.index(b"\x08\0\x16\0UI") :])


async def unreadable(world: World, calling: str) -> list[Command]:
    return await stored(world.port, calling, world.samples[0], b"no data set" * 99)


def warned(reason: int) -> Callable[[World, str], Awaitable[list[Command]]]:
    """Before an archive that stores with this Warning Reason (PS3.18 Table 10.5.3-2)."""

    async def store_it(world: World, calling: str) -> list[Command]:
        one = world.samples[0]
        item = {"00081155": {"vr": "UI", "Value": [one.sop]}, "00081196": {"vr": "US", "Value": [reason]}}
        receipts = json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()

        async def script(exchange: Exchange) -> None:
            await exchange.body()
            await exchange.answer(202, "application/dicom+json", receipts)

        async with serving(script) as server, open_bridge(server.root) as bridge:
            bridge.peers = world.bridge.peers
            return await stored(bridge.port, calling, one)

    return store_it


# ---------------------------------------------------------------- C-FIND


async def find_of(port: int, calling: str, identifier: bytes) -> list[Command]:
    return await exchange(port, calling, STUDY_ROOT_FIND, find_rq(1, STUDY_ROOT_FIND), identifier)


async def found(world: World, calling: str) -> list[Command]:
    return await find_of(world.port, calling, world.identifier())


async def found_in_part(world: World, calling: str) -> list[Command]:
    study = f"StudyInstanceUID={world.samples[0].study}"
    return await find_of(world.port, calling, world.identifier("STUDY", study, "Rows"))


async def find_away(world: World, calling: str) -> list[Command]:
    return await find_of(world.lonely.port, calling, world.identifier())


async def find_nowhere(world: World, calling: str) -> list[Command]:
    return await find_of(world.port, calling, world.identifier("WARD"))


async def find_unable(world: World, calling: str) -> list[Command]:
    return await find_of(world.port, calling, b"\x08\0\x52\0CS\xff\x7fSTUDY")


async def find_cancelled(world: World, calling: str) -> list[Command]:
    """The C-CANCEL comes with the request, before any answer has left."""
    contexts = [Proposed(STUDY_ROOT_FIND, (EXPLICIT_LE,))]
    port = world.port
    async with connect("127.0.0.1", port, calling=calling, called="FILEROOM", contexts=contexts) as association:
        context = association.contexts[1]
        await association.send(context, find_rq(1, STUDY_ROOT_FIND), world.identifier())
        await association.send(context, cancel_rq(1))
        found: list[Command] = []
        while not found or found[-1].status in PENDING:
            message = await association.receive()
            await message.drain()
            found.append(message.command)
        return found


# ---------------------------------------------------------------- C-MOVE


async def move_of(
    world: World, calling: str, to: str = "DEST", identifier: bytes = b"", *, port: int = 0, cancel: bool = False
) -> list[Command]:
    request = move_rq(1, STUDY_ROOT_MOVE, to)
    sent = identifier or world.identifier()
    return await exchange(port or world.port, calling, STUDY_ROOT_MOVE, request, sent, cancel=cancel)


async def moved(world: World, calling: str) -> list[Command]:
    return await move_of(world, calling)


async def move_away(world: World, calling: str) -> list[Command]:
    return await move_of(world, calling, port=world.lonely.port)


async def move_to_the_dead(world: World, calling: str) -> list[Command]:
    return await move_of(world, calling, "DEAD")


async def move_to_nobody(world: World, calling: str) -> list[Command]:
    return await move_of(world, calling, "NOBODY")


async def move_of_nothing(world: World, calling: str) -> list[Command]:
    return await move_of(world, calling, identifier=world.identifier("STUDY", "PatientID=1"))


async def move_unable(world: World, calling: str) -> list[Command]:
    """The archive refuses what the bridge asks."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(500, "text/plain", b"")

    async with serving(script) as server, open_bridge(server.root) as bridge:
        bridge.peers = world.bridge.peers
        return await move_of(world, calling, port=bridge.port)


async def move_cancelled(world: World, calling: str) -> list[Command]:
    return await move_of(world, calling, cancel=True)


async def move_in_part(world: World, calling: str) -> list[Command]:
    world.there.statuses = [0, 0xC000]
    return await move_of(world, calling)


Scenario = Callable[[World, str], Awaitable[list[Command]]]
PROVOKED: dict[tuple[str, str], Scenario] = {
    ("C-STORE", "0000"): well,
    ("C-STORE", "A765"): away,
    ("C-STORE", "A7xx"): away,
    ("C-STORE", "A9xx"): of_another,
    ("C-STORE", "Cxxx"): unreadable,
    ("C-STORE", "B000"): warned(0xB000),
    ("C-STORE", "B006"): warned(0xB006),
    ("C-STORE", "B007"): warned(0xB007),
    ("C-FIND", "0000"): found,
    ("C-FIND", "FF00"): found,
    ("C-FIND", "FF01"): found_in_part,
    ("C-FIND", "A700"): find_away,
    ("C-FIND", "A900"): find_nowhere,
    ("C-FIND", "C000"): find_unable,
    ("C-FIND", "Cxxx"): find_unable,
    ("C-FIND", "FE00"): find_cancelled,
    ("C-MOVE", "0000"): moved,
    ("C-MOVE", "FF00"): moved,
    ("C-MOVE", "A701"): move_away,
    ("C-MOVE", "A702"): move_to_the_dead,
    ("C-MOVE", "A801"): move_to_nobody,
    ("C-MOVE", "A900"): move_of_nothing,
    ("C-MOVE", "C002"): move_unable,
    ("C-MOVE", "Cxxx"): move_of_nothing,
    ("C-MOVE", "FE00"): move_cancelled,
    ("C-MOVE", "B000"): move_in_part,
}
"""Service and status → what brings it about."""
FIELDS: dict[str, Callable[[Command], bool]] = {
    "(0000,0901)": lambda command: bool(command.offending_element),
    "(0000,0902)": lambda command: bool(command.error_comment),
    "(0000,1020)": lambda command: command.remaining is not None,
    "(0000,1021)": lambda command: command.completed is not None,
    "(0000,1022)": lambda command: command.failed is not None,
    "(0000,1023)": lambda command: command.warning is not None,
    "Identifier": lambda command: command.has_data_set,
}


@dataclass(frozen=True)
class Row:
    """One status of one product."""

    seed: str
    service: str
    code: str
    fields: str
    when: str

    @property
    def is_never_sent(self) -> bool:
        """Whether the product does without it."""
        return self.when.startswith("never sent")

    def matches(self, command: Command) -> bool:
        """Whether it is answered."""
        return f"{command.status:04X}".startswith(self.code.rstrip("x"))


def listed(*, as_user: bool) -> list[Row]:
    found = [
        Row(row["seed"], row["service"], row["code"], row["related_fields"], row["when"])
        for row in rows("status_codes.csv")
        if row["service"] not in ELSEWHERE_SERVICES
    ]
    return [row for row in found if (row.service in AS_USER) == as_user]


def name(row: Row) -> str:
    return f"{row.seed}-{row.service}-{row.code}"


@pytest.mark.parametrize("row", listed(as_user=False), ids=name)
async def test_the_status_is_answered_with_its_fields(world: World, row: Row) -> None:
    provoke = PROVOKED[row.service.split(" ")[0], row.code]
    responses = await provoke(world, row.seed.upper())
    if row.is_never_sent:
        assert not any(map(row.matches, responses))
        assert any(map(row.matches, await provoke(world, "STANDARD"))), "it is not what brings it about"
    else:
        answered = [one for one in responses if row.matches(one)]
        assert answered
        for field in row.fields.split():
            assert all(map(FIELDS[field], answered)), field


def test_no_row_is_forgotten() -> None:
    everything = rows("status_codes.csv")
    counts = {
        service: sum(row["service"] == service for row in everything)
        for service in {row["service"] for row in everything} & set(ELSEWHERE_SERVICES)
    }
    assert counts == ELSEWHERE_SERVICES
    assert len(listed(as_user=False)) + len(listed(as_user=True)) + sum(counts.values()) == len(everything) == 81
    assert {(row.service.split(" ")[0], row.code) for row in listed(as_user=False)} == set(PROVOKED)


# ---------------------------------------------------------------- as user


@dataclass
class Answering:
    """A provider that answers with these statuses in turn; what it was asked, and how it ended."""

    statuses: list[int]
    port: int = 0
    asked: int = 0
    is_released: bool = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Remote]:
        async def serve(association: Association) -> None:
            try:
                while True:
                    message = await association.receive()
                    data = await message.data_set(1 << 20)
                    self.asked += 1
                    for status in self.statuses:
                        identifier = data if status in PENDING else None
                        command = response(message.command, status, has_data_set=identifier is not None)
                        await association.send(message.context, command, identifier)
            except Released:
                self.is_released = True
                raise

        async with await serve_associations("127.0.0.1", 0, accept_all, serve) as listener:
            yield Remote("THERE", "127.0.0.1", listener.port, behaviour=PRESETS["onepacs"])


def status_of(row: Row) -> int:
    return int(row.code.replace("x", "0"), 16)


async def store_goes_on(row: Row, folder: Path) -> None:
    """One attempt for each instance; what it was answered is not looked at."""
    samples = study_of(1, 3)
    paths = [folder / one.sop for one in samples]
    for path, one in zip(paths, samples, strict=True):
        path.write_bytes(one.encode())
    async with destination() as there:
        there.statuses = [status_of(row)] * 2
        remote = Remote("DEST", "127.0.0.1", there.port, behaviour=PRESETS["onepacs"])
        sent = [one async for one in user_store.store(remote, paths)]
        assert [one.is_stored for one in sent] == [True] * 3
        assert sorted(one.affected_sop_instance or "" for one in there.commands) == sorted(one.sop for one in samples)


async def find_ends(row: Row, folder: Path) -> None:
    """One query, none below it, never a cancel; the association is released."""
    status = status_of(row)
    there = Answering([status, 0] if status in PENDING else [status])
    keys = [parse_key("StudyInstanceUID=1.2.3")]
    async with there.listening() as remote:
        matches = find.find(remote, "STUDY", keys)
        if row.when == "query ended, association closed":
            with pytest.raises(OperationFailed, match=f"{status:04X}H"):
                await anext(matches)
        else:
            assert len([one async for one in matches]) == (status in PENDING)
    assert (there.asked, there.is_released) == (1, True)


async def move_ends(row: Row, folder: Path) -> None:
    """One request, whatever is answered."""
    status = status_of(row)
    there = Answering([status, 0] if status in PENDING else [status])
    async with there.listening() as remote:
        responses = [one async for one in move.move(remote, "STUDY", [parse_key("StudyInstanceUID=1.2")], "US")]
    assert responses == [Retrieved(one, failed_uids=responses[0].failed_uids) for one in there.statuses]
    assert (there.asked, there.is_released) == (1, True)


DONE = {"C-STORE SCU": store_goes_on, "C-FIND SCU": find_ends, "C-MOVE SCU": move_ends}


@pytest.mark.parametrize("row", listed(as_user=True), ids=name)
async def test_as_user_we_do_what_the_product_does(row: Row, tmp_path: Path) -> None:
    await DONE[row.service](row, tmp_path)
