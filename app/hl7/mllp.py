"""MLLP (HL7 2.5.1, appendix C): messages between 0x0B and 0x1C 0x0D, each answered before the next one is read.

What stands between messages is passed over up to a limit; a message that does not end in time, or is too long, ends the
connection: its sender has no acknowledgement and sends it again."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

log = logging.getLogger("fileroom.hl7")

BEGIN, END = b"\x0b", b"\x1c\r"
_MOST_CONNECTIONS = 64
_MESSAGE_SECONDS = 30.0
_MOST_BETWEEN = 4096
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Receive = Callable[[bytes, str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Door:
    """Who may send, and how much: `networks` empty lets everybody; `longest` is in bytes."""

    networks: Sequence[Network] = ()
    longest: int = 1 << 20

    def lets_in(self, address: str) -> bool:
        """Whether this numeric address may send."""
        if not self.networks:
            return True
        source = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(source, ipaddress.IPv6Address) and source.ipv4_mapped:
            source = source.ipv4_mapped
        return any(source in network for network in self.networks)


def read_networks(texts: Sequence[str]) -> list[Network]:
    """Numeric addresses and networks such as 10.1.0.0/16; ValueError."""
    return [ipaddress.ip_network(text, strict=False) for text in texts]


async def serve(sockets: Sequence[socket.socket], receive: Receive, door: Door) -> None:
    """Serves listening sockets until cancelled; `receive` gives the acknowledgement of a message and its sender."""
    listener = _Listener(receive, door)
    servers = [await asyncio.start_server(listener.connected, sock=one, limit=door.longest) for one in sockets]
    try:
        await asyncio.gather(*(server.serve_forever() for server in servers))
    finally:
        for server in servers:
            server.close()
        listener.end()


class _Listener:
    def __init__(self, receive: Receive, door: Door) -> None:
        self._receive = receive
        self._door = door
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end."""
        task = asyncio.current_task()
        assert task is not None
        address = str(writer.get_extra_info("peername")[0])
        if not self._door.lets_in(address) or len(self._tasks) >= _MOST_CONNECTIONS:
            log.warning("an HL7 connection is refused", extra={"fields": {"address": address}})
            writer.close()
            return
        self._tasks.add(task)
        try:
            while (message := await _next(reader)) is not None:
                writer.write(BEGIN + await self._receive(message, address) + END)
                await writer.drain()
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
            log.warning("an HL7 connection ended inside a message: %s", type(error).__name__)
        finally:
            self._tasks.discard(task)
            writer.close()

    def end(self) -> None:
        """Ends all connections; what is not acknowledged comes again."""
        for task in tuple(self._tasks):
            task.cancel()


async def _next(reader: asyncio.StreamReader) -> bytes | None:
    """The next message without its frame; None when the sender has gone between two."""
    between = 0
    while (byte := await reader.read(1)) != BEGIN:
        between += 1
        if not byte:
            return None
        if between > _MOST_BETWEEN:
            raise asyncio.LimitOverrunError("no message begins", between)
    async with asyncio.timeout(_MESSAGE_SECONDS):
        return (await reader.readuntil(END))[: -len(END)]
