"""C-FIND of Query/Retrieve (PS3.4 C.4.1) as Search (PS3.18 10.6). Its laws:

Answers leave while they come, page by page, and memory does not depend on their number. What cannot be told whole ends
with a failure, never with a short success. C-CANCEL is obeyed between answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from app.dicom.status import STATUSES, Outcome, Progress, outcome_of
from app.errors import FileroomError, Forbidden, IdentifierMismatch, SOPClassRefused
from dimse_bridge.archive_client.archive import Archive, Item, Parameters
from dimse_bridge.association.association import Association, Message
from dimse_bridge.association.commands import response
from dimse_bridge.identifiers.answer import prepare_answers
from dimse_bridge.identifiers.keys import PATIENT_COUNTS, in_portions, read_level, to_search, unsupported_keys
from dimse_bridge.identifiers.patients import patients_of
from dimse_bridge.identifiers.request import LIMITS, Identifier, read_identifier

log = logging.getLogger("fileroom.bridge.find")

_BATCH = 64
"""Answers between two looks whether the peer cancelled."""
_PAGE = 500
_FAILED = STATUSES[Outcome.UNREADABLE].dimse
_ALLOWED = frozenset(
    STATUSES[outcome].dimse
    for outcome in (Outcome.OVERLOADED, Outcome.IDENTIFIER_MISMATCH, Outcome.FORBIDDEN, Outcome.SOP_CLASS_REFUSED)
)
"""What a C-FIND may fail with besides Cxxx (PS3.4 Table C.4-1, PS3.7 9.1.2.1.5)."""
_UNABLE = range(0xC000, 0xD000)


async def serve(association: Association, message: Message, archive: Archive) -> None:
    """Answers one query. Raises what ends the association."""
    started = time.monotonic()
    try:
        query = _Query(association, message, await _read(association, message))
        await query.answer(archive)
    except FileroomError as error:
        await message.drain()
        await _fail(association, message, error)
    else:
        log.info("C-FIND", extra={"fields": query.told() | {"seconds": round(time.monotonic() - started, 4)}})


async def _read(association: Association, message: Message) -> Identifier:
    if "find" not in association.peer.may:
        raise Forbidden("this AE title may not query")
    if message.command.affected_sop_class not in (None, message.context.abstract_syntax):
        raise SOPClassRefused("the presentation context is for another SOP class")
    if not message.has_data_set:
        raise IdentifierMismatch("there is no identifier")
    return read_identifier(await message.data_set(LIMITS.part), message.context.transfer_syntax)


async def _fail(association: Association, message: Message, error: FileroomError) -> None:
    status = STATUSES[outcome_of(error)].dimse
    if status not in _ALLOWED and status not in _UNABLE:
        status = _FAILED
    status = association.peer.behaviour.find_failure or status
    offending = error.offending if isinstance(error, IdentifierMismatch) and error.offending else None
    log.warning("C-FIND: %s", error.detail, extra={"fields": {"status": f"{status:04X}"}})
    encoded = response(message.command, status, comment=error.detail, offending_element=offending)
    await association.send(message.context, encoded)


class _Query:
    """One query that can be asked."""

    def __init__(self, association: Association, message: Message, identifier: Identifier) -> None:
        self._association = association
        self._message = message
        self._identifier = identifier
        self._model = message.context.abstract_syntax
        self._level = read_level(identifier, self._model)
        self._behaviour = association.peer.behaviour
        self._answers = 0
        self._status = Progress.PENDING

    def told(self) -> dict[str, object]:
        """What the log says of it: no values."""
        return {
            "query_level": self._level,
            "keys": len(self._identifier.keys),
            "answers": self._answers,
            "status": f"{self._status:04X}",
        }

    async def answer(self, archive: Archive) -> None:
        """Sends the answers and the final response."""
        if self._level not in self._behaviour.query_levels:
            await self._send([], Progress.DONE)
            return
        async with aclosing(_ahead(self._pages(archive))) as pages:
            await self._stream(pages)

    async def _pages(self, archive: Archive) -> AsyncGenerator[list[bytes], None]:
        """Encoded answers. Answers about studies and patients are the same ones each time, those below seldom."""
        association = self._association
        answers = prepare_answers(
            self._identifier,
            self._level,
            self._message.context.transfer_syntax,
            ae_title=association.called,
            own_set=association.peer.character_set,
        )
        for portion in in_portions(self._identifier, self._model):
            path, parameters = to_search(portion, self._model, self._behaviour, patients=archive.ours)
            if self._level in ("PATIENT", "STUDY") and archive.ours:
                async with aclosing(archive.search_texts(path, parameters, page=_PAGE)) as texts:
                    async for page in texts:
                        yield [answers.encode_text(text) for text in page]
                continue
            async with aclosing(self._items(archive, path, parameters)) as results:
                async for items in results:
                    yield [answers.encode(item) for item in items]

    def _items(self, archive: Archive, path: str, parameters: Parameters) -> AsyncGenerator[list[Item], None]:
        pages = archive.search(path, parameters, page=_PAGE)
        if self._level != "PATIENT":
            return pages
        return patients_of(pages, counted=any(key.tag in PATIENT_COUNTS for key in self._identifier.keys))

    async def _stream(self, pages: AsyncIterator[list[bytes]]) -> None:
        """A batch stays until more is known, so that the last one leaves together with the final response."""
        batch: list[bytes] = []
        async for page in pages:
            batch += page
            while len(batch) > _BATCH:
                await self._send(batch[:_BATCH])
                del batch[:_BATCH]
                await asyncio.sleep(0)
                if self._is_cancelled():
                    await self._send([], Progress.CANCELLED)
                    return
        await self._send(batch, Progress.CANCELLED if self._is_cancelled() else Progress.DONE)

    def _is_cancelled(self) -> bool:
        message_id = self._message.command.message_id
        return self._behaviour.find_cancel and message_id is not None and self._association.cancelled(message_id)

    async def _send(self, batch: list[bytes], last: Progress | None = None) -> None:
        """Pending responses with these identifiers, and the final response when `last` is given, in one write."""
        command = self._message.command
        messages: list[tuple[bytes, bytes | None]] = []
        if batch:
            missing = self._behaviour.pending_warning and unsupported_keys(self._identifier, self._level)
            status = Progress.PENDING_WITHOUT_OPTIONAL_KEYS if missing else Progress.PENDING
            pending = response(command, status, has_data_set=True)
            messages += [(pending, identifier) for identifier in batch]
            self._answers += len(batch)
        if last is not None:
            messages.append((response(command, last), None))
            self._status = last
        await self._association.send_all(self._message.context, messages)


async def _ahead(pages: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[list[bytes], None]:
    """The same pages, the next one being fetched while one is sent."""

    async def fetch() -> list[bytes] | None:
        return await anext(pages, None)

    coming = asyncio.create_task(fetch())
    try:
        while (page := await coming) is not None:
            coming = asyncio.create_task(fetch())
            yield page
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await pages.aclose()
