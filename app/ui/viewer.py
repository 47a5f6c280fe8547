"""The viewer at `/viewer/`: OHIF's files from the package, its page for every address that names no file, and the
configuration that this archive makes for it. Pages are public like `/docs`; the data they ask for needs its rights."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from fastapi import Request, Response

from app.errors import NotFound
from app.ui.viewer_config import script
from app.ui.viewer_package import HOW_TO_ADD, Asset, Package

ROOT = "/viewer"
_CONFIGURATION = "app-config.js"

_ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses of the viewer hold UIDs, and names that people searched for
}
"""Shared memory for volumes needs a page, and workers, that are cross-origin isolated."""

_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self' data: blob:; font-src 'self' data:; "
    "object-src 'self' blob:; frame-src 'self' blob:; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""Of the page only: a worker takes the policy of its own script, and the codecs make functions there from text."""

_KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}
_ASKED_AGAIN = {"Cache-Control": "no-cache"}


class Viewer:
    """The viewer of one application; `package` is None when none is installed. `public_root` is the address of the
    DICOMweb root when the setting names it; `dicomweb` its path in this application."""

    def __init__(self, package: Package | None, dicomweb: str, public_root: str = "") -> None:
        self._package = package
        self._configuration = script(urlsplit(public_root).path.rstrip("/") or dicomweb)
        self._own = package.base.removeprefix(f"{ROOT}/") if package else ""
        self._page_headers: Mapping[str, str] = {}
        if package:
            policy = _POLICY.format(scripts=" ".join(package.scripts))
            self._page_headers = {**_ISOLATED, **_ASKED_AGAIN, "Content-Security-Policy": policy}

    async def endpoint(self, request: Request) -> Response:
        """The file, or the page, that an address names; raises `NotFound`."""
        package = self._package
        if package is None:
            raise NotFound(f"the viewer is not installed: {HOW_TO_ADD}")
        name = str(request.scope["path_params"].get("path", ""))
        if name == _CONFIGURATION:
            return self._configure(request)
        if name.startswith(self._own):
            asset = package.files.get(name.removeprefix(self._own))
            if asset is not None:
                return await _answer(request, asset, {**_ISOLATED, **_KEPT})
        if PurePosixPath(name).suffix[1:].isalpha():  # of a file; the last component of a UID is a number
            raise NotFound("the viewer has no such file")
        return await _answer(request, package.page, self._page_headers)

    def _configure(self, request: Request) -> Response:
        etag = f'"{hashlib.sha256(self._configuration).hexdigest()[:32]}"'
        headers = {**_ISOLATED, **_ASKED_AGAIN, "ETag": etag}
        if _is_known(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(self._configuration, headers=headers, media_type="text/javascript")


async def _answer(request: Request, asset: Asset, headers: Mapping[str, str]) -> Response:
    coding = asset.coding_for(request.headers.get("accept-encoding", ""))
    etag = f'"{asset.sha256[:32]}-{coding}"'
    headers = {**headers, "ETag": etag, "Vary": "Accept-Encoding"}
    if _is_known(request, etag):
        return Response(status_code=304, headers=headers)
    content = await asyncio.to_thread(asset.read, coding)
    if coding != "identity":
        headers["Content-Encoding"] = coding
    return Response(content, headers={**headers, "Content-Type": asset.media_type})


def _is_known(request: Request, etag: str) -> bool:
    """Whether the client has it already (If-None-Match, RFC 9110 13.1.2)."""
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    return bool(known & {etag, "*"})
