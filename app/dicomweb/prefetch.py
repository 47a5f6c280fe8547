"""Rules by which priors are prefetched (ours): `/prefetch-rules` and `/prefetch-rules/{name}`, for administrators."""

from __future__ import annotations

from fastapi import Request, Response

from app.archive import prefetch as deed
from app.archive.prefetch_rules import PrefetchRule
from app.dicomweb import routes as make
from app.dicomweb.json_body import CREATED, EMPTY, OURS, context_of, json_answer, principal_of, read_json, with_body

router = make.router(tags=["Prefetch of priors (ours, not of PS3.18)"])


async def rules(request: Request) -> Response:
    """Every rule by name."""
    return json_answer({one.name: one.to_json() for one in await deed.registered(context_of(request))})


async def rule(request: Request) -> Response:
    """One rule."""
    return json_answer((await deed.one(context_of(request), request.path_params["name"])).to_json())


async def put(request: Request) -> Response:
    """Adds a rule, or replaces it: for each worklist item that is found by a search for `where`, as soon as it comes or
    `hours` before its start, the `most` newest studies of its patient at `peer` or `server` are brought here that are
    of one of `modalities` and `body_parts` (`same`: as the item), and not older than `days`."""
    given = PrefetchRule.from_json(request.path_params["name"], await read_json(request))
    created = await deed.put(context_of(request), principal_of(request), given)
    return Response(status_code=CREATED if created else EMPTY)


async def remove(request: Request) -> Response:
    """Removes a rule; what it has queued stays."""
    await deed.remove(context_of(request), principal_of(request), request.path_params["name"])
    return Response(status_code=EMPTY)


_BODY = with_body({"peer": "PACS", "hours": 24, "modalities": ["same", "SR"], "most": 3, "days": 1825})
_ONE = "/prefetch-rules/{name}"
router.add_api_route("/prefetch-rules", rules, methods=["GET"], openapi_extra=OURS, name="prefetch_rules")
router.add_api_route(_ONE, rule, methods=["GET"], openapi_extra=OURS, name="prefetch_rule")
router.add_api_route(_ONE, put, methods=["PUT"], openapi_extra=_BODY, name="put_prefetch_rule")
router.add_api_route(_ONE, remove, methods=["DELETE"], openapi_extra=OURS, name="remove_prefetch_rule")
