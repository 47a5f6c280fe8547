"""C-FIND of the Modality Worklist (PS3.4 K.4.1) as the search of the Modality Scheduled Procedure Step Service (PS3.18
14.4); its laws are those of `answering`. What the peer may see is the archive's to decide."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.errors import FileroomError
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.association import Association, Message
from dimse_bridge.identifiers.answer import prepare_answers
from dimse_bridge.identifiers.request import Identifier
from dimse_bridge.identifiers.worklist import to_search, unsupported_keys
from dimse_bridge.services.answering import Answering, fail, read

log = logging.getLogger("fileroom.bridge.worklist")

_PAGE = 500


async def serve(association: Association, message: Message, archive: Archive) -> None:
    """Answers one query. Raises what ends the association."""
    started = time.monotonic()
    try:
        identifier = await read(association, message, "worklist")
        answering = Answering(association, message, warns=bool(unsupported_keys(identifier)))
        await answering.stream(_pages(association, message, archive, identifier))
    except FileroomError as error:
        await message.drain()
        await fail(association, message, error)
        return
    told: dict[str, object] = {
        "keys": len(identifier.keys),
        "answers": answering.answers,
        "status": f"{answering.status:04X}",
        "seconds": round(time.monotonic() - started, 4),
    }
    log.info("worklist C-FIND", extra={"fields": told})


async def _pages(
    association: Association, message: Message, archive: Archive, identifier: Identifier
) -> AsyncGenerator[list[bytes], None]:
    """Encoded answers. Modalities ask the same again and again, so what became of a text is remembered."""
    syntax, own_set = message.context.transfer_syntax, association.peer.character_set
    answers = prepare_answers(identifier, None, syntax, own_set=own_set)
    path, parameters = to_search(identifier)
    async with aclosing(archive.search_texts(path, parameters, page=_PAGE)) as texts:
        async for page in texts:
            yield [answers.encode_text(text) for text in page]
