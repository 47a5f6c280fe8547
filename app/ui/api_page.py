"""The page `/docs`: the OpenAPI document for people, as plain HTML that needs no script and no other host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI, Request, Response

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "code{font-family:ui-monospace,monospace}details{border-top:1px solid #8886;padding:.4rem 0}summary{cursor:pointer}"
    "b{display:inline-block;min-width:5.5rem}table{border-collapse:collapse}td,th{text-align:left;padding:.1rem .8rem "
    ".1rem 0;vertical-align:top}i{opacity:.7}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class ApiPage:
    """The page of one application, made at the first request."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._page = b""

    async def endpoint(self, request: Request) -> Response:
        """The page."""
        if not self._page:
            self._page = "".join(_page(self._app.openapi())).encode()
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(self._page, headers=headers, media_type="text/html")


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    yield f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>"
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
    yield '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault((operation.get("tags") or ["Other"])[0], []).append((method.upper(), path, operation))
    for tag, operations in groups.items():
        yield f"<h2>{escape(tag)}</h2>"
        for method, path, operation in operations:
            yield from _operation(method, path, operation)
    yield "</html>"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<details><summary><b>{method}</b><code>{escape(path)}</code></summary>"
    yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"
    parameters = [
        (f"{p['in']} <code>{escape(p['name'])}</code>", p.get("description", "")) for p in operation["parameters"]
    ]
    answers = [(f"<code>{escape(code)}</code>", a.get("description", "")) for code, a in operation["responses"].items()]
    for title, rows in (("Parameters", parameters), ("Answers", answers)):
        if rows:
            yield f"<table><tr><th colspan=2>{title}"
            yield from (f"<tr><td>{name}<td>{escape(text)}" for name, text in rows)
            yield "</table>"
    yield "</details>"
