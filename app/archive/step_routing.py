"""Performed procedure steps told on (PS3.4 F.7, PS3.18 15, as their user): the routes of the event `MESSAGES` say whom.
Each message that is taken becomes a job for each of them, in the transaction that keeps the step; a step that began to
be told is told to its end, whatever becomes of the route."""

from __future__ import annotations

from app.archive import routing
from app.archive.context import Context
from app.archive.routing import MESSAGES
from app.catalog.step_messages import NewMessage
from app.dicom.performed_step import Step, encode, text_of

_STATION = "00400241"
"""Performed Station AE Title."""


async def messages(context: Context, uid: str, step: Step) -> list[NewMessage]:
    """The messages that tell a new step, one for each destination."""
    station = text_of(step.data_set, _STATION)
    found: dict[tuple[str, str], NewMessage] = {}
    for route in await routing.registered(context):
        if route.enabled and route.event == MESSAGES and (not route.sources or station in route.sources):
            place = (route.target.queue, route.target.name)
            tries = route.tries or context.transfers.tries
            message = NewMessage(*place, f"route {route.name}", tries, {"echo": route.echo}, uid, encode(step.data_set))
            found.setdefault(place, message)
    return list(found.values())
