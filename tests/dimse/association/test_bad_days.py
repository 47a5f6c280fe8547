"""What nobody should send: refused as PS3.8 says, other associations unharmed, memory flat."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.associate_pdus import ProposedContext, UserInformation, encode_request
from dimse_bridge.association.association import Aborted, Association, AssociationEnded
from dimse_bridge.association.commands import cancel_rq, decode_command, echo_rq, find_rq, response, store_rq
from dimse_bridge.association.context import Proposed, Timeouts
from dimse_bridge.association.messages import MAX_COMMAND_SET
from dimse_bridge.association.pdus import COMMAND, LAST, MAX_ASSOCIATION_PDU, RELEASE_RQ_BYTES
from dimse_bridge.association.requestor import connect
from tests.dimse.association.conftest import Running, start
from tests.dimse.association.raw import (
    CT,
    ECHO,
    EXPLICIT,
    IMPLICIT,
    PATIENCE,
    PDUS,
    REQUEST,
    VERIFICATION,
    Raw,
    abort_of,
    fragment,
    raw,
)

STORE = store_rq(7, CT, "1.2.3")
MIB = 1 << 20


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    ("sent", "source", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n", 2, 1),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 2, 1),
        (b"\x01\0" + struct.pack(">I", MAX_ASSOCIATION_PDU + 1), 2, 6),
        (b"\x01\0\xff\xff\xff\xff", 2, 6),
        (b"\x01\0\0\0\0\x04\0\1\0\0", 2, 6),
        (PDUS["rq"][:74] + bytes(len(PDUS["rq"]) - 74), 2, 6),
        (ECHO, 0, 0),
        (PDUS["ac"], 0, 0),
    ],
)
async def test_what_cannot_begin_an_association(provider: Running, sent: bytes, source: int, reason: int) -> None:
    async with raw(provider.port) as other, raw(provider.port) as peer:
        await other.associate()
        peer.send(sent)
        assert abort_of(await peer.pdu()) == (source, reason)
        await other.echo()


@pytest.mark.parametrize(
    ("sent", "source", "reason"),
    [
        (b"\x04\0" + struct.pack(">I", 131072 + 64 * 1024 + 1), 2, 6),
        (b"\x04\0\xff\xff\xff\xff" + bytes(1000), 2, 6),
        (b"\x04\0\0\0\0\0", 2, 6),
        (b"\xff" * 100, 2, 1),
        (fragment(5, COMMAND | LAST, echo_rq(1)), 2, 6),
        (fragment(2, COMMAND | LAST, echo_rq(1)), 2, 6),
        (fragment(0, COMMAND | LAST, echo_rq(1)), 2, 6),
        (fragment(1, LAST, b"data without its command"), 0, 0),
        (fragment(1, COMMAND | LAST, b"no command"), 0, 0),
        (fragment(1, COMMAND | LAST, b""), 0, 0),
        (fragment(1, COMMAND | LAST, response(decode_command(echo_rq(1)), 0)), 0, 0),
        (fragment(3, COMMAND | LAST, STORE) + fragment(1, LAST, b"of another context"), 0, 0),
        (fragment(3, COMMAND | LAST, STORE) + fragment(3, 0, b"part") + ECHO, 0, 0),
        (fragment(1, COMMAND, echo_rq(1)[:20]) + fragment(3, COMMAND | LAST, echo_rq(1)[20:]), 0, 0),
        (fragment(1, COMMAND, bytes(16000)) * (MAX_COMMAND_SET // 16000 + 1), 0, 0),
        (b"\x04\0\0\0\0\x0a\0\0\0\x0c\1\3" + bytes(10), 2, 6),
        (PDUS["rq"], 2, 2),
    ],
)
async def test_what_cannot_come_in_an_association(provider: Running, sent: bytes, source: int, reason: int) -> None:
    async with raw(provider.port) as other, raw(provider.port) as peer:
        await other.associate()
        await peer.associate()
        peer.send(sent)
        assert abort_of(await peer.pdu()) == (source, reason)
        await other.echo()
        await _ended(provider, 1)
        assert isinstance(provider.endings[0], Aborted)
    assert provider.data_sets == []


async def _ended(provider: Running, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(provider.endings) < count:  # noqa: ASYNC110 (services have no event)
            await asyncio.sleep(0.001)


async def test_what_is_unusual_but_allowed(provider: Running) -> None:
    """Fragments of odd or no length, several PDVs in one PDU, bits that PS3.8 E.2 reserves, all in tiny pieces."""
    async with raw(provider.port) as peer:
        await peer.associate()
        pdvs = [
            (COMMAND, STORE[:7]),
            (COMMAND, b""),
            (COMMAND | LAST | 0xF0, STORE[7:]),
            (0, b"abc"),
            (0, b""),
            (LAST, b""),
        ]
        items = b"".join(struct.pack(">IBB", len(value) + 2, 3, control) + value for control, value in pdvs)
        data = b"\x04\xff" + struct.pack(">I", len(items)) + items
        for position in range(0, len(data), 3):
            peer.send(data[position : position + 3])
            await peer.writer.drain()
        assert (await peer.pdu())[0] == 4
    assert provider.data_sets == [b"abc"]


async def test_messages_sent_ahead_are_answered_in_order(provider: Running) -> None:
    async with raw(provider.port) as peer:
        await peer.associate()
        peer.send(b"".join(fragment(1, COMMAND | LAST, echo_rq(number)) for number in range(1, 40)) + RELEASE_RQ_BYTES)
        answers = [decode_command((await peer.pdu())[12:]).message_id_responded for _ in range(39)]
        assert answers == list(range(1, 40))
        assert await peer.pdu() == PDUS["release-rp"]


@pytest.mark.parametrize("how", ["abort", "close", "release"])
async def test_an_object_that_is_cut_is_no_object(provider: Running, how: str) -> None:
    async with raw(provider.port) as other, raw(provider.port) as peer:
        await other.associate()
        await peer.associate()
        peer.send(fragment(3, COMMAND | LAST, STORE) + fragment(3, 0, bytes(10_000)))
        if how == "close":
            peer.close()
        else:
            peer.send(PDUS["abort" if how == "abort" else "release-rq"])
        await _ended(provider, 1)
        await other.echo()
    assert provider.data_sets == []


async def test_a_peer_that_stops_in_mid_object_is_aborted() -> None:
    provider = await start(timeouts=Timeouts(dimse=0.1))
    async with provider.listener, raw(provider.port) as peer:
        await peer.associate()
        peer.send(fragment(3, COMMAND | LAST, STORE) + fragment(3, 0, bytes(10_000)))
        assert abort_of(await peer.pdu()) == (0, 0)
    assert provider.data_sets == []


async def test_a_slow_service_holds_the_peer_back() -> None:
    """At most 1 MiB waits in memory, and a little in TCP's buffers; then everything comes, in order."""
    reading = asyncio.Event()
    got = bytearray()

    async def serve(association: Association) -> None:
        message = await association.receive()
        await reading.wait()
        async for piece in message.fragments():
            got.extend(piece)
        await association.send(message.context, response(message.command, 0))
        await association.receive()

    listener = await serve_associations("127.0.0.1", 0, accept_all, serve)
    data = b"".join(struct.pack(">Q", number) for number in range(8 * MIB // 8)) * 4
    async with listener, raw(listener.port) as peer:
        peer.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        await peer.associate()
        before = resident()
        peer.send(fragment(3, COMMAND | LAST, STORE))
        sending = asyncio.create_task(_send_all(peer, data))
        await asyncio.sleep(0.3)
        assert not sending.done()
        assert resident() - before < 12 * MIB
        reading.set()
        await sending
        assert (await peer.pdu())[0] == 4
    assert got == data


async def _send_all(peer: Raw, data: bytes) -> None:
    step = 131_066
    for start_ in range(0, len(data), step):
        piece = data[start_ : start_ + step]
        peer.send(fragment(3, LAST if start_ + step >= len(data) else 0, piece))
        await peer.writer.drain()


async def test_a_peer_that_takes_nothing_is_aborted() -> None:
    ended: asyncio.Future[AssociationEnded] = asyncio.get_running_loop().create_future()

    async def serve(association: Association) -> None:
        message = await association.receive()
        try:
            await association.send(message.context, response(message.command, 0, has_data_set=True), bytes(64 * MIB))
        except AssociationEnded as ending:
            ended.set_result(ending)
            raise

    listener = await serve_associations("127.0.0.1", 0, accept_all, serve, timeouts=Timeouts(artim=0.1, dimse=0.2))
    async with listener:
        peer = socket.create_connection(("127.0.0.1", listener.port))
        peer.sendall(PDUS["rq"])
        await asyncio.sleep(0.05)
        peer.sendall(ECHO)
        async with asyncio.timeout(PATIENCE):
            assert isinstance(await ended, Aborted)
        peer.close()


async def test_five_hundred_quick_connects(provider: Running) -> None:
    """Of every bad kind, while one association works; nothing of them is left."""
    async with raw(provider.port) as steady:
        await steady.associate()
        await _flood(provider.port, 100)
        gc.collect()
        before = resident()
        for _ in range(4):
            await _flood(provider.port, 100)
            await steady.echo()
        gc.collect()
        assert resident() - before < 8 * MIB
        async with asyncio.timeout(PATIENCE):
            while len(provider.listener._acceptors) > 1:  # noqa: ASYNC110 (connections have no event)
                await asyncio.sleep(0.01)


async def _flood(port: int, count: int) -> None:
    kinds = [b"", b"\x01", PDUS["rq"][:50], PDUS["rq"], PDUS["rq"] + ECHO, PDUS["rq"] + PDUS["abort"], b"\xff" * 64]
    peers = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(count)]
    for number, peer in enumerate(peers):
        peer.send(kinds[number % len(kinds)])
    await asyncio.sleep(0)
    for peer in peers:
        peer.close()
    await asyncio.gather(*(peer.writer.wait_closed() for peer in peers), return_exceptions=True)


async def test_a_cancel_is_noted_and_not_received() -> None:
    seen: list[tuple[int, bool]] = []
    cancelled = asyncio.Event()

    async def serve(association: Association) -> None:
        for _ in range(2):
            message = await association.receive()
            assert message.command.message_id is not None
            await message.drain()
            if not seen:
                await cancelled.wait()
            seen.append((message.command.message_id, association.cancelled(message.command.message_id)))
            await association.send(message.context, response(message.command, 0))

    find = "1.2.840.10008.5.1.4.1.2.2.1"
    contexts = (ProposedContext(1, find, (IMPLICIT,)),)
    listener = await serve_associations("127.0.0.1", 0, accept_all, serve)
    async with listener, raw(listener.port) as peer:
        peer.send(encode_request(replace(REQUEST, contexts=contexts)))
        assert (await peer.pdu())[0] == 2
        request = fragment(1, COMMAND | LAST, find_rq(9, find)) + fragment(1, LAST, b"")
        peer.send(request + fragment(1, COMMAND | LAST, cancel_rq(9)))
        await asyncio.sleep(0.05)
        cancelled.set()
        assert (await peer.pdu())[0] == 4
        peer.send(request)
        assert (await peer.pdu())[0] == 4
    assert seen == [(9, True), (9, False)]


async def test_a_data_set_that_fails_in_mid_object_aborts(provider: Running) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield bytes(200_000)
        raise OSError

    with pytest.raises(OSError):
        async with connect(
            "127.0.0.1", provider.port, calling="A", called="B", contexts=[Proposed(CT, (EXPLICIT,))]
        ) as association:
            await association.send(association.contexts[1], STORE, failing())
    await _ended(provider, 1)
    assert provider.data_sets == []


async def test_a_service_that_fails_ends_its_own_association_only() -> None:
    async def serve(association: Association) -> None:
        while True:
            message = await association.receive()
            if message.context.id == 3:
                raise ZeroDivisionError
            await association.send(message.context, response(message.command, 0))

    listener = await serve_associations("127.0.0.1", 0, accept_all, serve)
    async with listener, raw(listener.port) as other, raw(listener.port) as peer:
        await other.associate()
        await peer.associate()
        peer.send(fragment(3, COMMAND | LAST, STORE))
        assert abort_of(await peer.pdu()) == (0, 0)
        await other.echo()


@pytest.mark.parametrize("maximum", [0, 1, 7, 8, 128, 16384, 0xFFFFFFFF])
async def test_a_peers_maximum_length_is_kept(maximum: int) -> None:
    """Also where it makes no sense: a fragment has at least one byte."""
    data = bytes(range(256)) * 4

    async def serve(association: Association) -> None:
        message = await association.receive()
        await association.send(message.context, response(message.command, 0, has_data_set=True), data)
        await association.receive()

    listener = await serve_associations("127.0.0.1", 0, accept_all, serve)
    async with listener, raw(listener.port) as peer:
        peer.send(encode_request(replace(REQUEST, user=UserInformation(maximum))))
        first = await peer.pdu()
        if maximum in (1, 7):
            assert abort_of(first) == (2, 6)
            return
        assert first[0] == 2
        peer.send(ECHO)
        values = {COMMAND: b"", 0: b""}
        last = 0
        while last != LAST:
            pdu = await peer.pdu()
            assert len(pdu) - 6 <= (maximum or 1 << 32)
            values[pdu[11] & COMMAND] += pdu[12:]
            last = pdu[11]
        assert values[0] == data
        assert VERIFICATION in values[COMMAND].decode("latin-1")
