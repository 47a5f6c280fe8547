"""Other DIMSE archives for web users (ours): `/peers/{AET}/echo`, `/studies…` and `/retrieve`. Shaped as PS3.18 10.6
where that has a shape; a bridge asks the peer, and its answer passes through while it comes."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import Request, Response

from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.archive.remote_peers import error_of, pieces
from app.dicom import media_types as media
from app.dicom.attributes import TABLE
from app.dicom.uid import is_uid
from app.dicomweb import negotiate, routes
from app.dicomweb.negotiate import Offer
from app.dicomweb.responses import Headers, Stream, Whole
from app.errors import NotFound

router = routes.router(tags=["Remote peers (ours, not of PS3.18)"])
_PASSED_ON = ("content-type", "warning")
_OFFERS = (Offer(False, media.DICOM_JSON), Offer(False, media.JSON))
_BELOW = ("series", "instances")


async def echo(request: Request) -> Response:
    """Asks the peer whether it answers (C-ECHO): `{"aet": …, "seconds": …}`."""
    return await _passed(request, "POST", "echo")


async def search(request: Request) -> Response:
    """Asks the peer by C-FIND; parameters as those of Search, values as the peer gives them."""
    accept = negotiate.accept_of_request(request.scope)
    offer = negotiate.choose(accept, _OFFERS)
    if offer is None:
        raise negotiate.refuse(accept, (), _OFFERS, request.url.path)
    address = request.path_params
    uids = {name: address[name] for name in ("study", "series") if name in address}
    if not all(map(is_uid, uids.values())):
        raise NotFound("no such resource")
    resource = "studies" + "".join(f"/{uid}/{below}" for uid, below in zip(uids.values(), _BELOW, strict=False))
    answer = await _passed(request, "GET", resource, query=request.scope["query_string"])
    if "content-type" in answer.headers:
        answer.headers["content-type"] = offer.media_type
    return answer


async def retrieve(request: Request) -> Response:
    """Has the peer send a study, a series or instances to this archive; the answer is a stream of Server-Sent Events:
    `progress` with the counters of its sub-operations, then `done` or `failed`. Going away ends it."""
    context: Context = request.app.state.context
    await context.audit(AuditEvent("retrieve-from-peer", str(request.scope.get("principal", "local"))))
    return await _passed(request, "POST", "retrieve", body=await request.body())


async def _passed(
    request: Request, method: str, resource: str, *, query: bytes = b"", body: bytes | None = None
) -> Response:
    context: Context = request.app.state.context
    answer = await context.bridges.ask(method, request.path_params["aet"], resource, query=query, body=body)
    if answer.status_code == 204:
        await answer.aclose()
        return Whole((), _headers(answer), 204)
    if answer.status_code != 200:
        raise await error_of(answer)
    return Stream(pieces(answer), _headers(answer))


def _headers(answer: httpx.Response) -> Headers:
    passed = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    return {"cache-control": "no-store", "x-content-type-options": "nosniff", "x-accel-buffering": "no"} | passed


# -- the OpenAPI document

_OURS: dict[str, Any] = {"x-fileroom-extension": True}
_PROBLEMS = {
    "404": {"description": "No such peer"},
    "409": {"description": "The peer is registered without an address"},
    "502": {"description": "The peer cannot be reached, refused or failed: `dimse_status` and `comment` say how"},
    "503": {"description": "No bridge can be reached"},
    "504": {"description": "The peer did not answer in time"},
}
_WISH = {"study": "1.2.3", "series": "1.2.3.1", "instances": ["1.2.3.1.1"]}


def _parameters() -> list[dict[str, object]]:
    meant = {
        "includefield": "Attributes to return besides the default ones: keywords or tags",
        "SpecificCharacterSet": "Character set of the request to the peer; that of the peer's registration otherwise",
        "limit": "Most results; the association is ended then",
        "offset": "Results to skip",
    }
    meant |= {row.keyword: row.keyword for row in TABLE if row.column}
    return [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": text}
        for name, text in meant.items()
    ]


def _document(ok: str, media_type: str, **more: Any) -> dict[str, Any]:
    answers = {"200": {"description": ok, "content": {media_type: {}}}} | _PROBLEMS
    return {"openapi_extra": _OURS | {"responses": answers} | more}


_PEER = "/peers/{aet:path}"
_SEARCHED = _document("Results", media.DICOM_JSON, parameters=_parameters())
_EVENTS = _document(
    "Events `progress`, then `done` or `failed`",
    "text/event-stream",
    requestBody={"required": True, "content": {media.JSON: {"schema": {"type": "object"}, "example": _WISH}}},
)
router.add_api_route(f"{_PEER}/echo", echo, methods=["POST"], name="echo_peer", **_document("It answers", media.JSON))
for _number, _path in enumerate(("/studies", "/studies/{study}/series", "/studies/{study}/series/{series}/instances")):
    _name = ("search_studies_of_peer", "search_series_of_peer", "search_instances_of_peer")[_number]
    router.add_api_route(f"{_PEER}{_path}", search, methods=["GET"], name=_name, **_SEARCHED)
router.add_api_route(f"{_PEER}/retrieve", retrieve, methods=["POST"], name="retrieve_from_peer", **_EVENTS)
