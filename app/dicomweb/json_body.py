"""JSON in and out of our own control resources, beside PS3.18."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request, Response

from app.archive.context import Context
from app.errors import BadRequest

EMPTY, CREATED = 204, 201
OURS: dict[str, Any] = {"x-fileroom-extension": True}


async def read_json(request: Request) -> Any:
    """The request's body; raises `BadRequest`."""
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error


def json_answer(value: object, status: int = 200, **headers: str) -> Response:
    """An answer that nobody keeps; arguments are header names with `_` for `-`."""
    more = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(orjson.dumps(value), status, {"cache-control": "no-store", **more}, "application/json")


def context_of(request: Request) -> Context:
    """The context of this worker."""
    context: Context = request.app.state.context
    return context


def principal_of(request: Request) -> str:
    """Who asks."""
    return str(request.scope.get("principal", "local"))


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """A whole number of the query string from 0 to `most`; raises `BadRequest`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        raise BadRequest(f"`{name}` is a whole number from 0 to {most}")
    return int(text)


def with_body(example: dict[str, Any]) -> dict[str, Any]:
    """For the OpenAPI document: the body is a JSON object."""
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return OURS | {"requestBody": {"required": True, "content": content}}


def with_query(**named: str) -> dict[str, Any]:
    """For the OpenAPI document: parameters of the query string and what they mean."""
    return OURS | {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": text}
            for name, text in named.items()
        ]
    }
