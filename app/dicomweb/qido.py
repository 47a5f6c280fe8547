"""Search, QIDO-RS (PS3.18 10.6): six resources, and `/patients`, which is ours.

What the answers have in common with those of other searches is in `app.dicomweb.search_answer`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response

from app.archive.search import Search
from app.dicom import media_types as media
from app.dicom.attributes import TABLE, Level
from app.dicom.query import Query, read_query
from app.dicom.uid import is_uid
from app.dicomweb import addresses, negotiate
from app.dicomweb.negotiate import Offer
from app.dicomweb.routes import router as make_router
from app.dicomweb.search_answer import next_page, respond
from app.errors import NotFound

router = make_router(tags=["Search"])

_OFFERS = (Offer(False, media.DICOM_JSON), Offer(False, media.JSON), Offer(True, media.DICOM_XML))
_DEPTH: dict[Level, int] = {"PATIENT": 0, "STUDY": 1, "SERIES": 2, "IMAGE": 3}


async def _search(request: Request, level: Level) -> Response:
    scope, state = request.scope, request.app.state
    accept = negotiate.accept_of_request(scope)
    offer = negotiate.choose(accept, _OFFERS)
    if offer is None:
        raise negotiate.refuse(accept, (), _OFFERS, addresses.resource(request))
    address = scope["path_params"]
    study, series = address.get("study", ""), address.get("series", "")
    if not all(is_uid(address[name]) for name in address):
        raise NotFound("no such resource")
    raw = scope["query_string"].decode("latin-1")
    pairs = parse_qsl(raw, keep_blank_values=True, errors="replace") if raw else []
    query = read_query(level, pairs, study=study, series=series, limits=state.context.limits)
    root = addresses.root(request)
    answer = await _deed(state).answer(query, root)
    following = _next_page(query, root, raw, answer.cursor) if answer.cursor else ""
    return respond(answer, offer, following=following, ignored=query.ignored)


def _deed(state: Any) -> Search:
    search: Search | None = getattr(state, "search", None)
    if search is None:
        search = state.search = Search(state.context)
    return search


def _next_page(query: Query, root: str, raw: str, cursor: str) -> str:
    path = {"PATIENT": "/patients", "STUDY": "/studies", "SERIES": "/series", "IMAGE": "/instances"}[query.level]
    if query.series:
        path = f"/series/{query.series}{path}"
    if query.study:
        path = f"/studies/{query.study}{path}"
    return next_page(root + path, raw, cursor)


# -- the OpenAPI document

_PARAMETERS = (
    ("includefield", "string", "Attributes to return besides the default ones: keywords or tags, or `all`"),
    ("fuzzymatching", "boolean", "Each word of a name begins some word of the stored name, in any order"),
    ("emptyvaluematching", "boolean", "Two quotation marks match attributes without a value (PS3.4 C.2.2.2.7)"),
    ("multiplevaluematching", "boolean", "Several values must all be there (PS3.4 C.2.2.2.8)"),
    ("limit", "integer", "Most results of the answer"),
    ("offset", "integer", "Results to skip"),
    ("cursor", "string", "Where the page begins: take it from the `Link` of the page before"),
    ("count", "boolean", "Tell the number of all results in `X-Total-Count` (ours)"),
)


def _parameter(name: str, kind: str, description: str) -> dict[str, object]:
    return {"name": name, "in": "query", "required": False, "schema": {"type": kind}, "description": description}


def _document(level: Level, named: Iterable[str]) -> dict[str, object]:
    """The parameters of a resource, those for attributes from the table of attributes."""
    keys = [row for row in TABLE if row.keyword not in ("SpecificCharacterSet", "RetrieveURL")]
    described = [
        _parameter(row.keyword, "string", f"({row.tag >> 16:04X},{row.tag & 0xFFFF:04X}), {row.vr}")
        for row in keys
        if _DEPTH[row.level] <= _DEPTH[level] or row.column
    ]
    paths = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": f"{name} UID"}
        for name in named
    ]
    return {
        "parameters": [*paths, *described, *(_parameter(*row) for row in _PARAMETERS)],
        "responses": {
            "200": {"description": "Results", "content": {offer.accept: {} for offer in _OFFERS}},
            "204": {"description": "No results"},
        },
        **({"x-fileroom-extension": True} if level == "PATIENT" else {}),
    }


def _options(level: Level, summary: str, *named: str) -> dict[str, Any]:
    return {"summary": summary, "openapi_extra": _document(level, named), "methods": ["GET", "HEAD"]}


@router.api_route("/patients", **_options("PATIENT", "Search for patients (not in PS3.18)"))
async def search_patients(request: Request) -> Response:
    """Patients, grouped from studies by issuer and ID."""
    return await _search(request, "PATIENT")


@router.api_route("/studies", **_options("STUDY", "Search for studies"))
async def search_studies(request: Request) -> Response:
    """All studies."""
    return await _search(request, "STUDY")


@router.api_route("/series", **_options("SERIES", "Search for series"))
async def search_series(request: Request) -> Response:
    """Series of all studies."""
    return await _search(request, "SERIES")


@router.api_route("/instances", **_options("IMAGE", "Search for instances"))
async def search_instances(request: Request) -> Response:
    """Instances of all studies."""
    return await _search(request, "IMAGE")


@router.api_route("/studies/{study}/series", **_options("SERIES", "Search for series of a study", "study"))
async def search_series_of_study(request: Request) -> Response:
    """Series of one study."""
    return await _search(request, "SERIES")


@router.api_route("/studies/{study}/instances", **_options("IMAGE", "Search for instances of a study", "study"))
async def search_instances_of_study(request: Request) -> Response:
    """Instances of one study."""
    return await _search(request, "IMAGE")


@router.api_route(
    "/studies/{study}/series/{series}/instances",
    **_options("IMAGE", "Search for instances of a series", "study", "series"),
)
async def search_instances_of_series(request: Request) -> Response:
    """Instances of one series."""
    return await _search(request, "IMAGE")
