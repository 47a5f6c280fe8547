"""Retrieve from a peer into our archive: C-MOVE to us, or C-GET when the peer's behaviour says so (PS3.4 C.4.2, C.4.3).
The answer is a stream of Server-Sent Events: `progress` for each response of the peer, then `done` or `failed`.

Nothing of it is kept: whoever goes away ends the association, and what has come by then stays. A peer that fails within
a few seconds is answered for by the HTTP status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson

from app.dicom.status import Progress, RetrieveStatus
from app.dicom.uid import is_uid
from app.errors import BadRequest, FileroomError
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.association import Association, Message
from dimse_bridge.identifiers.request import Key
from dimse_bridge.remote.called import Called, failed, told
from dimse_bridge.remote.http import Pieces, Reply
from dimse_bridge.services.store import take
from dimse_bridge.user.get import Receiver, get
from dimse_bridge.user.identifiers import encode_identifier, key_of
from dimse_bridge.user.move import move
from dimse_bridge.user.remote import Retrieved

EVENTS = "text/event-stream"
Problem = Callable[[FileroomError], Mapping[str, object]]
_STUDY, _SERIES, _INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
_MOST_INSTANCES = 500
_AT_ONCE_SECONDS = 5.0
"""So long an answer waits for the peer's first response, to be able to say by its status that it failed."""
_ALIVE_SECONDS = 2.0
"""So often a stream says something, so that it is noticed soon when nobody reads it any more."""
_WELL = frozenset({Progress.DONE, RetrieveStatus.WITH_FAILURES})


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be retrieved: a study, a series of it, or instances of that."""

    study: str
    series: str = ""
    instances: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """Query/Retrieve Level."""
        return "IMAGE" if self.instances else "SERIES" if self.series else "STUDY"

    @property
    def keys(self) -> list[Key]:
        """The unique keys."""
        values = ((_STUDY, self.study), (_SERIES, self.series), (_INSTANCE, "\\".join(self.instances)))
        return [key_of((tag,), value) for tag, value in values if value]


def read_wish(body: bytes) -> Wish:
    """The wish that a body names as JSON: `study`, and perhaps `series`, and perhaps `instances` of it. Raises
    `BadRequest`."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error
    if not isinstance(value, dict) or not value.keys() <= {"study", "series", "instances"}:
        raise BadRequest("the body is an object with `study`, and perhaps `series` and `instances`")
    instances = value.get("instances", [])
    if not isinstance(instances, list) or len(instances) > _MOST_INSTANCES:
        raise BadRequest(f"`instances` is a list of at most {_MOST_INSTANCES} UIDs")
    wish = Wish(_uid(value.get("study")), _uid(value.get("series", ""), True), tuple(map(_uid, instances)))
    if wish.instances and not wish.series:
        raise BadRequest("`instances` need their `series`")
    encode_identifier(wish.keys, wish.level, "1.2.840.10008.1.2")
    return wish


def _uid(value: Any, may_be_empty: bool = False) -> str:
    if not isinstance(value, str) or not (is_uid(value) or (may_be_empty and not value)):
        raise BadRequest("UIDs are needed")
    return value


async def retrieve(peer: Called, wish: Wish, archive: Archive, problem: Problem) -> Reply:
    """Begins to retrieve. Raises `PeerFailed` or `PeerSilent` when that shows within the first seconds."""
    if peer.behaviour.retrieve_with == "get":
        responses = get(peer, wish.level, wish.keys, receiver(peer.ae_title, archive))
    else:
        responses = move(peer, wish.level, wish.keys, peer.ours.title)
    ahead = _Ahead(_judged(peer, responses))
    try:
        await ahead.wait(_AT_ONCE_SECONDS)
        ahead.check()
    except BaseException:
        await ahead.aclose()
        raise
    return Reply(200, EVENTS, _events(ahead, problem))


def receiver(sender: str, archive: Archive) -> Receiver:
    """Stores what comes by C-GET in the peer's name, as if it had sent it by C-STORE."""

    async def receive(association: Association, message: Message) -> int:
        ours = archive.on_behalf(calling=sender, called=association.calling, association=association.identity)
        status, _ = await take(association, message, ours, sender)
        return status

    return receive


async def _judged(peer: Called, responses: AsyncGenerator[Retrieved, None]) -> AsyncGenerator[Retrieved, None]:
    """The responses; a final one that says failure is raised, unless this peer's statuses are ignored."""
    with told():
        async with aclosing(responses) as coming:
            async for response in coming:
                if response.is_final and response.status not in _WELL and not peer.behaviour.ignore_statuses:
                    raise failed(response.status, response.comment)
                yield response


class _Ahead:
    """Responses with a look ahead for the next one."""

    def __init__(self, responses: AsyncGenerator[Retrieved, None]) -> None:
        self._responses = responses
        self._next = self._ask()

    def _ask(self) -> asyncio.Task[Retrieved | None]:
        async def fetch() -> Retrieved | None:
            return await anext(self._responses, None)

        return asyncio.create_task(fetch())

    async def wait(self, seconds: float) -> bool:
        """Whether something has come within `seconds`."""
        await asyncio.wait((self._next,), timeout=seconds)
        return self._next.done()

    def check(self) -> None:
        """Raises what has come, if it is a failure."""
        if self._next.done():
            self._next.result()

    def take(self) -> Retrieved | None:
        """What has come; None after the last one. Raises the failure."""
        response = self._next.result()
        if response is not None:
            self._next = self._ask()
        return response

    async def aclose(self) -> None:
        """Ends the association, unless it has ended."""
        self._next.cancel()
        await asyncio.gather(self._next, return_exceptions=True)
        await self._responses.aclose()


async def _events(ahead: _Ahead, problem: Problem) -> Pieces:
    async with aclosing(ahead):
        while True:
            if not await ahead.wait(_ALIVE_SECONDS):
                yield b":\n\n"
                continue
            try:
                response = ahead.take()
            except FileroomError as error:
                yield event("failed", problem(error))
                return
            if response is None:
                return
            yield event("done" if response.is_final else "progress", _described(response))


def event(name: str, data: Mapping[str, object]) -> bytes:
    """One event (HTML Living Standard 9.2.5)."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def _described(response: Retrieved) -> dict[str, object]:
    counters = ("remaining", "completed", "failed", "warning")
    described: dict[str, object] = {"status": f"{response.status:04X}"}
    described |= {name: getattr(response, name) for name in counters}
    if response.is_final:
        described["comment"] = _printable(response.comment)
        described["failed_uids"] = list(map(_printable, response.failed_uids))
    return described


def _printable(text: Iterable[str]) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
