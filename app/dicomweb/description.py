"""The OpenAPI document: what FastAPI knows of the routes, and what all of them have in common."""

from __future__ import annotations

import re
import warnings
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

_ABOUT = "A DICOMweb archive (PS3.18). Operations with `x-fileroom-extension` are ours, not of the standard."
_UID = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
_PATH_SCHEMAS: dict[str, dict[str, object]] = {
    "study": _UID,
    "series": _UID,
    "instance": _UID,
    "step": _UID,
    "transaction": _UID,
    "deletion": {"type": "integer", "minimum": 1},
}
_PROBLEM = {
    "description": "What went wrong (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"type": "object"}}},
}


class Described(FastAPI):
    """An application whose OpenAPI document is complete though its handlers read their parameters themselves.

    Requests pass `entrance` first, which hands on what is not its own to `inside`: FastAPI's own layers cost as much as
    a tenth of a small store, and the hot routes need none of them."""

    entrance: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if self.entrance is None or scope["type"] != "http":
            await self.inside(scope, receive, send)
        else:
            await self.entrance(scope, receive, send)

    async def inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's router, with its layers."""
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # GET and HEAD of one route share an operation ID until we name them
                document = super().openapi()
            document["info"]["description"] = _ABOUT
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["token"] = {"type": "http", "scheme": "bearer"}
            document["security"] = [{}, {"token": []}]
            for path, operations in document["paths"].items():
                operations.pop("head", None)  # GET without a body: one description is enough
                for method, operation in operations.items():
                    operation["operationId"] = re.sub(r"\W+", "_", f"{method}{path}").rstrip("_")
                    _complete(path, operation)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Adds the parameters of the path, and the answer to whatever goes wrong; names each tag once."""
    operation["tags"] = list(dict.fromkeys(operation.get("tags", ())))
    parameters = operation.setdefault("parameters", [])
    known = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    for name in re.findall(r"{(\w+)}", path):
        if name not in known:
            schema = _PATH_SCHEMAS.get(name, {"type": "string"})
            parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    operation.get("responses", {}).pop("422", None)  # our answer to a wrong parameter is 400
    operation.setdefault("responses", {}).setdefault("default", _PROBLEM)
