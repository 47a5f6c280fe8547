"""Data sets on the wire: fragments have an even length (PS3.8 E.1), however the data set came to us."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.dicom.peer import Peer
from dimse_bridge.association.association import Association, AssociationEnded
from dimse_bridge.association.commands import echo_rq
from dimse_bridge.association.context import Context
from dimse_bridge.association.messages import Inbox
from dimse_bridge.association.pdus import COMMAND, LAST


class Wire:
    """An upper layer that keeps what is written."""

    def __init__(self) -> None:
        self.sent = b""
        self.ending: AssociationEnded | None = None
        self.address = ""
        self.inbox = Inbox(self, None)

    async def write(self, pieces: list[bytes]) -> None:
        self.sent += b"".join(pieces)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def expect(self, seconds: float | None) -> None: ...

    def expect_nothing(self) -> None: ...

    def fragments(self) -> list[tuple[int, bytes]]:
        """(message control header, value) of each PDU's only PDV."""
        found, at = [], 0
        while at < len(self.sent):
            kind, length, inner, context, control = struct.unpack_from(">BxIIBB", self.sent, at)
            assert (kind, length, context) == (4, inner + 4, 1)
            found.append((control, self.sent[at + 12 : at + 6 + length]))
            at += 6 + length
        return found


async def one_by_one(pieces: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("max_length", [4096, 4097, 131072])
@pytest.mark.parametrize(
    "pieces",
    [(), (b"",), (b"ab",), (b"a", b"bcd"), (b"x" * 4091, b"y" * 8185), (b"z" * 300_001, b"", b"z"), (b"w" * 8182,)],
)
@pytest.mark.parametrize("form", ["whole", "pieces", "stream"])
async def test_fragments_are_even(max_length: int, pieces: tuple[bytes, ...], form: str) -> None:
    wire: Any = Wire()
    context = Context(1, "1.2.840.10008.1.1", "1.2.840.10008.1.2")
    association = Association(
        wire, identity="", calling="A", called="B", peer=Peer("A"), contexts={1: context}, max_send_length=max_length
    )
    forms = {"whole": b"".join(pieces), "pieces": pieces, "stream": one_by_one(pieces)}
    await association.send(context, echo_rq(1), forms[form])  # type: ignore[arg-type]
    (first, _), *rest = wire.fragments()
    assert first == COMMAND | LAST
    assert b"".join(value for _, value in rest) == b"".join(pieces)
    assert all(len(value) % 2 == 0 and len(value) <= max_length - 6 for _, value in rest)
    assert [control for control, _ in rest] == [0] * (len(rest) - 1) + [LAST]
