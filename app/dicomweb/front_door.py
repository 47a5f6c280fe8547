"""The short way to the resources of PS3.18: one dictionary look-up by method and shape of the path.

FastAPI's router tries patterns in turn, inside five layers of middleware: they cost as much as storing a small one.
It keeps everything else: documents, unknown paths, methods that are not allowed, and the OpenAPI description."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.dicomweb.faults import problem
from app.dicomweb.routes import HotRoute
from app.errors import FileroomError


class FrontDoor:
    """ASGI middleware of `owner`: routes of `routers` below `prefix` at once, anything else by `app`."""

    def __init__(self, app: ASGIApp, owner: FastAPI, prefix: str, routers: Sequence[APIRouter]) -> None:
        self._app = app
        self._owner = owner
        self._prefix = f"{prefix}/"
        self._table: dict[tuple[str, str], tuple[HotRoute, tuple[str, ...]]] = {}
        for router in routers:
            for route in router.routes:
                if isinstance(route, HotRoute) and _is_regular(route.path):
                    self._add(route)

    def _add(self, route: HotRoute) -> None:
        names = tuple(step[1:-1] for step in route.path.split("/") if step.startswith("{"))
        shape = "/".join("*" if step.startswith("{") else step for step in route.path[1:].split("/"))
        for method in route.methods or ():
            self._table[method, shape] = (route, names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        route, scope["path_params"] = found
        scope["app"] = self._owner
        scope["route"] = route
        try:
            response = await route.endpoint(Request(scope, receive, send))
        except FileroomError as error:
            response = problem(error)
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[HotRoute, dict[str, str]] | None:
        path: str = scope["path"]
        if not path.startswith(self._prefix) or scope.get("root_path"):
            return None
        steps = path[len(self._prefix) :].split("/")
        values = steps[1::2]
        steps[1::2] = ["*"] * len(values)
        found = self._table.get((scope["method"], "/".join(steps)))
        if found is None:
            return None
        route, names = found
        return route, dict(zip(names, values, strict=True))


def _is_regular(path: str) -> bool:
    """Whether literal and variable steps alternate, so that the shape of a path tells them apart."""
    steps = path[1:].split("/")
    return all(step.startswith("{") == bool(at % 2) and ":" not in step for at, step in enumerate(steps))
