"""C-FIND of Query/Retrieve (PS3.4 C.4.1) as Search (PS3.18 10.6); its laws are those of `answering`."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.dicom.status import Progress
from app.errors import FileroomError
from dimse_bridge.archive_client.archive import Archive, Item, Parameters
from dimse_bridge.association.association import Association, Message
from dimse_bridge.identifiers.answer import prepare_answers
from dimse_bridge.identifiers.keys import PATIENT_COUNTS, in_portions, read_level, to_search, unsupported_keys
from dimse_bridge.identifiers.patients import patients_of
from dimse_bridge.identifiers.request import Identifier
from dimse_bridge.services.answering import Answering, fail, read

log = logging.getLogger("fileroom.bridge.find")

_PAGE = 500


async def serve(association: Association, message: Message, archive: Archive) -> None:
    """Answers one query. Raises what ends the association."""
    started = time.monotonic()
    try:
        query = _Query(association, message, await read(association, message, "find"))
        await query.answer(archive)
    except FileroomError as error:
        await message.drain()
        await fail(association, message, error)
    else:
        log.info("C-FIND", extra={"fields": query.told() | {"seconds": round(time.monotonic() - started, 4)}})


class _Query:
    """One query that can be asked."""

    def __init__(self, association: Association, message: Message, identifier: Identifier) -> None:
        self._association = association
        self._message = message
        self._identifier = identifier
        self._model = message.context.abstract_syntax
        self._level = read_level(identifier, self._model)
        self._behaviour = association.peer.behaviour
        warns = bool(unsupported_keys(identifier, self._level))
        self._answering = Answering(association, message, warns=warns)

    def told(self) -> dict[str, object]:
        """What the log says of it: no values."""
        return {
            "query_level": self._level,
            "keys": len(self._identifier.keys),
            "answers": self._answering.answers,
            "status": f"{self._answering.status:04X}",
        }

    async def answer(self, archive: Archive) -> None:
        """Sends the answers and the final response."""
        if self._level not in self._behaviour.query_levels:
            await self._answering.send([], Progress.DONE)
            return
        await self._answering.stream(self._pages(archive))

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
