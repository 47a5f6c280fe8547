"""Live and ready are two questions: /healthz says that a worker answers, /readyz that it can store and search."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app.errors import FileroomError

CHECK_SECONDS = 3.0
_NOT_READY = 503
Check = Callable[[], Awaitable[None]]
"""Returns when its part works; raises a `FileroomError` that says what does not."""


async def healthz(request: Request) -> Response:
    """200: this process answers requests."""
    return _answer(200, {"status": "alive"})


def readyz(checks: Mapping[str, Check]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that is 200 when every part works, and 503 when one does not; its body names each part."""

    async def endpoint(request: Request) -> Response:
        """200: instances can be stored and found."""
        states = dict(zip(checks, await asyncio.gather(*map(_state, checks.values())), strict=True))
        ready = all(state == "ok" for state in states.values())
        return _answer(200 if ready else _NOT_READY, {"status": "ready" if ready else "not ready", **states})

    return endpoint


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except FileroomError as error:
        return error.detail
    except TimeoutError:
        return f"no answer in {CHECK_SECONDS:g} s"
    return "ok"


def _answer(status: int, body: dict[str, str]) -> Response:
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "5"} if status == _NOT_READY else {})
    return Response(orjson.dumps(body), status, headers, "application/json")
