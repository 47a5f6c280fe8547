"""The bridge's processes: who gets a connection, limits over all of them, what dies, and how it ends."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from dimse_bridge.association.associate_pdus import encode_request
from dimse_bridge.association.pdus import RELEASE_RQ_BYTES
from dimse_bridge.board import Board
from tests.dimse.association.raw import ECHO, REQUEST, abort_of
from tests.support.archive import free_port
from tests.support.bridge import RunningBridge, start_bridge

NO_ARCHIVE = "http://127.0.0.1:1/dicom-web"
PEERS = '["PEER"]\n["OTHER"]\n["THIRD"]\n'


class Peer:
    """A blocking connection."""

    def __init__(self, port: int, title: str = "PEER", *, host: str = "127.0.0.1", called: str = "FILEROOM") -> None:
        self.socket = socket.create_connection((host, port), 10)
        self.socket.sendall(encode_request(replace(REQUEST, calling=title, called=called)))
        self.answer = self.pdu()

    def pdu(self) -> bytes:
        """The next PDU; empty when the connection was closed."""
        try:
            head = self._exactly(6)
            return head + self._exactly(struct.unpack(">I", head[2:])[0])
        except (EOFError, ConnectionError):
            return b""

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    @property
    def accepted(self) -> bool:
        """Whether the association stands."""
        return self.answer[:1] == b"\x02"

    def echo(self) -> bool:
        """Whether C-ECHO is answered."""
        self.socket.sendall(ECHO)
        return self.pdu()[:1] == b"\x04"

    def release(self) -> None:
        """Ends it in order."""
        self.socket.sendall(RELEASE_RQ_BYTES)
        self.pdu()
        self.close()

    def close(self) -> None:
        """Ends it."""
        self.socket.close()


def children(bridge: RunningBridge) -> list[psutil.Process]:
    """The processes that serve."""
    return psutil.Process(bridge.process.pid).children()


def connections(bridge: RunningBridge) -> list[int]:
    """How many associations each of them has, the fewest first."""
    return sorted(
        sum(one.status == "ESTABLISHED" and one.laddr.port == bridge.port for one in child.net_connections("tcp"))
        for child in children(bridge)
    )


def until_accepted(port: int, title: str = "PEER") -> Peer:
    """An association as soon as there is room for it."""
    deadline = time.monotonic() + 20
    while True:
        peer = Peer(port, title)
        if peer.accepted:
            return peer
        peer.close()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start(folder: Path, **environment: str) -> RunningBridge:
    """A bridge whose peers stand in a file."""
    file = folder / "peers.toml"
    file.write_text(PEERS)
    settings: dict[str, Any] = {"FILEROOM_DIMSE_PEERS": str(file), "FILEROOM_UNKNOWN_PEERS": "reject", **environment}
    return start_bridge(folder, NO_ARCHIVE, **settings)


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[RunningBridge]:
    """Two processes; three associations in all, two of each peer."""
    running = start(tmp_path, FILEROOM_DIMSE_MAX_ASSOCIATIONS="3", FILEROOM_DIMSE_MAX_PEER_ASSOCIATIONS="2")
    yield running
    assert running.stop() == 0


def test_connections_go_where_the_fewest_are_and_limits_count_over_all(bridge: RunningBridge) -> None:
    first, second = Peer(bridge.port), Peer(bridge.port)
    assert first.accepted
    assert second.accepted
    assert connections(bridge) == [1, 1]
    with closing(Peer(bridge.port)) as too_many:
        assert too_many.answer[6:] == b"\0\2\3\2"  # transient, presentation, local limit exceeded
    third = Peer(bridge.port, "OTHER")
    assert third.accepted
    with closing(Peer(bridge.port, "THIRD")) as too_many:
        assert too_many.answer[6:] == b"\0\2\3\2"
    with closing(Peer(bridge.port, "UNKNOWN")) as unknown:
        assert unknown.answer[6:] == b"\0\1\1\3"
    assert first.echo()
    assert second.echo()
    assert third.echo()
    first.release()
    until_accepted(bridge.port).close()
    second.close()
    third.close()


def test_a_process_that_dies_takes_only_its_own_associations(bridge: RunningBridge) -> None:
    first, second = Peer(bridge.port), Peer(bridge.port)
    victim = children(bridge)[0]
    victim.kill()
    alive = [peer for peer in (first, second) if peer.echo()]
    assert len(alive) == 1
    until_accepted(bridge.port).close()  # its slot is free again
    deadline = time.monotonic() + 20
    while len(children(bridge)) < 2 or victim.pid in [child.pid for child in children(bridge)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert alive[0].echo()
    alive[0].close()


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    bridge = start(tmp_path)
    peer = Peer(bridge.port)
    served_by = children(bridge)
    bridge.kill()
    _, alive = psutil.wait_procs(served_by, timeout=20)
    assert alive == []
    assert peer.pdu() == b""


def test_what_does_nothing_is_aborted_at_sigterm(tmp_path: Path) -> None:
    bridge = start(tmp_path)
    idle = Peer(bridge.port)
    assert idle.echo()
    bridge.process.terminate()
    assert abort_of(idle.pdu()) == (0, 0)
    idle.close()
    assert bridge.process.wait(20) == 0


def test_idle_associations_wake_nobody(tmp_path: Path) -> None:
    bridge = start(tmp_path)
    peers = [Peer(bridge.port) for _ in range(100)]
    assert all(peer.accepted for peer in peers)
    assert connections(bridge) == [50, 50]
    before = [child.num_ctx_switches().voluntary for child in children(bridge)]
    time.sleep(1)
    after = [child.num_ctx_switches().voluntary for child in children(bridge)]
    assert max(late - early for early, late in zip(before, after, strict=True)) < 25
    for peer in peers:
        peer.close()
    assert bridge.stop() == 0


def test_ipv6_and_several_ae_titles_on_ports_of_their_own(tmp_path: Path) -> None:
    second = free_port()
    bridge = start(tmp_path, FILEROOM_DIMSE_HOST="localhost", FILEROOM_AETS=f'[{{"aet": "SECOND", "port": {second}}}]')
    hosts = {str(found[4][0]) for found in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    for host in hosts:
        for port, called, accepted in (
            (bridge.port, "FILEROOM", True),
            (second, "SECOND", True),
            (bridge.port, "SECOND", False),
        ):
            with closing(Peer(port, host=host, called=called)) as peer:
                assert peer.accepted is accepted
    assert bridge.stop() == 0


def test_one_socket_for_ipv6_and_ipv4(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    bridge = start(tmp_path, FILEROOM_DIMSE_HOST="::", FILEROOM_DIMSE_PLAIN="anywhere")
    with closing(Peer(bridge.port, host="::1")) as by_6, closing(Peer(bridge.port)) as by_4:
        assert by_6.accepted
        assert by_4.accepted
    assert bridge.stop() == 0


def test_the_board_counts_over_all_children() -> None:
    board = Board(2, 3, 2)
    first = board.take(0, "PEER")
    assert first is not None
    assert board.take(1, "PEER") is not None
    assert board.take(0, "PEER") is None
    assert board.take(1, "PEER ONE") is not None
    assert board.take(1, "THIRD") is None
    assert board.count() == 3
    board.give(0, first)
    assert board.take(1, "THIRD") is not None
    board.clear(1)
    assert board.count() == 0
    unlimited = Board(1, 0, 0)
    assert all(unlimited.take(0, "PEER") is not None for _ in range(10_000))
