"""One end of a connection that says what a test wants, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dimse_bridge.association.associate_pdus import (
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    UserInformation,
    encode_accept,
    encode_reject,
    encode_request,
)
from dimse_bridge.association.commands import echo_rq
from dimse_bridge.association.pdus import (
    COMMAND,
    LAST,
    RELEASE_RP_BYTES,
    RELEASE_RQ_BYTES,
    abort_bytes,
    p_data_head,
)

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
PATIENCE = 5.0

REQUEST = AssociateRequest(
    "FILEROOM",
    "PEER",
    (ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, CT, (EXPLICIT, IMPLICIT))),
    UserInformation(16384),
)
ACCEPT = AssociateAccept((ContextResult(1, 0, IMPLICIT), ContextResult(3, 0, EXPLICIT)), UserInformation(16384))


def fragment(context_id: int, control: int, value: bytes) -> bytes:
    """One PDV in a P-DATA-TF PDU of its own."""
    return p_data_head(context_id, control, len(value)) + value


ECHO = fragment(1, COMMAND | LAST, echo_rq(1))
PDUS = {
    "rq": encode_request(REQUEST),
    "ac": encode_accept(ACCEPT, REQUEST),
    "rj": encode_reject(1, 1, 3),
    "p-data": ECHO,
    "release-rq": RELEASE_RQ_BYTES,
    "release-rp": RELEASE_RP_BYTES,
    "abort": abort_bytes(0, 0),
    "invalid": b"\x09\0\0\0\0\x04\0\0\0\0",
}


class Raw:
    """A connection, read PDU by PDU."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.writer.write(data)

    async def pdu(self) -> bytes:
        """The next PDU; empty when the connection was closed."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = await self.reader.readexactly(6)
                return head + await self.reader.readexactly(int.from_bytes(head[2:6], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def associate(self) -> None:
        """Is accepted."""
        self.send(PDUS["rq"])
        assert (await self.pdu())[0] == 2

    async def echo(self) -> None:
        """Gets an answer to C-ECHO."""
        self.send(ECHO)
        assert (await self.pdu())[0] == 4

    async def is_silent(self, seconds: float = 0.05) -> bool:
        """Whether nothing comes, and the connection stays."""
        try:
            async with asyncio.timeout(seconds):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        """Closes it."""
        self.writer.close()


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    """A connection to `port` of this machine."""
    one = Raw(*await asyncio.open_connection("127.0.0.1", port))
    yield one
    one.close()


def abort_of(pdu: bytes) -> tuple[int, int]:
    """Source and reason of an A-ABORT."""
    assert pdu[:1] == b"\x07", pdu
    return pdu[8], pdu[9]
