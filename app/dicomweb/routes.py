"""The route class of the DICOMweb door: in the OpenAPI document like any other, without per-request validation.

Handlers take the request and give a response; they read parameters themselves: PS3.18 names most of them by tag."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

Handler = Callable[[Request], Awaitable[Response]]


class HotRoute(APIRoute):
    """Calls the endpoint with the request and sends what it returns."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The endpoint itself, without dependency solving and serialisation."""
        return self.endpoint


def router(**options: Any) -> APIRouter:
    """An `APIRouter` whose routes are `HotRoute`s."""
    return APIRouter(route_class=HotRoute, **options)
