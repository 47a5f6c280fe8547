"""The registry of DICOMweb servers to which instances are sent."""

from __future__ import annotations

import orjson

from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.catalog.registry import DESTINATIONS
from app.dicom.destination import Destination, plain_name
from app.errors import BadRequest, NotFound


async def registered(context: Context) -> list[Destination]:
    """Every destination, by name."""
    rows = await DESTINATIONS.everyone(context.catalog)
    return [Destination.from_json(name, orjson.loads(text)) for name, text in rows]


async def one(context: Context, name: str) -> Destination:
    """The destination of this name; raises `NotFound`."""
    try:
        text = await DESTINATIONS.find(context.catalog, plain_name(name))
    except BadRequest:
        text = None
    if text is None:
        raise NotFound("no such destination")
    return Destination.from_json(name, orjson.loads(text))


async def register(context: Context, principal: str, destination: Destination) -> bool:
    """Registers a destination, or replaces what was known of it; whether it is new."""
    await context.audit(AuditEvent("register-destination", principal))
    text = orjson.dumps(destination.to_json(secret=True)).decode()
    return await DESTINATIONS.put(context.catalog, destination.name, text)


async def remove(context: Context, principal: str, name: str) -> None:
    """Forgets a destination; raises `NotFound`."""
    await context.audit(AuditEvent("remove-destination", principal))
    if not await DESTINATIONS.delete(context.catalog, name):
        raise NotFound("no such destination")
