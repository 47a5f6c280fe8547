"""The registry of DIMSE peers (ours): `/peers` and `/peers/{AET}`, beside the DICOMweb root, for administrators and
bridges."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from fastapi import Request, Response

from app.archive import peers as deed
from app.archive.context import Context
from app.dicom.peer import Peer
from app.dicomweb import routes
from app.dicomweb.responses import Whole, is_unchanged, not_modified
from app.errors import BadRequest

router = routes.router(tags=["Peers (ours, not of PS3.18)"])
_CREATED, _EMPTY = 201, 204


async def peers(request: Request) -> Response:
    """Every registered peer by AE title, and whether others may call: `{"unknown": "admit", "peers": {…}}`."""
    found = await deed.registered(_context(request))
    admits = request.app.state.settings.admits_unknown_peers
    body = {
        "unknown": "admit" if admits else "reject",
        "peers": {aet: peer.to_json() for aet, peer in found.items()},
    }
    return _answer(request, body)


async def peer(request: Request) -> Response:
    """One peer."""
    return _answer(request, (await deed.one(_context(request), request.path_params["aet"])).to_json())


async def register(request: Request) -> Response:
    """Registers a peer, or replaces what was known of it; members that are left out get their defaults."""
    try:
        value = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error
    given = Peer.from_json(request.path_params["aet"], value)
    created = await deed.register(_context(request), _principal(request), given)
    return Response(status_code=_CREATED if created else _EMPTY)


async def remove(request: Request) -> Response:
    """Forgets a peer; from the next second on it may not call any more."""
    await deed.remove(_context(request), _principal(request), request.path_params["aet"])
    return Response(status_code=_EMPTY)


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def _principal(request: Request) -> str:
    return str(request.scope.get("principal", "local"))


def _answer(request: Request, body: dict[str, Any]) -> Response:
    text = orjson.dumps(body)
    etag = f'"{hashlib.blake2b(text, digest_size=12).hexdigest()}"'
    headers = {"content-type": "application/json", "etag": etag, "cache-control": "private, no-cache"}
    return not_modified(headers) if is_unchanged(request.scope, etag) else Whole((text,), headers)


_OURS: dict[str, Any] = {"x-fileroom-extension": True}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": {"host": "127.0.0.1", "port": 11113}}
        },
    }
}
_ONE = "/peers/{aet:path}"
router.add_api_route("/peers", peers, methods=["GET", "HEAD"], openapi_extra=_OURS, name="peers")
router.add_api_route(_ONE, peer, methods=["GET", "HEAD"], openapi_extra=_OURS, name="peer")
router.add_api_route(_ONE, register, methods=["PUT"], openapi_extra=_OURS | _BODY, name="register_peer")
router.add_api_route(_ONE, remove, methods=["DELETE"], openapi_extra=_OURS, name="remove_peer")
