"""Retrieve of bulkdata and pixel data (PS3.18 10.4.1.1.5, 10.4.1.1.7): the values that metadata names by
BulkDataURI."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from fastapi import Request, Response

from app.archive import bulk, frames, transcode
from app.archive.bulk import BulkValue
from app.archive.context import Context
from app.archive.decoded_frames import picture_of
from app.archive.frames import PieceCache, Place
from app.archive.retrieve import Instance
from app.dicom import media_types as media
from app.dicom.octets import Piece
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from app.dicomweb import addresses, negotiate
from app.dicomweb import multipart_writer as parts
from app.dicomweb.caches import piece_cache
from app.dicomweb.negotiate import Offer
from app.dicomweb.responses import Pieces, Stream, Whole, describe, is_unchanged, not_modified, ranged
from app.dicomweb.routes import router as make_router
from app.dicomweb.wado_document import FRAMES, PARTS, VALUE, retrieves
from app.dicomweb.wado_frames import is_made, send_frames
from app.errors import NotFound

router = make_router(tags=["Retrieve"])
_SERIES = "/studies/{study}/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_NATIVE_ONLY = (EXPLICIT_LE,)
"""What bulk values are transcoded to: they are too many for a look at each one's attributes."""
_INLINE = (
    "application/pdf",
    "image/jpeg",
    "image/png",
    "video/mp4",
    "video/mpeg",
    "model/stl",
    "model/obj",
    "text/plain",
)
"""Types of encapsulated documents that a browser may open under our address; others are saved, and cannot run
scripts."""


@router.api_route(_INSTANCE + "/bulkdata/{path:path}", **retrieves("Retrieve a bulk value", VALUE, ranges=True))
async def retrieve_value(request: Request) -> Response:
    """One value, named by its tag path."""
    context: Context = request.app.state.context
    instance, values = await _find(request)
    value = bulk.pick(instance, values, request.scope["path_params"]["path"])
    if value.is_pixels:
        return await _pixels(request, instance, value)
    mime = await bulk.document_type(context, instance, value)
    offers = _document_offers(mime)
    accept = negotiate.accept_of_request(request.scope)
    offer = negotiate.choose(accept, offers)
    if offer is None:
        raise negotiate.refuse(accept, (), offers, addresses.resource(request))
    etag = f'"{instance.version}-b{value.path.replace("/", ".")}{"-m" if offer.multipart else ""}"'
    if offer.multipart:
        return _one_part(request, instance, value, offer, etag)
    headers = describe(etag, offer.media_type)
    if offer.media_type not in _INLINE:
        headers["content-disposition"] = "attachment"
        headers["content-security-policy"] = "sandbox"
    if is_unchanged(request.scope, etag):
        return not_modified(headers)
    return _alone(request, instance, value, headers)


@router.api_route(_INSTANCE + "/pixeldata", **retrieves("Retrieve the pixel data", FRAMES, ranges=True))
async def retrieve_pixel_data(request: Request) -> Response:
    """The whole value of native pixel data, or every frame of encapsulated pixel data."""
    instance, values = await _find(request)
    return await _pixels(request, instance, bulk.pixels(instance, values))


@router.api_route("/studies/{study}/bulkdata", **retrieves("Retrieve all bulk values of a study", PARTS))
@router.api_route(_SERIES + "/bulkdata", **retrieves("Retrieve all bulk values of a series", PARTS))
@router.api_route(_INSTANCE + "/bulkdata", **retrieves("Retrieve all bulk values of an instance", PARTS))
async def retrieve_values(request: Request) -> Response:
    """Every bulk value, each in its part with its address."""
    return await _all_values(request, lambda value: True)


@router.api_route("/studies/{study}/pixeldata", **retrieves("Retrieve the pixel data of a study", PARTS))
@router.api_route(_SERIES + "/pixeldata", **retrieves("Retrieve the pixel data of a series", PARTS))
async def retrieve_all_pixel_data(request: Request) -> Response:
    """The pixel data of all instances, each value or compressed frame in its part with its address."""
    return await _all_values(request, lambda value: value.is_pixels)


async def _all_values(request: Request, wanted: Callable[[BulkValue], bool]) -> Response:
    context: Context = request.app.state.context
    address = request.scope["path_params"]
    found = await bulk.find_all(context, address["study"], address.get("series"), address.get("instance"))
    chosen = [
        (instance, value)
        for instance, values in found
        for value in values
        if wanted(value) and (instance.frame_count or not value.is_encapsulated)
    ]
    if not chosen:
        raise NotFound("there are no such bulk values")
    accept = negotiate.accept_of_request(request.scope)
    choices = {offers: negotiate.choose(accept, offers) for offers in {_part_offers(*one) for one in chosen}}
    for offers, choice in choices.items():
        if choice is None:
            stored = [instance.transfer_syntax for instance, _ in chosen]
            raise negotiate.refuse(accept, stored, offers, addresses.resource(request))
    kept: list[Offer] = [choices[_part_offers(*one)] for one in chosen]  # type: ignore[misc]
    content = [f"{one[0].version} {one[1].path} {offer.label}" for one, offer in zip(chosen, kept, strict=True)]
    etag = f'"{parts.boundary_of(content).decode()}-b"'
    boundary = parts.boundary_of((etag,))
    headers = describe(etag, parts.content_type(boundary, kept[0].media_type))
    if is_unchanged(request.scope, etag):
        return not_modified(headers)
    return Stream(_parts(request, chosen, kept, boundary), headers)


async def _parts(
    request: Request, chosen: Sequence[tuple[Instance, BulkValue]], offers: Sequence[Offer], boundary: bytes
) -> Pieces:
    context: Context = request.app.state.context
    cache = piece_cache(request.app)
    first = True
    for (instance, value), offer in zip(chosen, offers, strict=True):
        where = bulk_root(request, instance) + value.path
        places = await bulk.places(context, instance, value)
        last = -1
        async for at, piece in _values(context, cache, instance, value, places, offer):
            if at != last:
                last = at
                location = f"{where}/frames/{at + 1}" if value.is_encapsulated else where
                yield parts.part_head(boundary, offer.label, location, first=first)
                first = False
            yield piece
    yield parts.closing(boundary)


async def _values(
    context: Context, cache: PieceCache, instance: Instance, value: BulkValue, places: list[Place], offer: Offer
) -> AsyncGenerator[tuple[int, Piece], None]:
    """The value, or each of its frames, as stored or transcoded: (which, its next piece)."""
    if not value.is_encapsulated or not is_made(instance, offer):
        async for one in frames.values(context, cache, instance, places):
            yield one
        return
    picture = await picture_of(context, instance)
    at = 0
    async with aclosing(transcode.frames_in(context, cache, instance, picture, places, offer.transfer_syntax)) as made:
        async for frame in made:
            yield at, frame
            at += 1


def _part_offers(instance: Instance, value: BulkValue) -> tuple[Offer, ...]:
    if value.is_encapsulated:
        return negotiate.frame_offers(instance.transfer_syntax, False, _NATIVE_ONLY)
    return (Offer(True, media.OCTET_STREAM),)


def bulk_root(request: Request, instance: Instance) -> str:
    """What the addresses of an instance's bulk values begin with."""
    root = addresses.root(request)
    return f"{root}/studies/{instance.study}/series/{instance.series}/instances/{instance.sop}/bulkdata/"


async def _find(request: Request) -> tuple[Instance, list[BulkValue]]:
    address = request.scope["path_params"]
    context: Context = request.app.state.context
    return await bulk.find_values(context, address["study"], address["series"], address["instance"])


async def _pixels(request: Request, instance: Instance, value: BulkValue) -> Response:
    places = await bulk.places(request.app.state.context, instance, value)
    if not places:
        frames.require_frame(instance, 1)
    return await send_frames(request, instance, places, f"b{value.path}", whole=not value.is_encapsulated)


def _document_offers(mime: str) -> tuple[Offer, ...]:
    octets = (Offer(False, media.OCTET_STREAM), Offer(True, media.OCTET_STREAM))
    return (Offer(False, mime), Offer(True, mime), *octets) if mime else octets


def _one_part(request: Request, instance: Instance, value: BulkValue, offer: Offer, etag: str) -> Response:
    boundary = parts.boundary_of((etag,))
    headers = describe(etag, parts.content_type(boundary, offer.media_type))
    if is_unchanged(request.scope, etag):
        return not_modified(headers)
    head = parts.part_head(boundary, offer.label, bulk_root(request, instance) + value.path, first=True)
    closing = parts.closing(boundary)
    if not value.place.length:
        return Whole((head, closing), headers)

    async def pieces() -> Pieces:
        yield head
        async for piece in frames.value_pieces(request.app.state.context, instance, value.place):
            yield piece
        yield closing

    return Stream(pieces(), headers, length=len(head) + value.place.length + len(closing))


def _alone(request: Request, instance: Instance, value: BulkValue, headers: dict[str, str]) -> Response:
    context: Context = request.app.state.context
    place = value.place
    if not frames.is_plain(instance, place):
        return Stream(frames.value_pieces(context, instance, place), headers, length=place.length)
    return ranged(
        request.scope,
        headers,
        place.length,
        lambda at, size: frames.stored_span(context, instance, place.offset + at, size),
    )
