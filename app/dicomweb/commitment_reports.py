"""Reports of storage commitment (ours): bridges take those that are due for DIMSE peers, by leases, and say what became
of them; and they hand over those that peers give us."""

from __future__ import annotations

import asyncio

import orjson
from fastapi import Request, Response

from app.archive import commitments as deed
from app.archive import transfers
from app.catalog.notices import Notices
from app.dicom.commitment import read_result
from app.dicom.uid import is_uid
from app.dicomweb import routes
from app.dicomweb.data_set_body import BODY, read_data_set
from app.dicomweb.json_body import (
    EMPTY,
    OURS,
    context_of,
    json_answer,
    number_of,
    read_json,
    with_body,
    with_query,
)
from app.dicomweb.responses import left
from app.errors import BadRequest

router = routes.router(tags=["Reports of storage commitment (ours, not of PS3.18)"])
_MOST_WAIT = 25


async def lease(request: Request) -> Response:
    """For bridges: a report that is due, or that of `transaction`; 204 when there is none within `wait` seconds."""
    wait = number_of(request, "wait", 0, _MOST_WAIT)
    transaction = request.query_params.get("transaction", "")
    if transaction and not is_uid(transaction):
        raise BadRequest("`transaction` is no UID")
    notices: Notices = request.app.state.notices
    claim = asyncio.ensure_future(deed.await_report(context_of(request), notices, wait, transaction))
    gone = asyncio.ensure_future(left(request.receive))
    try:
        await asyncio.wait({claim, gone}, return_when=asyncio.FIRST_COMPLETED)
        found = await claim if claim.done() else None  # nobody is there to take one
    finally:
        gone.cancel()
        claim.cancel()
    if found is None:
        return Response(status_code=EMPTY)
    token, report = found
    body = {
        "lease": token,
        "transaction": report.uid,
        "peer": report.requester,
        "called": report.called,
        "result": orjson.Fragment(report.result),
    }
    return json_answer(body)


async def told(request: Request) -> Response:
    """For bridges: the peer was told, or could not be for a `reason`."""
    value = await read_json(request)
    reason = value.get("reason", "") if isinstance(value, dict) else None
    if not isinstance(reason, str):
        raise BadRequest("`reason` is a text")
    plain = "".join(sign if sign.isprintable() else " " for sign in reason)
    await deed.told(context_of(request), request.path_params["lease"], plain)
    return Response(status_code=EMPTY)


async def take(request: Request) -> Response:
    """For bridges: the attributes of an N-EVENT-REPORT that answers a request of ours (PS3.4 Table J.3-2)."""
    context = context_of(request)
    result = read_result(await read_data_set(request, context.limits), context.limits)
    if not result.transaction:
        raise BadRequest("the report has no Transaction UID")
    await transfers.committed(context, result.transaction, result)
    return Response(status_code=EMPTY)


_LEASES = "/commitment-reports/leases"
_QUERY = with_query(wait=f"Seconds, at most {_MOST_WAIT}", transaction="Transaction UID of the report that is wanted")
router.add_api_route(_LEASES, lease, methods=["POST"], openapi_extra=_QUERY, name="lease_commitment_report")
router.add_api_route(
    _LEASES + "/{lease}", told, methods=["POST"], openapi_extra=with_body({"reason": ""}), name="told_commitment_report"
)
router.add_api_route(
    "/commitment-reports", take, methods=["POST"], openapi_extra=OURS | BODY, name="take_commitment_report"
)
