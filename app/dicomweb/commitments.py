"""Storage Commitment Service (PS3.18 13): request, and result check."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request, Response

from app.archive import commitments as deed
from app.archive.commitments import Requester
from app.dicom.peer import Peer
from app.dicom.uid import is_uid, require_uid
from app.dicomweb import routes
from app.dicomweb.data_set_body import BODY, OFFERS, answer_data_set, check_accept, read_data_set
from app.dicomweb.json_body import context_of, principal_of
from app.dicomweb.responses import header
from app.errors import NotFound

router = routes.router(tags=["Storage commitment (PS3.18 13)"])
_WORKING = 202
_SECONDS = "5"


async def commit(request: Request) -> Response:
    """Asks to commit to the safekeeping of instances, which may still be on their way: 200 with the result, or 202."""
    offer = check_accept(request)
    context = context_of(request)
    uid = require_uid(request.path_params["transaction"], "the Transaction UID")
    content = await read_data_set(request, context.limits)
    peer: Peer | None = request.scope.get("peer")
    requester = Requester(principal_of(request))
    if peer is not None:
        called = unquote_to_bytes(header(request.scope, b"fileroom-called-ae")).decode("latin-1").strip()
        requester = Requester(principal_of(request), peer.ae_title, called)
    found = await deed.request(context, requester, uid, content)
    return _working() if found is None else answer_data_set(offer, found)


async def check(request: Request) -> Response:
    """The result of a request, or 202 while it is worked on."""
    offer = check_accept(request)
    uid = request.path_params["transaction"]
    if not is_uid(uid):
        raise NotFound("no such storage commitment request")
    peer: Peer | None = request.scope.get("peer")
    found = await deed.result(context_of(request), uid, None if peer is None else peer.ae_title)
    return _working() if found is None else answer_data_set(offer, found)


def _working() -> Response:
    return Response(status_code=_WORKING, headers={"retry-after": _SECONDS})


_ANSWERS: dict[str, Any] = {
    "responses": {
        "200": {"description": "The result", "content": {offer.accept: {} for offer in OFFERS}},
        "202": {"description": "The request is worked on"},
    }
}
_ONE = "/commitment-requests/{transaction}"
router.add_api_route(_ONE, commit, methods=["POST"], openapi_extra=_ANSWERS | BODY, name="request_commitment")
router.add_api_route(_ONE, check, methods=["GET", "HEAD"], openapi_extra=_ANSWERS, name="check_commitment")
