"""Where clients see us: the public address of the DICOMweb root, from the setting, from a trusted proxy's headers
(RFC 7239 Forwarded, X-Forwarded-*), or from Host. It goes into BulkDataURI, RetrieveURL and Content-Location."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from fastapi import Request

_HOST = re.compile(r"(?:[0-9A-Za-z._~\-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_PREFIX = re.compile(r"(?:/[0-9A-Za-z._~!$&'()*+,;=:@%\-]+)*", re.ASCII)
_RESOURCES = ("/studies", "/series", "/instances", "/patients", "/modality-scheduled-procedure-steps")
_PLAIN_PORT = {"http": ":80", "https": ":443"}


def root(request: Request) -> str:
    """The address of the DICOMweb root as this client sees it, without a final slash: `http://host/dicom-web`."""
    scope = request.scope
    settings = scope["app"].state.settings
    if settings.public_root:
        return str(settings.public_root).rstrip("/")
    headers = {name: value for name, value in scope["headers"] if name in _NAMES}
    if not settings.trust_forwarded:
        host = headers.get(b"host", b"")
        return _address(scope["scheme"], host.decode("latin-1"), _own(scope), scope.get("root_path", ""), _path(scope))
    return _forwarded(headers, scope)


def resource(request: Request) -> str:
    """The address of the requested resource as this client sees it, without its query."""
    inside = str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))
    return root(request) + quote(inside.removeprefix(_path(request.scope)), safe="/,:")


_NAMES = frozenset(
    (b"host", b"forwarded", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix")
)


def _forwarded(headers: Mapping[bytes, bytes], scope: Mapping[str, Any]) -> str:
    given = forwarded_pairs(headers.get(b"forwarded", b"").decode("latin-1"))
    scheme = given.get("proto") or _first(headers, b"x-forwarded-proto") or str(scope["scheme"])
    host = given.get("host") or _first(headers, b"x-forwarded-host") or headers.get(b"host", b"").decode("latin-1")
    port = _first(headers, b"x-forwarded-port")
    if port.isdecimal() and len(port) <= 5 and ":" not in host.rpartition("]")[2]:
        host += f":{port}"
    prefix = _first(headers, b"x-forwarded-prefix").rstrip("/") or str(scope.get("root_path", ""))
    return _address(scheme, host, _own(scope), prefix, _path(scope))


def _first(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").partition(",")[0].strip()


def forwarded_pairs(header: str) -> dict[str, str]:
    """The parameters of the first element of a Forwarded header (RFC 7239 4): that of the proxy next to the client."""
    pairs = {}
    for pair in header.partition(",")[0].split(";"):
        name, _, value = pair.partition("=")
        pairs[name.strip().lower()] = value.strip().strip('"')
    return pairs


def _own(scope: Mapping[str, Any]) -> str:
    server = scope.get("server") or ("localhost", None)
    return str(server[0]) if server[1] is None else f"{server[0]}:{server[1]}"


def _path(scope: Mapping[str, Any]) -> str:
    """The path of the DICOMweb root inside the application."""
    path = str(scope["path"])
    cuts = [cut for name in _RESOURCES if (cut := path.find(name)) >= 0]
    inside = path[: min(cuts)] if cuts else path.rstrip("/")
    root_path = str(scope.get("root_path", ""))
    return inside.removeprefix(root_path) if root_path else inside


@lru_cache(256)
def _address(scheme: str, host: str, own: str, prefix: str, path: str) -> str:
    scheme = scheme.lower() if scheme.lower() in _PLAIN_PORT else "http"
    if _HOST.fullmatch(host) is None or _is_own_without_port(host, own):
        host = own
    if _PREFIX.fullmatch(prefix) is None:
        prefix = ""
    return f"{scheme}://{host.removesuffix(_PLAIN_PORT[scheme])}{prefix}{path}"


def _is_own_without_port(host: str, own: str) -> bool:
    """Whether a Host header names our own address and leaves out the port, as dicomweb-client's does."""
    address = own.rpartition(":")[0]
    return bool(address) and (host == address or (host == "localhost" and address in ("127.0.0.1", "[::1]", "::1")))
