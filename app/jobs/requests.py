"""What a transfer asks of another DICOMweb server besides Store: to commit to what it was sent (PS3.18 13), and to take
messages about performed procedure steps (15)."""

from __future__ import annotations

import orjson

from app.archive import transfers
from app.archive.context import Context
from app.archive.transfers import Asking
from app.catalog.step_messages import CREATE, Message
from app.dicom import commitment
from app.dicom.performed_step import ended_by
from app.errors import BadRequest, LimitExceeded, Unreadable
from app.jobs.stow import Server

_DONE, _WORKING, _CONFLICT = 200, 202, 409
_SUCCESSES = range(200, 300)


async def commit(context: Context, server: Server, asking: Asking) -> tuple[str, str]:
    """Asks for storage commitment, or for the result when that was done; outcome and reason. A result that is there is
    taken, which ends the lease."""
    path = f"/commitment-requests/{asking.uid}"
    if asking.is_asked:
        status, body = await server.ask("GET", path)
    else:
        data_set = orjson.dumps(commitment.request(asking.references))
        status, body = await server.ask("POST", path, data_set)
    if status == _DONE:
        try:
            result = commitment.read_result(_lone(body), context.limits)
        except (BadRequest, Unreadable, LimitExceeded) as error:
            return "again", f"the result of storage commitment cannot be read: {error.detail}"
        await transfers.committed(context, asking.uid, result)
        return "asked", ""
    if status == _WORKING and not asking.is_late:
        return "asked", ""
    if asking.is_asked:  # it is late, or the server has forgotten it
        await transfers.uncommitted(context, asking.uid)
        return "asked", ""
    return "again", f"storage commitment was refused: the server answered {status}"


async def tell(server: Server, uid: str, message: Message, tries: int) -> tuple[str, str]:
    """Tells a message about a performed procedure step; outcome and reason. What an earlier try may have brought counts
    as told: the answer to it may have been lost."""
    is_new = message.operation == CREATE
    path = f"/modality-performed-procedure-steps/{uid}" + ("" if is_new else "?update")
    status, _ = await server.ask("POST", path, message.body)
    if status in _SUCCESSES:
        return "ended", ""
    if status == _CONFLICT and (is_new or (tries > 1 and ended_by(orjson.loads(message.body)))):
        return "ended", "the server has it already"
    return "again", f"the server answered {status}"


def _lone(body: bytes) -> object:
    """The data set of an answer: an object, or an array of one. Raises `BadRequest`."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest("this is no JSON") from error
    return content[0] if isinstance(content, list) and len(content) == 1 else content
