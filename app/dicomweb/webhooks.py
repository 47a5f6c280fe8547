"""Webhooks (ours): `/webhooks` and `/webhooks/{name}`, for administrators. Each is told events of the change feed by
signed messages; its secret is shown once, when the archive made it."""

from __future__ import annotations

import time

from fastapi import Request, Response

from app.archive import webhooks as deed
from app.archive.webhooks import Webhook
from app.dicomweb import routes
from app.dicomweb.json_body import CREATED, EMPTY, OURS, context_of, json_answer, principal_of, read_json, with_body

router = routes.router(tags=["Changes (ours, not of PS3.18)"])


async def webhooks(request: Request) -> Response:
    """Every webhook by name."""
    return json_answer(await deed.registered(context_of(request)))


async def webhook(request: Request) -> Response:
    """One webhook: its `state`, the `position` in the feed up to which its receiver has everything, how the `last`
    message went and when the `next` one is due."""
    return json_answer(await deed.one(context_of(request), request.path_params["name"]))


async def put(request: Request) -> Response:
    """Adds a webhook, or replaces it and lets it go on. Without `secret` it keeps its own; a new one is given one,
    which the answer tells this once. `after` is the id of an event to begin behind; without it a new webhook begins
    with what happens next."""
    given = Webhook.from_json(request.path_params["name"], await read_json(request))
    is_new, secret = await deed.put(context_of(request), principal_of(request), given)
    if secret:
        return json_answer({"secret": secret}, CREATED)
    return Response(status_code=CREATED if is_new else EMPTY)


async def remove(request: Request) -> Response:
    """Removes a webhook."""
    await deed.remove(context_of(request), principal_of(request), request.path_params["name"])
    return Response(status_code=EMPTY)


async def ping(request: Request) -> Response:
    """Sends a message of type `ping` at once, and tells what came of it; `status` 0: no answer."""
    began = time.monotonic()
    answer = await deed.ping(context_of(request), principal_of(request), request.path_params["name"])
    told = {"taken": not answer.reason, "status": answer.status, "reason": answer.reason}
    return json_answer(told | {"seconds": round(time.monotonic() - began, 3)})


async def resume(request: Request) -> Response:
    """Lets a webhook that was set aside, is gone or waits after a failure go on at once where it stopped."""
    return json_answer(await deed.resume(context_of(request), principal_of(request), request.path_params["name"]))


_BODY = with_body({"url": "https://ris.example/fileroom", "kinds": ["study-quiet", "deleted"], "enabled": True})
_ONE = "/webhooks/{name}"
router.add_api_route("/webhooks", webhooks, methods=["GET"], openapi_extra=OURS, name="webhooks")
router.add_api_route(_ONE, webhook, methods=["GET"], openapi_extra=OURS, name="webhook")
router.add_api_route(_ONE, put, methods=["PUT"], openapi_extra=_BODY, name="put_webhook")
router.add_api_route(_ONE, remove, methods=["DELETE"], openapi_extra=OURS, name="remove_webhook")
router.add_api_route(f"{_ONE}/ping", ping, methods=["POST"], openapi_extra=OURS, name="ping_webhook")
router.add_api_route(f"{_ONE}/resume", resume, methods=["POST"], openapi_extra=OURS, name="resume_webhook")
