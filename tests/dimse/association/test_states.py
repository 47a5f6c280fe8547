"""PS3.8 Table 9-10: the table is the standard's, and what a connection does is what the table says, state by state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from dimse_bridge.association.acceptor import Acceptor, accept_all, serve_associations
from dimse_bridge.association.associate_pdus import AssociateRequest
from dimse_bridge.association.association import Association, AssociationEnded
from dimse_bridge.association.context import Proposed, Timeouts
from dimse_bridge.association.negotiation import CALLING_UNKNOWN, Acceptance, Caller, Policy, Rejection
from dimse_bridge.association.requestor import Requestor, connect
from dimse_bridge.association.states import TRANSITIONS, Event, State
from dimse_bridge.association.upper_layer import UpperLayer
from tests.dimse.association.raw import IMPLICIT, PATIENCE, PDUS, VERIFICATION, Raw, abort_of, raw

EVENTS = {
    "rq": Event.RQ_PDU,
    "ac": Event.AC_PDU,
    "rj": Event.RJ_PDU,
    "p-data": Event.P_DATA_PDU,
    "release-rq": Event.RELEASE_RQ_PDU,
    "release-rp": Event.RELEASE_RP_PDU,
    "abort": Event.ABORT_PDU,
    "invalid": Event.INVALID_PDU,
}
TIMEOUTS = Timeouts(artim=PATIENCE, acse=PATIENCE, dimse=PATIENCE, idle=PATIENCE)


def test_the_table_is_that_of_the_standard() -> None:
    """pynetdicom's was written from the same page by other people."""
    ours = {(f"Evt{event}", f"Sta{state}"): action for (event, state), action in TRANSITIONS.items()}
    assert ours == TRANSITION_TABLE


class Case:
    """A connection in the state that a test wants: our end, and the other one as bytes."""

    def __init__(self, layer: UpperLayer, peer: Raw, association: Association | None = None) -> None:
        self.layer = layer
        self.peer = peer
        self.association = association


@asynccontextmanager
async def accepted(
    serve: Callable[[Association], object], policy: Policy = accept_all
) -> AsyncIterator[tuple[Raw, list[UpperLayer]]]:
    """A provider that serves with `serve`, and a connection to it."""
    layers: list[UpperLayer] = []

    class Noted(Acceptor):
        def __init__(self) -> None:
            super().__init__(policy, run, TIMEOUTS)
            layers.append(self)

    async def run(association: Association) -> None:
        result = serve(association)
        if asyncio.iscoroutine(result):
            await result

    server = await asyncio.get_running_loop().create_server(Noted, "127.0.0.1", 0)
    try:
        async with raw(server.sockets[0].getsockname()[1]) as peer:
            yield peer, layers
    finally:
        server.close()
        for layer in layers:
            layer.fire(Event.TRANSPORT_CLOSED)
            assert isinstance(layer, Acceptor)
            if layer.task is not None:
                layer.task.cancel()
                await asyncio.gather(layer.task, return_exceptions=True)


async def _state(layers: list[UpperLayer], wanted: State) -> UpperLayer:
    async with asyncio.timeout(PATIENCE):
        while not layers or layers[0].state is not wanted:  # noqa: ASYNC110 (states have no event)
            await asyncio.sleep(0.001)
    return layers[0]


async def _wait_for_ever(association: Association) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def awaiting_request() -> AsyncIterator[Case]:
    async with accepted(_wait_for_ever) as (peer, layers):
        yield Case(await _state(layers, State.AWAITING_REQUEST), peer)


@asynccontextmanager
async def awaiting_local_response() -> AsyncIterator[Case]:
    async def never(request: AssociateRequest, caller: Caller) -> Acceptance | Rejection:
        await asyncio.Event().wait()
        raise AssertionError

    async with accepted(_wait_for_ever, never) as (peer, layers):
        peer.send(PDUS["rq"])
        yield Case(await _state(layers, State.AWAITING_LOCAL_RESPONSE), peer)


@asynccontextmanager
async def established() -> AsyncIterator[Case]:
    async def serve(association: Association) -> None:
        while True:
            message = await association.request()
            await association.send(message.context, b"heard")

    async with accepted(serve) as (peer, layers):
        await peer.associate()
        yield Case(await _state(layers, State.ESTABLISHED), peer)


@asynccontextmanager
async def awaiting_release_rp() -> AsyncIterator[Case]:
    async def serve(association: Association) -> None:
        await association.release()

    async with accepted(serve) as (peer, layers):
        await peer.associate()
        assert await peer.pdu() == PDUS["release-rq"]
        yield Case(await _state(layers, State.AWAITING_RELEASE_RP), peer)


@asynccontextmanager
async def awaiting_local_release() -> AsyncIterator[Case]:
    async with accepted(_wait_for_ever) as (peer, layers):
        await peer.associate()
        peer.send(PDUS["release-rq"])
        yield Case(await _state(layers, State.AWAITING_LOCAL_RELEASE), peer)


@asynccontextmanager
async def collision_acceptor() -> AsyncIterator[Case]:
    async with awaiting_release_rp() as case:
        case.peer.send(PDUS["release-rq"])
        yield Case(await _state([case.layer], State.COLLISION_ACCEPTOR_AWAITING_RP), case.peer)


@asynccontextmanager
async def awaiting_close() -> AsyncIterator[Case]:
    async def refuse(request: AssociateRequest, caller: Caller) -> Acceptance | Rejection:
        return CALLING_UNKNOWN

    async with accepted(_wait_for_ever, refuse) as (peer, layers):
        peer.send(PDUS["rq"])
        assert await peer.pdu() == PDUS["rj"]
        yield Case(await _state(layers, State.AWAITING_CLOSE), peer)


@asynccontextmanager
async def awaiting_response() -> AsyncIterator[Case]:
    """We are the requestor; the peer has the request."""
    peers: asyncio.Queue[Raw] = asyncio.Queue()
    server = await asyncio.start_server(lambda *streams: peers.put_nowait(Raw(*streams)), "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    _, layer = await loop.create_connection(
        lambda: Requestor(PDUS["rq"], TIMEOUTS, 16384), "127.0.0.1", server.sockets[0].getsockname()[1]
    )
    peer = await peers.get()
    assert await peer.pdu() == PDUS["rq"]
    yield Case(await _state([layer], State.AWAITING_RESPONSE), peer)
    layer.fire(Event.TRANSPORT_CLOSED)
    peer.close()
    server.close()


@asynccontextmanager
async def collision_requestor() -> AsyncIterator[Case]:
    async with awaiting_response() as case:
        case.peer.send(PDUS["ac"])
        await _state([case.layer], State.ESTABLISHED)
        case.layer.fire(Event.RELEASE_REQUEST)
        assert await case.peer.pdu() == PDUS["release-rq"]
        case.peer.send(PDUS["release-rq"])
        assert await case.peer.pdu() == PDUS["release-rp"]
        yield Case(await _state([case.layer], State.COLLISION_REQUESTOR_AWAITING_RP), case.peer)


STATES = {
    State.AWAITING_REQUEST: awaiting_request,
    State.AWAITING_LOCAL_RESPONSE: awaiting_local_response,
    State.AWAITING_RESPONSE: awaiting_response,
    State.ESTABLISHED: established,
    State.AWAITING_RELEASE_RP: awaiting_release_rp,
    State.AWAITING_LOCAL_RELEASE: awaiting_local_release,
    State.COLLISION_ACCEPTOR_AWAITING_RP: collision_acceptor,
    State.COLLISION_REQUESTOR_AWAITING_RP: collision_requestor,
    State.AWAITING_CLOSE: awaiting_close,
}
"""The states that somebody outside can meet: 1 and 4 have no connection; 9 and 12 are left as they are entered, since
our local user answers at once."""


async def _aborted(case: Case, source: int, pdu: str) -> None:
    assert abort_of(await case.peer.pdu())[0] == (2 if pdu == "invalid" else source)
    assert case.layer.state is State.AWAITING_CLOSE
    assert await case.peer.is_silent()  # the requestor of the abort waits for the other side to close


async def _closed(case: Case) -> None:
    assert await case.peer.pdu() == b""
    assert case.layer.state is State.IDLE


async def _expect(action: str, pdu: str, case: Case) -> None:
    """What the other side sees of an action (PS3.8 Tables 9-6 to 9-9)."""
    if action == "AA-1":
        await _aborted(case, 0, pdu)
    elif action in ("AA-7", "AA-8"):
        await _aborted(case, 2, pdu)
    elif action in ("AA-2", "AA-3", "AE-4", "AR-3"):
        await _closed(case)
    elif action in ("AA-6", "AR-6"):
        state = case.layer.state
        assert await case.peer.is_silent()
        assert case.layer.state is state
    elif action == "AE-6":
        assert (await case.peer.pdu())[:1] == b"\x02"
    elif action == "AE-3":
        await _state([case.layer], State.ESTABLISHED)
    elif action == "DT-2":
        assert (await case.peer.pdu()).endswith(b"heard")
    elif action in ("AR-2", "AR-10"):
        assert await case.peer.pdu() == PDUS["release-rp"]
        assert case.layer.state is State.AWAITING_CLOSE
    else:
        assert action == "AR-8"
        await _state([case.layer], State.COLLISION_ACCEPTOR_AWAITING_RP)


@pytest.mark.parametrize("pdu", EVENTS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
async def test_each_pdu_in_each_state_does_what_the_table_says(state: State, pdu: str) -> None:
    async with STATES[state]() as case:
        case.peer.send(PDUS[pdu])
        await _expect(TRANSITIONS[EVENTS[pdu], state], pdu, case)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
async def test_a_connection_that_closes_ends_everything_in_each_state(state: State) -> None:
    async with STATES[state]() as case:
        case.peer.close()
        await _state([case.layer], State.IDLE)
        assert case.layer.ending is not None


@pytest.mark.parametrize("state", [State.AWAITING_REQUEST, State.AWAITING_CLOSE], ids=lambda state: state.name)
async def test_the_artim_timer_closes_what_nobody_closes(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "TIMEOUTS", Timeouts(artim=0.1))
    async with STATES[state]() as case:
        assert await case.peer.pdu() == b""
        assert case.layer.state is State.IDLE


async def test_a_requestor_whose_peer_is_silent_gives_up() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    contexts = [Proposed(VERIFICATION, (IMPLICIT,))]
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(AssociationEnded, match="silent"):
        async with connect(
            "127.0.0.1", port, calling="A", called="B", contexts=contexts, timeouts=Timeouts(acse=0.1, artim=0.1)
        ):
            pass
    server.close()


async def test_an_idle_association_is_aborted() -> None:
    async def serve(association: Association) -> None:
        await association.receive()

    listener = await serve_associations("127.0.0.1", 0, accept_all, serve, timeouts=Timeouts(idle=0.1))
    async with listener, raw(listener.port) as peer:
        await peer.associate()
        assert abort_of(await peer.pdu()) == (0, 0)


async def test_a_requestor_learns_at_once_that_it_was_answered_with_nonsense() -> None:
    """It waits for the other side to close, but not before it says what happened."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Raw(reader, writer).pdu()
        writer.write(PDUS["p-data"])
        await asyncio.sleep(PATIENCE)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    contexts = [Proposed(VERIFICATION, (IMPLICIT,))]
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(PATIENCE / 2):
        with pytest.raises(AssociationEnded, match="cannot come now"):
            async with connect("127.0.0.1", port, calling="A", called="B", contexts=contexts):
                pass
    server.close()
