"""Retrieve Capabilities (PS3.18 8.9): what the OpenAPI document says of the DICOMweb resources, as a WADL document
(Annex H) or as OpenAPI. It follows the code, since the OpenAPI document does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import quoteattr

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import iter_route_contexts

from app.dicomweb import addresses, negotiate, routes
from app.dicomweb.negotiate import Offer

WADL = "application/vnd.sun.wadl+xml"
_OFFERS = (Offer(False, WADL), Offer(False, "application/xml"), Offer(False, "application/json"))
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<application xmlns="http://wadl.dev.java.net/2009/02">'


@dataclass(slots=True)
class Resource:
    """One step of a path: its operations by method, and the resources below it."""

    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: dict[str, Resource] = field(default_factory=dict)


async def capabilities(request: Request) -> Response:
    """Describes the service, or the resource that was asked and what is below it."""
    root = addresses.root(request)
    document = request.app.openapi()
    service = root.rpartition("/")[2]
    steps = [step for step in request.scope["path"].partition(f"/{service}")[2].split("/") if step]
    paths = {
        path: operations
        for path, operations in document["paths"].items()
        if path.startswith(f"/{service}/") and _is_at_or_below(path.split("/")[2:], steps)
    }
    accept = negotiate.accept_of_request(request.scope)
    offer = negotiate.choose(accept, _OFFERS)
    if offer is None:
        raise negotiate.refuse(accept, (), _OFFERS, addresses.resource(request))
    here = [operations for path, operations in paths.items() if len(path.split("/")) == len(steps) + 2]
    methods = sorted({"OPTIONS", *(method.upper() for operations in here for method in operations)})
    headers = {"Allow": ", ".join(methods), "Vary": "Accept"}
    if offer.media_type == "application/json":
        servers = [{"url": root.removesuffix(f"/{service}")}]
        return Response(orjson.dumps({**document, "servers": servers, "paths": paths}), 200, headers, offer.media_type)
    tree = _tree({path.removeprefix(f"/{service}/"): operations for path, operations in paths.items()})
    body = "".join((_HEAD, f"<resources base={quoteattr(root)}>", *_resources(tree), "</resources></application>"))
    return Response(body, 200, headers, offer.media_type)


def _is_at_or_below(template: list[str], steps: list[str]) -> bool:
    return len(template) >= len(steps) and all(
        name == step or name.startswith("{") for name, step in zip(template, steps, strict=False)
    )


def _tree(paths: dict[str, dict[str, Any]]) -> Resource:
    top = Resource()
    for path, operations in paths.items():
        node = top
        for step in path.split("/"):
            node = node.children.setdefault(step, Resource())
        node.operations = operations
    return top


def _resources(node: Resource) -> Iterator[str]:
    for step, child in sorted(node.children.items()):
        yield f"<resource path={quoteattr(step)}>"
        for method, operation in sorted(child.operations.items()):
            yield f"<method name={quoteattr(method.upper())} id={quoteattr(operation['operationId'])}>"
            yield from _request(operation)
            yield from _responses(operation)
            yield "</method>"
        yield from _resources(child)
        yield "</resource>"


def _request(operation: dict[str, Any]) -> Iterator[str]:
    yield "<request>"
    answers = operation["responses"].get("200", {}).get("content", {})
    if answers:
        yield f'<param name="Accept" style="header" default={quoteattr(next(iter(answers)))}>'
        yield from (f"<option value={quoteattr(media_type)}/>" for media_type in answers)
        yield "</param>"
    for parameter in operation["parameters"]:
        if parameter["in"] == "query":
            yield f'<param name={quoteattr(parameter["name"])} style="query"/>'
    for media_type in operation.get("requestBody", {}).get("content", {}):
        yield f"<representation mediaType={quoteattr(media_type)}/>"
    yield "</request>"


def _responses(operation: dict[str, Any]) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        if status.isdecimal():
            yield f"<response status={quoteattr(status)}>"
            yield from (f"<representation mediaType={quoteattr(m)}/>" for m in answer.get("content", {}))
            yield "</response>"


_DOCUMENT = {
    "responses": {
        "200": {"description": "A capabilities description", "content": {offer.accept: {} for offer in _OFFERS}}
    }
}


def router(described: Iterable[APIRouter]) -> APIRouter:
    """OPTIONS of the service and of every resource of the routers that are `described`."""
    made = routes.router(tags=["Capabilities (PS3.18 8.9)"])
    made.add_api_route("/", capabilities, methods=["OPTIONS"], openapi_extra=_DOCUMENT)
    paths = {route.path for other in described for route in iter_route_contexts(other.routes) if route.path}
    for path in ("", *sorted(paths)):
        made.add_api_route(path, capabilities, methods=["OPTIONS"], include_in_schema=False)
    return made
