"""A provider in this process that answers every request with success, and notes what came."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from dimse_bridge.association.acceptor import Listener, accept_all, serve_associations
from dimse_bridge.association.association import Association, AssociationEnded
from dimse_bridge.association.commands import response
from dimse_bridge.association.context import Timeouts
from dimse_bridge.association.negotiation import Policy

Provider = Callable[..., "Running"]


@dataclass
class Running:
    """The provider, the data sets that it got whole, and how its associations ended."""

    listener: Listener
    data_sets: list[bytes] = field(default_factory=list)
    endings: list[AssociationEnded] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port


async def start(policy: Policy = accept_all, timeouts: Timeouts | None = None) -> Running:
    """A running provider; its listener is to be closed."""
    held: list[Running] = []

    async def serve(association: Association) -> None:
        try:
            while True:
                message = await association.request()
                data = await message.data_set(1 << 30)
                if message.has_data_set:
                    held[0].data_sets.append(data)
                await association.send(message.context, response(message.command, 0))
        except AssociationEnded as ending:
            held[0].endings.append(ending)

    listener = await serve_associations("127.0.0.1", 0, policy, serve, timeouts=timeouts or Timeouts(artim=5.0))
    held.append(Running(listener))
    return held[0]


@pytest.fixture(scope="module", autouse=True)
def _leave_nothing_to_the_collector() -> Iterator[None]:
    """Coroutines that a collection ends inside `ast.parse` make it fail in CPython 3.11 (its issue 106905)."""
    yield
    gc.collect()


@pytest.fixture
async def provider() -> AsyncIterator[Running]:
    """A provider that accepts everybody."""
    running = await start()
    async with running.listener:
        yield running
