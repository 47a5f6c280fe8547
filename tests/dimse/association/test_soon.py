"""Messages that may leave with what follows: none is late, none is lost, none is overtaken."""

from __future__ import annotations

import pytest

from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import decode_command, response
from tests.dimse.association.raw import ECHO, raw

_PENDING = 0xFF00


async def _statuses(then: str) -> list[int]:
    """What a peer reads: statuses, and the types of other PDUs, when the provider does `then` what it says."""

    async def serve(association: Association) -> None:
        message = await association.request()
        for status in (_PENDING, _PENDING):
            await association.send(message.context, response(message.command, status), soon=True)
        if then == "sends":
            await association.send(message.context, response(message.command, 0))
        elif then == "aborts":
            association.abort()
        else:
            await association.receive()

    found = []
    async with await serve_associations("127.0.0.1", 0, accept_all, serve) as listener, raw(listener.port) as peer:
        await peer.associate()
        peer.send(ECHO)
        for _ in range(2 if then == "waits" else 3):
            pdu = await peer.pdu()
            found.append(decode_command(pdu[12:]).status or 0 if pdu[0] == 4 else pdu[0])
    return found


@pytest.mark.parametrize(
    ("then", "expected"),
    [("sends", [_PENDING, _PENDING, 0]), ("aborts", [_PENDING, _PENDING, 7]), ("waits", [_PENDING, _PENDING])],
)
async def test_they_come_in_order_whatever_follows(then: str, expected: list[int]) -> None:
    assert await _statuses(then) == expected
