"""Retrieve of bulkdata and pixel data (PS3.18 10.4.1.1.5, 10.4.1.1.7): the values that metadata names by
BulkDataURI."""

from __future__ import annotations

from fastapi import Request, Response

from app.archive import bulk, frames
from app.archive.bulk import BulkValue
from app.archive.context import Context
from app.archive.retrieve import Instance
from app.dicom import media_types as media
from app.dicomweb import addresses, negotiate
from app.dicomweb import multipart_writer as parts
from app.dicomweb.caches import piece_cache
from app.dicomweb.negotiate import Offer
from app.dicomweb.responses import Pieces, Stream, Whole, describe, is_unchanged, not_modified, ranged
from app.dicomweb.routes import router as make_router
from app.dicomweb.wado_frames import send_frames

router = make_router(tags=["Retrieve"])
_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"
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


@router.api_route(_INSTANCE + "/bulkdata/{path:path}", methods=["GET", "HEAD"], summary="Retrieve a bulk value")
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
        raise negotiate.refuse(accept, (), offers, str(request.url))
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


@router.api_route(_INSTANCE + "/pixeldata", methods=["GET", "HEAD"], summary="Retrieve the pixel data")
async def retrieve_pixel_data(request: Request) -> Response:
    """The whole value of native pixel data, or every frame of encapsulated pixel data."""
    instance, values = await _find(request)
    return await _pixels(request, instance, bulk.pixels(instance, values))


@router.api_route(_INSTANCE + "/bulkdata", methods=["GET", "HEAD"], summary="Retrieve all bulk values of an instance")
async def retrieve_values(request: Request) -> Response:
    """Every bulk value of the instance, each in its part with its address."""
    context: Context = request.app.state.context
    instance, values = await _find(request)
    accept = negotiate.accept_of_request(request.scope)
    plain = Offer(True, media.OCTET_STREAM)
    compressed = negotiate.frame_offers(instance.transfer_syntax, False)
    needed = [compressed if value.is_encapsulated else (plain,) for value in values]
    offers = [negotiate.choose(accept, choices) for choices in needed]
    if not offers or None in offers:
        refused = needed[offers.index(None)] if offers else (plain,)
        raise negotiate.refuse(accept, [instance.transfer_syntax], refused, str(request.url))
    etag = f'"{instance.version}-b-m"'
    boundary = parts.boundary_of((etag,))
    headers = describe(etag, parts.content_type(boundary, offers[0].media_type))  # type: ignore[union-attr]
    if is_unchanged(request.scope, etag):
        return not_modified(headers)
    before, cache = bulk_root(request, instance), piece_cache(request.app)

    async def pieces() -> Pieces:
        first = True
        for value, offer in zip(values, offers, strict=True):
            assert offer is not None
            places = await bulk.places(context, instance, value)
            last = -1
            async for at, piece in frames.values(context, cache, instance, places):
                if at != last:
                    last = at
                    where = f"{before}{value.path}" + (f"/frames/{at + 1}" if value.is_encapsulated else "")
                    yield parts.part_head(boundary, offer.label, where, first=first)
                    first = False
                yield piece
        yield parts.closing(boundary)

    return Stream(pieces(), headers)


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
    return await send_frames(request, instance, places, f"b{value.path}")


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
