"""Delete and its undo. Ours: PS3.18 has no such transaction for studies, series and instances."""

from __future__ import annotations

import orjson
from fastapi import Request, Response

from app.archive import delete as deed
from app.archive.context import Context
from app.catalog.deletions import Deletion
from app.dicom.uid import require_uid
from app.dicomweb import addresses, routes
from app.errors import BadRequest

router = routes.router(tags=["Delete (ours, not of PS3.18)"])
_NAMES = ("study", "series", "instance")
_LISTED = 1000


def _principal(request: Request) -> str:
    return str(request.scope.get("principal", "local"))


async def delete(request: Request) -> Response:
    """Hides a study, series or instance; the answer names the deletion, which can be undone for a while."""
    context: Context = request.app.state.context
    uids = [require_uid(request.path_params[name], name) for name in _NAMES if name in request.path_params]
    deleted = await deed.delete(context, _principal(request), *uids)
    body = {
        "deletion": deleted.id,
        "instances": deleted.instances,
        "undo": f"{addresses.root(request)}/deletions/{deleted.id}/undo",
    }
    return Response(orjson.dumps(body), media_type="application/json")


async def undo(request: Request) -> Response:
    """Shows again what a deletion hid, less what was stored anew since."""
    number = request.path_params["deletion"]
    if not number.isdecimal() or len(number) > 18:
        raise BadRequest("a deletion is named by its number")
    shown = await deed.undo(request.app.state.context, _principal(request), int(number))
    return Response(orjson.dumps({"instances": shown}), media_type="application/json")


async def deletions(request: Request) -> Response:
    """The newest deletions."""
    found: list[Deletion] = await deed.listed(request.app.state.context, _LISTED)
    return Response(orjson.dumps(found), media_type="application/json")


_OURS = {"x-fileroom-extension": True}
for _path in (
    "/studies/{study}",
    "/studies/{study}/series/{series}",
    "/studies/{study}/series/{series}/instances/{instance}",
):
    router.add_api_route(_path, delete, methods=["DELETE"], openapi_extra=_OURS, name="delete")
router.add_api_route("/deletions", deletions, methods=["GET"], openapi_extra=_OURS, name="deletions")
router.add_api_route("/deletions/{deletion}/undo", undo, methods=["POST"], openapi_extra=_OURS, name="undo_deletion")
