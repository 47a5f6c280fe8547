"""The registry of DICOMweb servers to which instances are sent (ours): `/destinations` and `/destinations/{name}`, for
administrators. Tokens go in and never come out."""

from __future__ import annotations

from fastapi import Request, Response

from app.archive import destinations as deed
from app.dicom.destination import Destination
from app.dicomweb import routes
from app.dicomweb.json_body import (
    CREATED,
    EMPTY,
    OURS,
    context_of,
    json_answer,
    principal_of,
    read_json,
    with_body,
)

router = routes.router(tags=["Transfers (ours, not of PS3.18)"])


async def destinations(request: Request) -> Response:
    """Every registered destination by name."""
    found = await deed.registered(context_of(request))
    return json_answer({one.name: one.to_json() for one in found})


async def destination(request: Request) -> Response:
    """One destination; `token` says only whether there is one."""
    return json_answer((await deed.one(context_of(request), request.path_params["name"])).to_json())


async def register(request: Request) -> Response:
    """Registers a destination, or replaces what was known of it."""
    given = Destination.from_json(request.path_params["name"], await read_json(request))
    created = await deed.register(context_of(request), principal_of(request), given)
    return Response(status_code=CREATED if created else EMPTY)


async def remove(request: Request) -> Response:
    """Forgets a destination; transfers to it fail."""
    await deed.remove(context_of(request), principal_of(request), request.path_params["name"])
    return Response(status_code=EMPTY)


_BODY = with_body({"url": "https://archive.example/dicom-web", "token": "…", "keeps_syntaxes": False})
_ONE = "/destinations/{name}"
router.add_api_route("/destinations", destinations, methods=["GET"], openapi_extra=OURS, name="destinations")
router.add_api_route(_ONE, destination, methods=["GET"], openapi_extra=OURS, name="destination")
router.add_api_route(_ONE, register, methods=["PUT"], openapi_extra=_BODY, name="register_destination")
router.add_api_route(_ONE, remove, methods=["DELETE"], openapi_extra=OURS, name="remove_destination")
