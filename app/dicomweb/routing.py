"""Rules by which instances are sent on (ours): `/routes` and `/routes/{name}`, for administrators."""

from __future__ import annotations

from fastapi import Request, Response

from app.archive import routing as deed
from app.archive.routing import Route
from app.dicomweb import routes as make
from app.dicomweb.json_body import CREATED, EMPTY, OURS, context_of, json_answer, principal_of, read_json, with_body

router = make.router(tags=["Routes (ours, not of PS3.18)"])


async def routes(request: Request) -> Response:
    """Every route by name."""
    return json_answer({one.name: one.to_json() for one in await deed.registered(context_of(request))})


async def route(request: Request) -> Response:
    """One route."""
    return json_answer((await deed.one(context_of(request), request.path_params["name"])).to_json())


async def put(request: Request) -> Response:
    """Adds a route, or replaces it: when an `instance` is stored, or a `series` or `study` has not changed for
    `seconds`, and it is found by a search for `where`, then it is sent to `peer` or `server`."""
    context = context_of(request)
    given = Route.from_json(request.path_params["name"], await read_json(request), context.quiet_seconds)
    created = await deed.put(context, principal_of(request), given)
    return Response(status_code=CREATED if created else EMPTY)


async def remove(request: Request) -> Response:
    """Removes a route; what it has queued stays."""
    await deed.remove(context_of(request), principal_of(request), request.path_params["name"])
    return Response(status_code=EMPTY)


_BODY = with_body({"event": "study", "seconds": 60, "where": {"ModalitiesInStudy": "CT"}, "server": "second"})
_ONE = "/routes/{name}"
router.add_api_route("/routes", routes, methods=["GET"], openapi_extra=OURS, name="routes")
router.add_api_route(_ONE, route, methods=["GET"], openapi_extra=OURS, name="route")
router.add_api_route(_ONE, put, methods=["PUT"], openapi_extra=_BODY, name="put_route")
router.add_api_route(_ONE, remove, methods=["DELETE"], openapi_extra=OURS, name="remove_route")
