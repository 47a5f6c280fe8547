"""Modality Performed Procedure Step Service (PS3.18 15): create, update, retrieve. Beside it, of ours: a list."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from app.archive import performed_steps as deed
from app.dicom.uid import is_uid, require_uid
from app.dicomweb import addresses, routes
from app.dicomweb.data_set_body import BODY, OFFERS, answer_data_set, check_accept, read_data_set
from app.dicomweb.json_body import OURS, context_of, json_answer, number_of, principal_of, with_query
from app.errors import BadRequest, NotFound

router = routes.router(tags=["Modality performed procedure steps (PS3.18 15)"])

RESOURCE = "/modality-performed-procedure-steps"
_CREATED, _OK = 201, 200
_LISTED, _MOST = 100, 1000


async def create_or_update(request: Request) -> Response:
    """Creates the step of this UID, which then is IN PROGRESS; with `?update` its attributes are set, until it is
    COMPLETED or DISCONTINUED. Answers are those of PS3.18 15.4.3 and 15.5.3; `reason` is the DIMSE status."""
    context = context_of(request)
    uid = _uid(request)
    content = await read_data_set(request, context.limits)
    if "update" in request.query_params:
        await deed.update(context, principal_of(request), uid, content)
        return Response(status_code=_OK)
    await deed.create(context, principal_of(request), uid, content)
    return Response(status_code=_CREATED, headers={"location": f"{addresses.root(request)}{RESOURCE}/{uid}"})


async def retrieve(request: Request) -> Response:
    """All attributes of a step."""
    offer = check_accept(request)
    uid = request.path_params["step"]
    if not is_uid(uid):
        raise NotFound("no such performed procedure step")
    return answer_data_set(offer, await deed.retrieve(context_of(request), uid))


async def listed(request: Request) -> Response:
    """The newest steps, or those of the study that `StudyInstanceUID` names; the study's `status` is COMPLETED when its
    steps have ended and every instance that they reference is there."""
    study = request.query_params.get("StudyInstanceUID", "")
    if study and not is_uid(study):
        raise BadRequest("StudyInstanceUID is no UID")
    found = await deed.of_study(context_of(request), study, number_of(request, "limit", _LISTED, _MOST))
    return json_answer({"study": study, "status": found.status, "steps": found.steps})


def _uid(request: Request) -> str:
    return require_uid(request.path_params["step"], "the SOP Instance UID")


_UPDATE: dict[str, Any] = {
    "parameters": [
        {
            "name": "update",
            "in": "query",
            "required": False,
            "allowEmptyValue": True,
            "schema": {"type": "string"},
            "description": "Update the step (PS3.18 15.5); without it, create it (15.4)",
        }
    ],
    "responses": {"201": {"description": "Created"}, "200": {"description": "Updated"}},
}
_STEP: dict[str, Any] = {
    "responses": {"200": {"description": "The step", "content": {offer.accept: {} for offer in OFFERS}}}
}
_LIST = with_query(StudyInstanceUID="Only the steps of this study", limit="Most steps")
_ONE = RESOURCE + "/{step}"
router.add_api_route(
    _ONE, create_or_update, methods=["POST"], openapi_extra=_UPDATE | BODY, name="create_performed_step"
)
router.add_api_route(_ONE, retrieve, methods=["GET", "HEAD"], openapi_extra=_STEP, name="performed_step")
router.add_api_route(RESOURCE, listed, methods=["GET", "HEAD"], openapi_extra=OURS | _LIST, name="performed_steps")
