"""Those who come while others are inside wait, and go in together when all of these have left. Stores so share syncs
and commits: what comes with little company costs as much as what comes with much."""

from __future__ import annotations

import asyncio

ALONE = 8
"""Rounds of one in a row after which company is not expected: who comes then goes in at once, two turns of the loop
earlier."""


class Rounds:
    """For one event loop. Each `enter` that returned is followed by one `leave`."""

    def __init__(self) -> None:
        self.inside = 0
        """How many are in the round under way."""
        self._waiting: list[asyncio.Future[None]] = []
        self._opens = False
        self._alone = 0

    async def enter(self) -> None:
        """Returns when the next round begins: if none is under way, once all who are about to come have come."""
        if self._alone >= ALONE and not self.inside and not self._opens:
            self.inside = 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if not self.inside:
            self._open_soon()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """The last one to leave lets those in who wait."""
        self.inside -= 1
        if not self.inside and self._waiting:
            self._open_soon()

    def _open_soon(self) -> None:
        if not self._opens:
            self._opens = True
            asyncio.get_running_loop().call_soon(self._open)

    def _open(self) -> None:
        self._opens = False
        turns, self._waiting = self._waiting, []
        self.inside = len(turns)
        self._alone = self._alone + 1 if self.inside == 1 else 0
        for turn in turns:
            if not turn.done():
                turn.set_result(None)
