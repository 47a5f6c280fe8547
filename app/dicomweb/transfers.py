"""Transfers (ours): `/transfers`, for people and programs that send instances on, and `/transfers/leases`, by which
bridges take those to DIMSE peers. A lease is also the address of the instances that it is about, for as long as it
stands, so that a bridge needs no right to read anything else."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import Request, Response

from app.archive import transfers as deed
from app.archive.transfers import Lease, Target
from app.catalog.notices import Notices
from app.catalog.queue import DIMSE, INSTANCE_STATES, PREFETCH, STATES, Job, JobInstance
from app.dicomweb import routes, wado
from app.dicomweb.json_body import (
    CREATED,
    EMPTY,
    OURS,
    context_of,
    json_answer,
    number_of,
    principal_of,
    read_json,
    with_body,
    with_query,
)
from app.dicomweb.responses import left
from app.errors import BadRequest, NotFound

router = routes.router(tags=["Transfers (ours, not of PS3.18)"])
_PAGE, _LARGEST_PAGE = 100, 1000
_MOST_WAIT = 25
_MOST = (1 << 62) - 1


async def create(request: Request) -> Response:
    """Queues a transfer of a study, a series of it or some instances, to a `peer` or a `server`; with `commit` storage
    commitment is asked for, and what is not committed is sent again."""
    asked = deed.Request.from_json(await read_json(request))
    job = await deed.create(context_of(request), principal_of(request), asked)
    return json_answer(_described(job), CREATED, location=f"/transfers/{job.id}")


async def transfers(request: Request) -> Response:
    """Transfers, the newest first; `next` is the `before` of the next page."""
    state, destination = (request.query_params.get(name, "") for name in ("state", "destination"))
    limit = number_of(request, "limit", _PAGE, _LARGEST_PAGE)
    before = number_of(request, "before", 0, _MOST)
    found = await deed.listed(context_of(request), before, state, destination, limit)
    body: dict[str, Any] = {"transfers": [_described(job) for job in found]}
    if found and len(found) == limit:
        body["next"] = found[-1].id
    return json_answer(body)


async def transfer(request: Request) -> Response:
    """One transfer."""
    return json_answer(_described(await deed.one(context_of(request), _number(request))))


async def instances(request: Request) -> Response:
    """What became of each instance of a transfer, page by page."""
    context, number = context_of(request), _number(request)
    await deed.one(context, number)
    limit = number_of(request, "limit", _PAGE, _LARGEST_PAGE)
    found = await deed.instances(context, number, number_of(request, "after", 0, _MOST >> 32), limit)
    body: dict[str, Any] = {"instances": [_instance(one) for one in found]}
    if found and len(found) == limit:
        body["next"] = found[-1].at
    return json_answer(body)


async def cancel(request: Request) -> Response:
    """Ends a transfer; what has arrived stays there."""
    return json_answer(_described(await deed.cancel(context_of(request), principal_of(request), _number(request))))


async def retry(request: Request) -> Response:
    """Begins again, at once, with what did not arrive."""
    return json_answer(_described(await deed.retry(context_of(request), principal_of(request), _number(request))))


async def lease(request: Request) -> Response:
    """For bridges: a transfer to a DIMSE peer that is due, or 204 when none came within `wait` seconds. `instances` are
    to be sent, or `commitment` is to be asked for, or a performed procedure `step` is to be told."""
    wait = number_of(request, "wait", 0, _MOST_WAIT)
    notices: Notices = request.app.state.notices
    claim = asyncio.ensure_future(deed.await_claim(context_of(request), notices, DIMSE, wait))
    gone = asyncio.ensure_future(left(request.receive))
    try:
        await asyncio.wait({claim, gone}, return_when=asyncio.FIRST_COMPLETED)
        found = await claim if claim.done() else None  # nobody is there to take one
    finally:
        gone.cancel()
        claim.cancel()
    return Response(status_code=EMPTY) if found is None else json_answer(_lease(found, context_of(request)))


async def report(request: Request) -> Response:
    """For bridges: renews a lease, tells what became of `instances`, and with `outcome` ends it."""
    value = await read_json(request)
    if not isinstance(value, dict):
        raise BadRequest("a report is a JSON object")
    context, token = context_of(request), request.path_params["lease"]
    await deed.report(context, token, deed.read_told(value.get("instances", [])))
    if "outcome" not in value:
        return json_answer({})
    outcome, reason = value["outcome"], value.get("reason", "")
    if outcome not in deed.OUTCOMES or not isinstance(reason, str):
        raise BadRequest(f"`outcome` is one of {', '.join(deed.OUTCOMES)}, and `reason` a text")
    return json_answer({"state": await deed.end(context, token, outcome, deed.plain(reason))})


async def leased_instance(request: Request) -> Response:
    """For bridges: an instance of a lease, as Retrieve gives it (PS3.18 10.4)."""
    address = request.path_params
    uids = (address["study"], address["series"], address["instance"])
    await deed.check_lease(context_of(request), address["lease"], *uids)
    return await wado.retrieve_instance(request)


def _number(request: Request) -> int:
    text = request.path_params["transfer"]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise NotFound("no such transfer")
    return int(text)


def _described(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": job.id,
        **_place(job),
        "state": STATES[job.shown_state],
        "reason": job.reason,
        "instances": {"total": job.total, "arrived": job.done, "refused": job.failed},
        "tries": job.tries,
        "most_tries": job.most_tries,
        "due": job.due_at.isoformat(),
        "order": job.order_key,
        "echo": bool(job.payload.get("echo")),
        "origin": job.origin,
        "created": job.created_at.isoformat(),
        "updated": job.updated_at.isoformat(),
    }
    if job.payload.get("commit"):
        asked = job.asked_at.isoformat() if job.asked_at else ""
        told["commit"] = {"committed": job.committed, "transaction": job.transaction_uid, "asked": asked}
    if job.step_uid:
        told["performed_step"] = job.step_uid
    return told


def _place(job: Job) -> dict[str, Any]:
    """What is done, and where to or where from."""
    if job.queue == PREFETCH:
        return {"kind": "prefetch", **job.payload["from"], "item": job.payload["key"]}
    return {"kind": "send", **Target(job.queue, job.destination).to_json()}


def _instance(one: JobInstance) -> dict[str, Any]:
    return {
        "study": one.study,
        "series": one.series,
        "instance": one.sop,
        "state": INSTANCE_STATES[one.state],
        "status": f"{one.status:04X}",
        "reason": one.reason,
    }


def _lease(found: Lease, context: Any) -> dict[str, Any]:
    job = found.job
    told: dict[str, Any] = {
        "lease": found.token,
        "seconds": context.transfers.lease_seconds,
        "transfer": job.id,
        "peer": job.destination,
        "echo": bool(job.payload.get("echo")),
        "more": len(found.due) + job.done + job.failed < job.total,
        "instances": [
            [one.at, one.study, one.series, one.sop, one.sop_class, one.transfer_syntax] for one in found.due
        ],
    }
    if found.asking is not None:
        told["commitment"] = {"transaction": found.asking.uid, "references": found.asking.references}
    if found.message is not None:
        told["step"] = {
            "uid": job.step_uid,
            "operation": found.message.operation,
            "attributes": orjson.Fragment(found.message.body),
            "tries": job.tries,
        }
    return told


_EXAMPLE = {"peer": "ORTHANC", "study": "1.2.3", "echo": True, "commit": True}
_REPORT = {"instances": [[1, 1, 0, ""]], "outcome": "ended", "reason": ""}
_LIST = with_query(
    state="Only transfers in this state: " + ", ".join(STATES),
    destination="Only transfers to this AE title or server",
    before="Only transfers with a smaller id",
    limit=f"Most transfers in the answer, at most {_LARGEST_PAGE}",
)
_INSTANCES = with_query(after="`next` of the page before", limit=f"Most instances, at most {_LARGEST_PAGE}")
_ONE, _LEASES = "/transfers/{transfer}", "/transfers/leases"
_LEASED = _LEASES + "/{lease}/studies/{study}/series/{series}/instances/{instance}"
router.add_api_route("/transfers", create, methods=["POST"], openapi_extra=with_body(_EXAMPLE), name="create_transfer")
router.add_api_route("/transfers", transfers, methods=["GET"], openapi_extra=_LIST, name="transfers")
router.add_api_route(
    _LEASES, lease, methods=["POST"], openapi_extra=with_query(wait=f"Seconds, at most {_MOST_WAIT}"), name="lease"
)
router.add_api_route(
    _LEASES + "/{lease}", report, methods=["POST"], openapi_extra=with_body(_REPORT), name="report_lease"
)
router.add_api_route(_LEASED, leased_instance, methods=["GET"], openapi_extra=OURS, name="leased_instance")
router.add_api_route(_ONE, transfer, methods=["GET"], openapi_extra=OURS, name="transfer")
router.add_api_route(f"{_ONE}/instances", instances, methods=["GET"], openapi_extra=_INSTANCES, name="sent_instances")
router.add_api_route(f"{_ONE}/cancel", cancel, methods=["POST"], openapi_extra=OURS, name="cancel_transfer")
router.add_api_route(f"{_ONE}/retry", retry, methods=["POST"], openapi_extra=OURS, name="retry_transfer")
