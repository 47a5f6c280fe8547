"""Modality Scheduled Procedure Step Service (PS3.18 14): search. Beside it, of ours: worklist items are created,
replaced, retrieved and deleted below the same resource, as DICOM JSON objects."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import Request, Response

from app.archive import worklist as deed
from app.archive import worklist_search
from app.archive.context import Context
from app.dicom import media_types as media
from app.dicom.query import read_query
from app.dicom.worklist_keys import KEYS, STEP_SEQUENCE
from app.dicomweb import addresses, negotiate, routes
from app.dicomweb.multipart import parse_content_type
from app.dicomweb.negotiate import Offer
from app.dicomweb.responses import Whole
from app.dicomweb.search_answer import next_page, respond
from app.errors import BadRequest, UnsupportedMediaType

router = routes.router(tags=["Worklist (PS3.18 14)"])

RESOURCE = "/modality-scheduled-procedure-steps"
_OFFERS = (
    Offer(False, media.DICOM_JSON),
    Offer(False, media.JSON),
    Offer(True, media.DICOM_JSON),
    Offer(True, media.DICOM_XML),
    Offer(False, media.DICOM_XML),
)
_TAKEN = frozenset({media.DICOM_JSON, media.JSON, ""})
_CREATED, _EMPTY = 201, 204


async def search(request: Request) -> Response:
    """Worklist items by the start of their steps. Keys inside the step are named by path, such as
    `ScheduledProcedureStepSequence.Modality`. A peer of the bridge sees what its behaviour lets it see."""
    scope = request.scope
    accept = negotiate.accept_of_request(scope)
    offer = negotiate.choose(accept, _OFFERS)
    if offer is None:
        raise negotiate.refuse(accept, (), _OFFERS, addresses.resource(request))
    raw = scope["query_string"].decode("latin-1")
    pairs = parse_qsl(raw, keep_blank_values=True, errors="replace") if raw else []
    context = _context(request)
    query = read_query("STUDY", pairs, limits=context.limits)
    answer = await worklist_search.search(context, query, pairs, scope.get("peer"))
    following = next_page(addresses.root(request) + RESOURCE, raw, answer.cursor) if answer.cursor else ""
    return respond(answer, offer, following=following, ignored=query.ignored)


async def create(request: Request) -> Response:
    """Adds an item and names it in Location. Patient ID and name, and inside the step modality and start date, are
    needed; Study Instance UID and the IDs of the requested procedure and the step are made when they are missing."""
    key = await deed.create(_context(request), _principal(request), await _item(request))
    return Response(status_code=_CREATED, headers={"location": f"{addresses.root(request)}{RESOURCE}/{key}"})


async def retrieve(request: Request) -> Response:
    """One item with all its attributes, one that is hidden by now, too."""
    text = await deed.retrieve(_context(request), request.path_params["item"])
    return Whole((text,), {"content-type": media.DICOM_JSON, "cache-control": "private, no-cache"})


async def register(request: Request) -> Response:
    """Adds an item under a name of the sender's choice, or replaces the one of that name: may be sent again."""
    item = await _item(request)
    created = await deed.register(_context(request), _principal(request), request.path_params["item"], item)
    return Response(status_code=_CREATED if created else _EMPTY)


async def remove(request: Request) -> Response:
    """Removes an item for good."""
    await deed.remove(_context(request), _principal(request), request.path_params["item"])
    return Response(status_code=_EMPTY)


async def _item(request: Request) -> object:
    """The DICOM JSON object of the body; an array of one object will do."""
    given = request.headers.get("content-type", "")
    if (parse_content_type(given).type if given else "") not in _TAKEN:
        raise UnsupportedMediaType(f"a worklist item is {media.DICOM_JSON}")
    try:
        content = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error
    if isinstance(content, list) and len(content) == 1:
        return content[0]
    return content


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def _principal(request: Request) -> str:
    return str(request.scope.get("principal", "local"))


def _parameters() -> list[dict[str, object]]:
    """The keys of the table that can be matched, and the parameters of all searches."""
    found = []
    for key in KEYS:
        row = key.attribute
        if row.vr != "SQ" and row.keyword != "SpecificCharacterSet":
            name = f"{STEP_SEQUENCE:08X}.{row.hex}" if key.in_step else row.keyword
            found.append((name, "string", f"{row.keyword}, {row.vr}"))
    found += [
        ("includefield", "string", "Attributes to return besides those of PS3.4 Table K.6-1, or `all`"),
        ("fuzzymatching", "boolean", "Each word of a name begins some word of the stored name, in any order"),
        ("limit", "integer", "Most results of the answer"),
        ("offset", "integer", "Results to skip"),
        ("cursor", "string", "Where the page begins: take it from the `Link` of the page before"),
        ("count", "boolean", "Tell the number of all results in `X-Total-Count` (ours)"),
    ]
    return [
        {"name": name, "in": "query", "required": False, "schema": {"type": kind}, "description": text}
        for name, kind, text in found
    ]


_SEARCH: dict[str, Any] = {
    "parameters": _parameters(),
    "responses": {
        "200": {"description": "Worklist items", "content": {offer.accept: {} for offer in _OFFERS}},
        "204": {"description": "No worklist items"},
    },
}
_OURS: dict[str, Any] = {"x-fileroom-extension": True}
_BODY = {"requestBody": {"required": True, "content": {media.DICOM_JSON: {"schema": {"type": "object"}}}}}
_ONE = RESOURCE + "/{item}"
router.add_api_route(
    RESOURCE, search, methods=["GET", "HEAD"], openapi_extra=_SEARCH, name="search_modality_scheduled_procedure_steps"
)
router.add_api_route(RESOURCE, create, methods=["POST"], openapi_extra=_OURS | _BODY, name="create_worklist_item")
router.add_api_route(_ONE, retrieve, methods=["GET", "HEAD"], openapi_extra=_OURS, name="worklist_item")
router.add_api_route(_ONE, register, methods=["PUT"], openapi_extra=_OURS | _BODY, name="register_worklist_item")
router.add_api_route(_ONE, remove, methods=["DELETE"], openapi_extra=_OURS, name="remove_worklist_item")
