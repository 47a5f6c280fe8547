"""Watches every request: its id, its time and bytes, and what nobody else caught. The ASGI boundary of the archive."""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_left
from collections.abc import Callable
from itertools import count

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.telemetry.logging import request_id
from app.telemetry.metrics import Metrics, line

log = logging.getLogger("fileroom.http")

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SERVER_ERROR = 500
_CLIENT_LEFT = 499  # nginx's number for it
_LE = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")


class _Counters:
    """What is counted of one route and method: the histogram of times, the statuses and the bytes."""

    def __init__(self, metrics: Metrics, method: str, route: str) -> None:
        name = "fileroom_http_request_seconds"
        slot = metrics.own
        self._labels = {"method": method, "route": route}
        self._slot = slot
        self._values = slot.values
        self._buckets = [slot.index(line(f"{name}_bucket", method=method, route=route, le=le)) for le in _LE]
        self._sum = slot.index(line(f"{name}_sum", method=method, route=route))
        self._count = slot.index(line(f"{name}_count", method=method, route=route))
        self._sent = slot.index("fileroom_http_sent_bytes_total")
        self._received = slot.index("fileroom_http_received_bytes_total")
        self._statuses: dict[int, int] = {}

    def note(self, seconds: float, status: int, received: int, sent: int) -> None:
        """One request, with the bytes of its body and of its answer's."""
        values = self._values
        values[self._buckets[bisect_left(BUCKETS, seconds)]] += 1
        values[self._sum] += seconds
        values[self._count] += 1
        index = self._statuses.get(status)
        if index is None:
            text = line("fileroom_http_requests_total", **self._labels, status=str(status))
            index = self._statuses[status] = self._slot.index(text)
        values[index] += 1
        values[self._received] += received
        values[self._sent] += sent


class Observe:
    """Pure ASGI middleware. `answer` makes the answer to an exception that is our bug; `paths` are those that stand
    for themselves as routes, when nothing below says which route it was."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, answer: Callable[[Exception], ASGIApp], paths: frozenset[str]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._answer = answer
        self._paths = paths
        self._counters: dict[tuple[str, str], _Counters] = {}
        self._prefix = ""
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = f"{self._own_prefix()}{next(self._numbers):x}"
        token = request_id.set(name)
        exchange = _Exchange(receive, send, name.encode())
        started = time.perf_counter()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or _CLIENT_LEFT
        except Exception as error:
            log.exception(
                "a request failed", extra={"fields": {"method": scope["method"], "route": self._route(scope)}}
            )
            if exchange.status:
                raise
            await self._answer(error)(scope, receive, exchange.send)
        finally:
            self._note(scope, exchange, time.perf_counter() - started)
            request_id.reset(token)

    def _own_prefix(self) -> str:
        """Tells requests of different workers apart; made late, since workers are forked."""
        if not self._prefix:
            self._prefix = f"{os.getpid():x}{int(time.time()):x}-"
        return self._prefix

    def _note(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        method, route = scope["method"], self._route(scope)
        counters = self._counters.get((method, route)) or self._new_counters(method, route)
        counters.note(seconds, exchange.status, exchange.received, exchange.sent)
        level = logging.WARNING if exchange.status >= _SERVER_ERROR else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "answered", extra={"fields": _fields(scope, route, exchange, seconds)})

    def _route(self, scope: Scope) -> str:
        """The path's template, so that no UID becomes a label."""
        route = scope.get("route")
        if route is not None:
            return str(route.path)
        return scope["path"] if scope["path"] in self._paths else "none"

    def _new_counters(self, method: str, route: str) -> _Counters:
        counters = self._counters[method, route] = _Counters(self._metrics, method, route)
        return counters


class _Exchange:
    """One request's bytes and status. The answer gets the request's id."""

    __slots__ = ("_name", "_receive", "_send", "received", "sent", "status")

    def __init__(self, receive: Receive, send: Send, name: bytes) -> None:
        self._receive = receive
        self._send = send
        self._name = name
        self.received = 0
        self.sent = 0
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", self._name)]}
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)


def _fields(scope: Scope, route: str, exchange: _Exchange, seconds: float) -> dict[str, object]:
    parameters = scope.get("path_params", {})
    uids = {name: parameters[name] for name in ("study", "series", "instance") if name in parameters}
    facts: dict[str, object] = {"method": scope["method"], "route": route, "status": exchange.status}
    facts |= {"milliseconds": round(seconds * 1000, 2), "principal": scope.get("principal", "")}
    if "association" in scope:  # asked for by a bridge, in whose log the same association has a line
        facts |= {"association": scope["association"], "peer": scope["peer"].ae_title}
    return facts | uids
