"""Retrieve of frames (PS3.18 10.4.1.1.6): one or several frames of an instance, found by their recorded places."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from functools import lru_cache
from urllib.parse import unquote

from fastapi import Request, Response

from app.archive import frames, transcode
from app.archive.context import Context
from app.archive.decoded_frames import picture_of
from app.archive.frames import Place
from app.archive.retrieve import Instance
from app.dicom.limits import DEFAULT
from app.dicom.octets import Piece
from app.dicom.transfer_syntaxes import ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE, transfer_syntax
from app.dicomweb import addresses, negotiate
from app.dicomweb import multipart_writer as parts
from app.dicomweb.caches import piece_cache
from app.dicomweb.negotiate import Offer
from app.dicomweb.responses import (
    Pieces,
    Stream,
    Whole,
    describe,
    header,
    is_unchanged,
    not_modified,
    ranged,
)
from app.dicomweb.routes import router as make_router
from app.dicomweb.wado_document import FRAMES, retrieves
from app.errors import BadRequest, LimitExceeded
from app.pixels import targets

router = make_router(tags=["Retrieve"])


@router.api_route(
    "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}",
    **retrieves("Retrieve frames", FRAMES, ranges=True),
)
async def retrieve_frames(request: Request) -> Response:
    """Frames of one instance, in the order asked for."""
    address = request.scope["path_params"]
    numbers = frame_numbers(address["frames"])
    context: Context = request.app.state.context
    instance, places = await frames.find_frames(
        context, address["study"], address["series"], address["instance"], numbers
    )
    return await send_frames(request, instance, places, address["frames"])


@lru_cache(1024)
def frame_numbers(text: str) -> tuple[int, ...]:
    """The frame list of an address; raises `BadRequest` and `LimitExceeded` (`frame_list`)."""
    members = unquote(text).split(",")
    if len(members) > DEFAULT.frame_list:
        raise LimitExceeded("frame_list", f"more than {DEFAULT.frame_list} frames in one request")
    numbers = tuple(int(member) if _is_number(member) else 0 for member in members)
    if min(numbers) < 1:
        raise BadRequest("a frame list is numbers from 1, with commas between them")
    return numbers


def _is_number(text: str) -> bool:
    return 0 < len(text) <= 9 and text.isascii() and text.isdecimal()


async def send_frames(
    request: Request, instance: Instance, places: list[Place], name: str, *, whole: bool = False
) -> Response:
    """The values at `places`, each in its part, or alone when there is one and the client takes it so. `name` is what
    tells these places from others of the same instance; `whole`: it is no frame but all native frames together."""
    scope = request.scope
    offer = await _choose(request, instance, len(places) == 1, whole)
    name = name.replace(",", ".") if len(name) <= 32 else hashlib.sha256(name.encode()).hexdigest()[:32]
    made = is_made(instance, offer)
    kind = f"{offer.media_type.rpartition('/')[2]}{'-m' if offer.multipart else ''}"
    etag = f'"{instance.version}-f{name}-{kind}{f"-{offer.transfer_syntax[17:]}" if made else ""}"'
    boundary = parts.boundary_of((etag,)) if offer.multipart else b""
    headers = describe(etag, parts.content_type(boundary, offer.media_type) if boundary else offer.label)
    if is_unchanged(scope, etag):
        return not_modified(headers)
    if made:
        return await _transcoded(request, instance, places, offer, boundary, headers)
    context: Context = request.app.state.context
    if not boundary and frames.is_plain(instance, places[0]) and (header(scope, b"range") or scope["method"] == "HEAD"):
        place = places[0]
        return ranged(
            scope,
            headers,
            place.length,
            lambda at, size: frames.stored_span(context, instance, place.offset + at, size),
        )
    if len(places) == 1 and places[0].length <= frames.AT_ONCE and scope["method"] != "HEAD":
        value = await frames.value(context, piece_cache(request.app), instance, places[0])
        if boundary:
            value = [parts.part_head(boundary, offer.label, first=True), *value, parts.closing(boundary)]
        return Whole(value, headers)
    return _streamed(request, instance, places, offer, boundary, headers)


async def _choose(request: Request, instance: Instance, single: bool, whole: bool) -> Offer:
    """The representation to send. Only what the codecs would have to make needs a look at the pixels' attributes."""
    accept = negotiate.accept_of_request(request.scope)
    offers = negotiate.frame_offers(instance.transfer_syntax, single, () if whole else None)
    offers = negotiate.preferred(accept, offers)
    offer = negotiate.choose(accept, offers)
    if offer is not None and is_made(instance, offer):
        decoded = (await picture_of(request.app.state.context, instance)).decoded
        held = tuple(uid for uid in (*targets.NATIVE, *targets.COMPRESSED) if targets.holds(decoded, uid))
        if offer.transfer_syntax not in held:
            known = tuple(uid for uid in held if uid != instance.transfer_syntax)
            offers = negotiate.preferred(accept, negotiate.frame_offers(instance.transfer_syntax, single, known))
            offer = negotiate.choose(accept, offers)
    if offer is None:
        raise negotiate.refuse(accept, [instance.transfer_syntax], offers, addresses.resource(request))
    return offer


def is_made(instance: Instance, offer: Offer) -> bool:
    """Whether a codec makes what is sent."""
    if transfer_syntax(instance.transfer_syntax).encapsulated:
        uncompressed = (ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE)
        return (instance.transfer_syntax, offer.transfer_syntax) != uncompressed and (
            offer.transfer_syntax != instance.transfer_syntax
        )
    return offer.transfer_syntax != EXPLICIT_LE


async def _transcoded(
    request: Request, instance: Instance, places: list[Place], offer: Offer, boundary: bytes, headers: dict[str, str]
) -> Response:
    """Frames made by the codecs: one at once, several while they are sent."""
    context: Context = request.app.state.context
    picture = await picture_of(context, instance)
    made = transcode.frames_in(context, piece_cache(request.app), instance, picture, places, offer.transfer_syntax)
    if len(places) == 1 and request.scope["method"] != "HEAD":
        value: list[Piece] = [frame async for frame in made]
        if boundary:
            value = [parts.part_head(boundary, offer.label, first=True), *value, parts.closing(boundary)]
        return Whole(value, headers)

    async def pieces() -> Pieces:
        first = True
        async with aclosing(made):
            async for frame in made:
                yield parts.part_head(boundary, offer.label, first=first)
                yield frame
                first = False
        yield parts.closing(boundary)

    return Stream(pieces(), headers)


def _streamed(
    request: Request, instance: Instance, places: list[Place], offer: Offer, boundary: bytes, headers: dict[str, str]
) -> Response:
    sizes = [place.size for place in places]
    length = None if None in sizes else sum(size for size in sizes if size)
    first = parts.part_head(boundary, offer.label, first=True) if boundary else b""
    later = parts.part_head(boundary, offer.label) if boundary else b""
    closing = parts.closing(boundary) if boundary else b""
    if length is not None:
        length += len(first) + len(later) * (len(places) - 1) + len(closing)
    cache = piece_cache(request.app)

    async def pieces() -> Pieces:
        last = -1
        async for at, piece in frames.values(request.app.state.context, cache, instance, places):
            if at != last and boundary:
                yield later if at else first
            last = at
            yield piece
        if closing:
            yield closing

    return Stream(pieces(), headers, length=length)
