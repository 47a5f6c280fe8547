"""CORS (Fetch standard, 3.2): lets pages of the origins in the settings call us, and read our errors too.

Outermost of all, so that an answer has its headers whoever made it. Tokens travel in Authorization, never in cookies,
so credentials are not allowed."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"
_MAX_AGE = b"600"
_EXPOSED = b"Content-Location, Content-Range, ETag, Link, Location, Retry-After, Warning, X-Request-ID, X-Total-Count"


class Cors:
    """Pure ASGI middleware. `origins` are such as `https://viewer.example`, or `*` for any."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._any = "*" in origins
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers preflights; adds headers to every other answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if scope["method"] == "OPTIONS" and origin and b"access-control-request-method" in headers:
            await self._answer_preflight(origin, headers, send)
            return
        added = self._headers(origin)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers if added else send)

    def _headers(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        if self._any:
            allowed = [(b"access-control-allow-origin", b"*")]
        elif origin in self._origins:
            allowed = [(b"access-control-allow-origin", origin or b""), (b"vary", b"Origin")]
        else:
            return [(b"vary", b"Origin")]
        return [*allowed, (b"access-control-expose-headers", _EXPOSED)] if origin else allowed

    async def _answer_preflight(self, origin: bytes, asked: dict[bytes, bytes], send: Send) -> None:
        allowed = self._any or origin in self._origins
        headers = [*self._headers(origin), (b"content-length", b"0")]
        if allowed:
            headers += [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _MAX_AGE)]
            if wanted := asked.get(b"access-control-request-headers"):
                headers.append((b"access-control-allow-headers", wanted))
            if b"access-control-request-private-network" in asked:
                headers.append((b"access-control-allow-private-network", b"true"))
        await send({"type": "http.response.start", "status": 204 if allowed else 403, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
