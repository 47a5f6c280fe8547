"""The HL7 feed of the worklist: its listening sockets, opened before anything else runs, and what serves them."""

from __future__ import annotations

import socket

from app.archive.context import Context
from app.errors import CannotStart
from app.hl7.feed import Feed, FeedRules
from app.hl7.message import CODECS, place
from app.hl7.mllp import Door, read_networks, serve
from app.serving.listener import addresses, is_loopback, listen
from app.settings import Settings


def open_feed(settings: Settings) -> list[socket.socket]:
    """Sockets that listen where the settings say; none without a port. Raises `CannotStart`."""
    if not settings.hl7_port:
        return []
    rules_of(settings)
    _door(settings)
    reachable = [address for _, address in addresses(settings.hl7_host, 0) if not is_loopback(address)]
    if reachable and settings.hl7_plain != "anywhere":
        raise CannotStart(
            f"FILEROOM_HL7_HOST={settings.hl7_host} is {', '.join(reachable)}, which other machines can reach,\n"
            "and MLLP knows neither passwords nor encryption. Either\n"
            "  say so in words: FILEROOM_HL7_PLAIN=anywhere, and who may send: FILEROOM_HL7_ADDRESSES=10.0.0.7\n"
            "  or listen on this machine only: FILEROOM_HL7_HOST=127.0.0.1"
        )
    return listen(settings.hl7_host, settings.hl7_port)


async def serve_feed(context: Context, settings: Settings, sockets: list[socket.socket]) -> None:
    """Serves until cancelled."""
    await serve(sockets, Feed(context, rules_of(settings)).receive, _door(settings))


def rules_of(settings: Settings) -> FeedRules:
    """The rules of the feed; raises `CannotStart`."""
    if settings.hl7_character_set.upper() not in CODECS:
        raise CannotStart(f"FILEROOM_HL7_CHARACTER_SET: one of {', '.join(CODECS)} is needed")
    try:
        place(settings.hl7_station_field)
    except ValueError as error:
        raise CannotStart(f"FILEROOM_HL7_STATION_FIELD: {error}") from None
    return FeedRules(settings.hl7_character_set, settings.hl7_station_field)


def _door(settings: Settings) -> Door:
    try:
        return Door(read_networks(settings.hl7_addresses), settings.hl7_max_kib << 10)
    except ValueError:
        raise CannotStart("FILEROOM_HL7_ADDRESSES: numeric addresses or networks are needed") from None
