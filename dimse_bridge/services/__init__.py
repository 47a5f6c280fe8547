"""One file a DIMSE service; the table says which request (PS3.7 E.1, Command Field) is whose. A service answers its one
message and returns; it raises what ends the association."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.association.abstract_syntaxes import MODALITY_WORKLIST_FIND
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import C_ECHO_RQ, C_FIND_RQ, C_GET_RQ, C_STORE_RQ
from dimse_bridge.association.messages import Message
from dimse_bridge.services import echo, find, get, mpps, store, worklist

Service = Callable[[Association, Message, Archive], Awaitable[None]]


async def _find(association: Association, message: Message, archive: Archive) -> None:
    """C-FIND is an operation of two services: which one, the context tells."""
    is_worklist = message.context.abstract_syntax == MODALITY_WORKLIST_FIND
    await (worklist.serve if is_worklist else find.serve)(association, message, archive)


SERVICES: Mapping[int, Service] = MappingProxyType(
    {C_ECHO_RQ: echo.serve, C_FIND_RQ: _find, C_GET_RQ: get.serve, C_STORE_RQ: store.serve, **mpps.SERVICES}
)
