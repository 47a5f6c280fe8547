"""C-STORE in every transfer syntax, of every class, from good and bad modalities, one and many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.dicom.peer import PRESETS, Peer
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, TRANSFER_SYNTAXES
from app.errors import NotFound
from dimse_bridge.association.commands import echo_rq, store_rq
from dimse_bridge.services.store import AT_ONCE
from tests.dimse.store.conftest import Bridge, Sent, open_bridge, send, sent_of
from tests.requirements.instances import CT, encode, make, rows
from tests.requirements.test_storage import PRIVATE_CLASS, UNKNOWN_CLASS, listed_classes, listed_syntaxes
from tests.support.archive import RunningArchive
from tests.support.samples import new_sample
from tests.support.waiting import soon

SUCCESS = 0
REFUSED = {"sop class": 0x0122, "not authorised": 0x0124}
MISMATCH, UNREADABLE = 0xA900, 0xC000
VERIFICATION = "1.2.840.10008.1.1"
MOST_CONTEXTS = 128


def sample(rows: int = 32) -> Sent:
    """An instance that nobody stored yet."""
    return sent_of(new_sample(rows=rows).encode())


async def keep(bridge: Bridge, instances: list[Sent]) -> list[str]:
    """Sends each, in as few associations as its contexts need, and reads it back; what went wrong."""
    wrong = []
    contexts = list(dict.fromkeys(one.context for one in instances))
    for first in range(0, len(contexts), MOST_CONTEXTS):
        group = contexts[first : first + MOST_CONTEXTS]
        async with bridge.associate(group) as association:
            for one in instances:
                if one.context in group:
                    status = (await send(association, one)).status
                    if status != SUCCESS or await bridge.stored(one.path, one.syntax) != one.data_set:
                        wrong.append(f"{one.context}: {status:04X}")
    return wrong


async def test_every_transfer_syntax_of_the_standard(bridge: Bridge) -> None:
    instances = [sent_of(encode(make("61", at, CT, syntax))) for at, syntax in enumerate(TRANSFER_SYNTAXES)]
    assert [one.syntax for one in instances] == list(TRANSFER_SYNTAXES)
    assert await keep(bridge, instances) == []


async def test_every_row_of_the_lists(bridge: Bridge) -> None:
    """Each listed class in one syntax, each listed syntax with one class."""
    services = {row["uid"] for row in rows("transfer_syntaxes.csv") if row["service"].startswith("C-STORE")}
    assert services <= set(listed_syntaxes())
    pairs = [*((uid, EXPLICIT_LE) for uid in listed_classes()), *((CT, uid) for uid in listed_syntaxes())]
    pairs += [(UNKNOWN_CLASS, IMPLICIT_LE), (PRIVATE_CLASS, EXPLICIT_LE)]
    assert await keep(bridge, [sent_of(encode(make("62", at, *pair))) for at, pair in enumerate(pairs)]) == []


async def test_echo(bridge: Bridge) -> None:
    async with bridge.associate([(VERIFICATION, IMPLICIT_LE)]) as association:
        (context,) = association.contexts.values()
        await association.send(context, echo_rq(7))
        response = (await association.receive()).command
    assert (response.status, response.message_id_responded, response.affected_sop_class) == (0, 7, VERIFICATION)


async def test_an_object_longer_than_memory_may_hold_is_streamed(bridge: Bridge) -> None:
    one = sample(rows=3 * AT_ONCE // 64)
    assert len(one.data_set) > 3 * AT_ONCE
    async with bridge.associate([one.context]) as association:
        assert (await send(association, one)).status == SUCCESS
    assert await bridge.stored(one.path) == one.data_set


@pytest.mark.parametrize("length", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1])
async def test_objects_at_the_edge_of_what_is_sent_at_once(bridge: Bridge, length: int) -> None:
    one = sample(rows=AT_ONCE // 64 - 1000)
    padding = length + (length % 2) - len(one.data_set) - 12
    trailing = b"\xfc\xff\xfc\xffOB\0\0" + padding.to_bytes(4, "little") + bytes(padding)
    one = replace(one, data_set=one.data_set + trailing)
    async with bridge.associate([one.context]) as association:
        assert (await send(association, one)).status == SUCCESS
    assert await bridge.stored(one.path) == one.data_set


async def test_many_associations_at_once(bridge: Bridge) -> None:
    async def modality() -> list[Sent]:
        mine = [sample() for _ in range(20)]
        async with bridge.associate([mine[0].context]) as association:
            for one in mine:
                assert (await send(association, one)).status == SUCCESS
        return mine

    everything = await asyncio.gather(*(modality() for _ in range(8)))
    for one in (one for mine in everything for one in mine):
        assert await bridge.stored(one.path) == one.data_set


async def test_the_same_again_is_success(bridge: Bridge) -> None:
    one = sample()
    async with bridge.associate([one.context]) as association:
        assert [(await send(association, one)).status for _ in range(3)] == [SUCCESS] * 3


@pytest.mark.parametrize("rows", [32, 2 * AT_ONCE // 64])
async def test_a_data_set_of_another_instance_is_refused_and_not_stored(bridge: Bridge, rows: int) -> None:
    one, other = sample(), sample(rows)
    async with bridge.associate([one.context]) as association:
        response = await send(association, one, other.data_set)
        assert response.status == MISMATCH
        assert "another SOP instance" in (response.error_comment or "")
        assert (await send(association, one)).status == SUCCESS
    with pytest.raises(NotFound):
        await bridge.stored(other.path)


async def test_a_data_set_of_another_class_is_refused(bridge: Bridge) -> None:
    one = replace(sample(), sop_class=CT)
    async with bridge.associate([one.context]) as association:
        assert (await send(association, one)).status == MISMATCH
    with pytest.raises(NotFound):
        await bridge.stored(one.path)


async def test_a_deflated_data_set_of_another_instance_is_refused(bridge: Bridge) -> None:
    syntax = "1.2.840.10008.1.2.1.99"
    one, other = (sent_of(encode(make("63", at, CT, syntax))) for at in (1, 2))
    async with bridge.associate([one.context]) as association:
        assert (await send(association, one, other.data_set)).status == MISMATCH


async def test_a_class_of_another_context_is_refused(bridge: Bridge) -> None:
    one = sample()
    async with bridge.associate([(CT, one.syntax)]) as association:
        (context,) = association.contexts.values()
        await association.send(context, store_rq(1, one.sop_class, one.sop_instance), one.data_set)
        assert (await association.receive()).command.status == REFUSED["sop class"]


@pytest.mark.parametrize("uid", ["1.2.3/../../x", "1..2", "a" * 10, "1." * 40])
async def test_a_uid_that_is_none_is_refused_whatever_the_length_of_the_object(bridge: Bridge, uid: str) -> None:
    one = sample(rows=2 * AT_ONCE // 64)
    bad = replace(one, sop_instance=uid)
    async with bridge.associate([one.context]) as association:
        response = await send(association, bad)
        assert response.status == UNREADABLE
        assert response.error_comment
        assert (await send(association, one, message_id=2)).status == SUCCESS


@pytest.mark.parametrize("data", [b"", b"\0" * 1000, b"not a data set at all, but long enough to look at" * 100])
async def test_bytes_that_are_no_data_set_are_refused(bridge: Bridge, data: bytes) -> None:
    one = sample()
    async with bridge.associate([one.context]) as association:
        response = await send(association, one, data)
        assert response.status is not None
        assert response.status >> 12 == 0xC
        assert response.error_comment
        assert (await send(association, one, message_id=2)).status == SUCCESS


async def test_an_abort_in_mid_object_leaves_nothing(bridge: Bridge, archive: RunningArchive) -> None:
    one = sample(rows=3 * AT_ONCE // 64)

    async def breaking() -> AsyncIterator[bytes]:
        yield one.data_set[: 2 * AT_ONCE]
        await asyncio.sleep(0.1)
        raise ConnectionError("the modality has gone")

    with pytest.raises(ConnectionError):
        async with bridge.associate([one.context]) as association:
            await send(association, one, breaking())
    study = one.path.split("/")[2]

    def left() -> list[Path]:
        return [file for file in archive.data.rglob(f"{one.sop_instance}~*") if study in str(file)]

    await soon(lambda: not left(), "nothing is left on disk")
    with pytest.raises(NotFound):
        await bridge.stored(one.path)
    async with bridge.associate([one.context]) as association:
        assert (await send(association, one)).status == SUCCESS


async def test_who_may_not_store_is_refused_by_the_archive_too(archive: RunningArchive) -> None:
    """Its contexts are refused already."""
    one = sample()
    async with open_bridge(archive.root, peers={"READER": Peer("READER", may=("find",))}) as bridge:
        async with bridge.associate([one.context], "READER") as association:
            assert association.contexts == {}


async def test_warnings_are_told_unless_the_peer_is_not_used_to_them(archive: RunningArchive) -> None:
    peers = {"ONEPACS": Peer("ONEPACS", behaviour=PRESETS["onepacs"])}
    made = [sample(), sample()]
    # An element out of order: stored, with a warning.
    odd = [replace(one, data_set=one.data_set + b"\x08\0\x70\0LO\x02\0AB") for one in made]
    async with open_bridge(archive.root, peers=peers) as bridge:
        for one, calling, status in zip(odd, ("MODALITY", "ONEPACS"), (0xB007, SUCCESS), strict=True):
            async with bridge.associate([one.context], calling) as association:
                assert (await send(association, one)).status == status
            assert await bridge.stored(one.path) == one.data_set


@pytest.mark.parametrize("rows", [32, 3 * AT_ONCE // 64])
async def test_a_data_set_that_ends_inside_an_element_is_stored_with_a_warning(
    archive: RunningArchive, rows: int
) -> None:
    made = sample(rows)
    one = replace(made, data_set=made.data_set[:-100])
    async with open_bridge(archive.root) as bridge:
        async with bridge.associate([one.context]) as association:
            answer = await send(association, one)
        assert (answer.status, answer.error_comment) == (0xB007, "7FE00010: the data set ends inside an element")
        assert await bridge.stored(one.path) == one.data_set
        async with bridge.associate([one.context]) as association:
            early = replace(made, data_set=made.data_set[:150])
            assert (await send(association, early)).status == 0xC000


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("pixels", [256, 2 * AT_ONCE])
async def test_what_ps3_18_does_not_carry_is_converted_before_other_servers(
    archive: RunningArchive, syntax: str, pixels: int
) -> None:
    """Private attributes that came without VR leave as UN (D13)."""
    implicit = syntax == IMPLICIT_LE
    made = make("64", 2 * pixels + implicit, CT, syntax)
    made.add_new(0x00090010, "LO", "CREATOR")
    made.add_new(0x00091001, "UN" if implicit else "LO", b"private " if implicit else "private ")
    made.PixelData = bytes(range(256)) * (pixels // 256)
    one = sent_of(encode(made))
    async with open_bridge(archive.root, ours=False) as bridge:
        async with bridge.associate([one.context]) as association:
            assert (await send(association, one)).status == SUCCESS
        data_set = await bridge.stored(one.path, EXPLICIT_LE)
    assert (b"\x09\0\x01\x10UN\0\0\x08\0\0\0private " if implicit else b"\x09\0\x01\x10LO\x08\0private ") in data_set
    assert b"\x10\0\x10\0PN\x10\0Requirement^List" in data_set
    assert data_set.endswith(made.PixelData)
