"""The registry of DIMSE peers: read by whoever runs a bridge, changed by administrators."""

from __future__ import annotations

import logging

import orjson

from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.catalog import peers
from app.dicom.peer import Peer, ae_title
from app.errors import BadRequest, NotFound

log = logging.getLogger("fileroom.peers")


async def registered(context: Context) -> dict[str, Peer]:
    """Every peer by AE title. One that we cannot read, such as a newer Fileroom's, is left out and logged."""
    found = {}
    for aet, text in await peers.everyone(context.catalog):
        try:
            found[aet] = Peer.from_json(aet, orjson.loads(text))
        except BadRequest as error:
            log.error("a peer in the catalog cannot be read: %s", error.detail)
    return found


async def one(context: Context, aet: str) -> Peer:
    """The peer of this AE title; raises `NotFound`."""
    title = ae_title(aet)
    text = await peers.find(context.catalog, title)
    if text is None:
        raise NotFound("no such peer")
    return Peer.from_json(title, orjson.loads(text))


async def register(context: Context, principal: str, peer: Peer) -> bool:
    """Registers a peer, or replaces what was known of it; whether it is new."""
    await context.audit(AuditEvent("register-peer", principal))
    return await peers.put(context.catalog, peer.ae_title, orjson.dumps(peer.to_json()).decode())


async def remove(context: Context, principal: str, aet: str) -> None:
    """Forgets a peer; raises `NotFound`."""
    await context.audit(AuditEvent("remove-peer", principal))
    if not await peers.delete(context.catalog, ae_title(aet)):
        raise NotFound("no such peer")
