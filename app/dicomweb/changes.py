"""The change feed (ours): `/changes` as pages of JSON, or as Server-Sent Events that go on as long as the reader wants.
A reader keeps the id of the last event that it has dealt with, and misses nothing when it begins again there."""

from __future__ import annotations

import orjson
from fastapi import Request, Response

from app.archive import changes as deed
from app.catalog.changes import Change
from app.catalog.notices import CHANGES, Notices
from app.dicomweb import routes
from app.dicomweb.json_body import context_of, json_answer, number_of, with_query
from app.dicomweb.responses import Pieces, Stream, header
from app.errors import BadRequest, DatabaseDown

router = routes.router(tags=["Changes (ours, not of PS3.18)"])
_EVENTS = "text/event-stream"
_PAGE, _LARGEST_PAGE = 100, 1000
_MOST = (1 << 63) - 1
_HEARTBEAT_SECONDS = 15.0


async def changes(request: Request) -> Response:
    """What was stored, replaced, kept aside, deleted, undone or has become quiet, in the order in which it happened."""
    context = context_of(request)
    limit = number_of(request, "limit", _PAGE, _LARGEST_PAGE)
    if request.query_params.get("after") == "newest":
        after = await deed.newest(context)
    else:
        after = number_of(request, "after", 0, _MOST)
    if _EVENTS in header(request.scope, b"accept"):
        after = _last_event(request, after)
        await deed.page(context, after, 1)  # what cannot be read is refused before the stream begins
        return _stream(request, after)
    found = await deed.page(context, after, limit)
    return json_answer({"changes": [deed.described(one) for one in found], "next": found[-1].id if found else after})


def _last_event(request: Request, after: int) -> int:
    """Where a reader that lost its connection goes on (Last-Event-ID)."""
    known = header(request.scope, b"last-event-id")
    if not known:
        return after
    if not (known.isascii() and known.isdigit() and len(known) < 19):
        raise BadRequest("Last-Event-ID is no id of an event")
    return int(known)


def _stream(request: Request, after: int) -> Response:
    context, notices = context_of(request), request.app.state.notices

    async def events(cursor: int, notices: Notices) -> Pieces:
        async with notices.watch(CHANGES) as watch:
            yield b"retry: 1000\n\n"
            while not notices.is_leaving:
                try:
                    found = await deed.page(context, cursor, _LARGEST_PAGE)
                except DatabaseDown:
                    return  # the reader comes again with the id of its last event
                if found:
                    cursor = found[-1].id
                    yield b"".join(map(_event, found))
                elif not notices.is_leaving:
                    await watch.wait(_HEARTBEAT_SECONDS)
                    yield b":\n\n"

    headers = {"content-type": _EVENTS, "cache-control": "no-store", "x-accel-buffering": "no"}
    return Stream(events(after, notices), headers)


def _event(change: Change) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (change.id, change.kind.encode(), orjson.dumps(deed.described(change)))


_QUERY = with_query(
    after="`next` of the page before, or the id of an event; `newest`: behind all that is there",
    limit=f"Most events of a page, at most {_LARGEST_PAGE}",
)
router.add_api_route("/changes", changes, methods=["GET"], openapi_extra=_QUERY, name="changes")
