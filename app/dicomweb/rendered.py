"""Retrieve of rendered images and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4): frames as JPEG, PNG or GIF, encapsulated
documents and videos as themselves. A study or series is shown by one image of it; whoever takes multipart/related, and
nothing simpler, gets all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastapi import Request, Response

from app.archive import render, retrieve
from app.archive.context import Context
from app.archive.documents import Document, find_document, find_video
from app.archive.frames import require_frame
from app.archive.retrieve import Instance
from app.dicom.limits import DEFAULT
from app.dicomweb import addresses, negotiate
from app.dicomweb import multipart_writer as parts
from app.dicomweb.caches import facts_cache, piece_cache
from app.dicomweb.negotiate import Offer
from app.dicomweb.rendered_query import rendered_wish, thumbnail_wish
from app.dicomweb.responses import Headers, Pieces, Stream, Whole, describe, is_unchanged, not_modified, ranged
from app.dicomweb.routes import router as make_router
from app.dicomweb.wado_document import RENDERED, THUMBNAILS, retrieves
from app.dicomweb.wado_frames import frame_numbers
from app.errors import LimitExceeded, NotAcceptable
from app.pixels.render_wish import Wish

router = make_router(tags=["Retrieve"])
_SERIES = "/studies/{study}/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
IMAGES = ("image/jpeg", "image/png", "image/gif")
_IMAGE_OFFERS = tuple(Offer(multipart, media_type) for multipart in (False, True) for media_type in IMAGES)
_INLINE = ("application/pdf", "video/mp4", "video/mpeg", "model/stl", "model/obj", "text/plain")
"""Types of documents that a browser may show under our address; others are saved, and cannot run scripts."""


class Target(NamedTuple):
    """One frame to render, counted from 1."""

    instance: Instance
    number: int


@router.api_route("/studies/{study}/rendered", **retrieves("Retrieve a rendered study", RENDERED, rendering=True))
@router.api_route(_SERIES + "/rendered", **retrieves("Retrieve a rendered series", RENDERED, rendering=True))
@router.api_route(_INSTANCE + "/rendered", **retrieves("Retrieve a rendered instance", RENDERED, rendering=True))
async def retrieve_rendered(request: Request) -> Response:
    """The image that stands for the resource; an encapsulated document or a video as itself."""
    wish = rendered_wish(request.scope["query_string"])
    instance = await _instance(request)
    context: Context = request.app.state.context
    if render.is_video(instance):
        return await send_document(request, await find_video(context, instance))
    if instance.frame_kind == 0:
        return await send_document(request, await find_document(context, instance))
    return await _representative(request, instance, wish)


@router.api_route("/studies/{study}/thumbnail", **retrieves("Retrieve a study's thumbnail", THUMBNAILS))
@router.api_route(_SERIES + "/thumbnail", **retrieves("Retrieve a series' thumbnail", THUMBNAILS))
@router.api_route(_INSTANCE + "/thumbnail", **retrieves("Retrieve an instance's thumbnail", THUMBNAILS))
async def retrieve_thumbnail(request: Request) -> Response:
    """A small image that stands for the resource, without text burnt in."""
    wish = thumbnail_wish(request.scope["query_string"])
    instance = await _instance(request)
    require_images(instance)
    return await _representative(request, instance, wish)


@router.api_route(
    _INSTANCE + "/frames/{frames}/rendered", **retrieves("Retrieve rendered frames", RENDERED, rendering=True)
)
async def retrieve_rendered_frames(request: Request) -> Response:
    """Frames of one instance, in the order asked for."""
    return await _frames(request, rendered_wish(request.scope["query_string"]))


@router.api_route(_INSTANCE + "/frames/{frames}/thumbnail", **retrieves("Retrieve frames' thumbnails", THUMBNAILS))
async def retrieve_frame_thumbnails(request: Request) -> Response:
    """Small images of frames of one instance."""
    return await _frames(request, thumbnail_wish(request.scope["query_string"]))


def require_images(instance: Instance) -> None:
    """Raises `NotAcceptable` for an instance without frames that could be rendered."""
    if instance.frame_kind == 0 or render.is_video(instance):
        raise NotAcceptable("only images have thumbnails and rendered frames; this instance is none")
    require_frame(instance, 1)


async def _instance(request: Request) -> Instance:
    context: Context = request.app.state.context
    address = request.scope["path_params"]
    if "instance" in address:
        return await retrieve.find_instance(context, address["study"], address["series"], address["instance"])
    return await render.find_representative(context, address["study"], address.get("series"))


async def _frames(request: Request, wish: Wish) -> Response:
    address = request.scope["path_params"]
    numbers = frame_numbers(address["frames"])
    context: Context = request.app.state.context
    instance = await retrieve.find_instance(context, address["study"], address["series"], address["instance"])
    require_images(instance)
    require_frame(instance, max(numbers))
    offer = _choose(request, instance, _IMAGE_OFFERS)
    targets = [Target(instance, number) for number in numbers]
    return await send_images(
        request, targets, wish._replace(media_type=offer.media_type), len(targets) > 1 or offer.multipart
    )


async def _representative(request: Request, instance: Instance, wish: Wish) -> Response:
    require_images(instance)
    offer = _choose(request, instance, _IMAGE_OFFERS)
    wish = wish._replace(media_type=offer.media_type)
    if offer.multipart and not wish.thumbnail:
        return await send_images(request, await _all_frames(request, instance), wish, True)
    context: Context = request.app.state.context
    middle = wish.thumbnail or "instance" not in request.scope["path_params"]
    number = await render.pick_frame(context, facts_cache(request.app), instance, middle=middle)
    return await send_images(request, [Target(instance, number)], wish, offer.multipart)


async def _all_frames(request: Request, instance: Instance) -> list[Target]:
    address = request.scope["path_params"]
    instances = [instance]
    if "instance" not in address:
        found = await retrieve.find_instances(request.app.state.context, address["study"], address.get("series"))
        instances = [one for one in found if one.frame_kind != 0 and not render.is_video(one)]
    if sum(one.frame_count for one in instances) > DEFAULT.frame_list:
        raise LimitExceeded("frame_list", f"more than {DEFAULT.frame_list} frames in one request")
    return [Target(one, number) for one in instances for number in range(1, one.frame_count + 1)]


def _choose(request: Request, instance: Instance, offers: tuple[Offer, ...]) -> Offer:
    """The offer that the client takes; raises `NotAcceptable`, which says what could be had."""
    accept = negotiate.accept_of_request(request.scope)
    offer = negotiate.choose(accept, negotiate.preferred(accept, offers))
    if offer is None:
        raise negotiate.refuse(accept, [instance.transfer_syntax], offers, addresses.resource(request))
    return offer


async def send_images(request: Request, targets: Sequence[Target], wish: Wish, multipart: bool) -> Response:
    """The frames as files of the media type of the wish, in parts when `multipart`; otherwise there is one."""
    tag = f"{targets[0].instance.version}-r{targets[0].number}"
    if multipart:
        tag = parts.boundary_of(f"{one.instance.version} {one.number}" for one in targets).decode() + "-m"
    etag = f'"{tag}-{wish.tag}"'
    boundary = parts.boundary_of((etag,)) if multipart else b""
    headers = describe(etag, parts.content_type(boundary, wish.media_type) if boundary else wish.media_type)
    if is_unchanged(request.scope, etag):
        return not_modified(headers)
    if not multipart:
        return Whole((await _rendered(request, targets[0], wish),), headers)

    async def pieces() -> Pieces:
        for at, target in enumerate(targets):
            image = await _rendered(request, target, wish)
            yield parts.part_head(boundary, wish.media_type, first=not at)
            yield image
        yield parts.closing(boundary)

    return Stream(pieces(), headers)


async def _rendered(request: Request, target: Target, wish: Wish) -> bytes:
    app = request.app
    return await render.rendered(
        app.state.context, facts_cache(app), piece_cache(app), target.instance, target.number, wish
    )


async def send_document(request: Request, document: Document) -> Response:
    """A document or video as itself, alone or in one part, in the ranges asked for."""
    offers = (Offer(False, document.media_type), Offer(True, document.media_type))
    offer = _choose(request, document.instance, offers)
    context: Context = request.app.state.context
    etag = f'"{document.instance.version}-d{"-m" if offer.multipart else ""}"'
    if offer.multipart:
        return _one_part(request, document, etag)
    headers = _document_headers(document, etag)
    if is_unchanged(request.scope, etag):
        return not_modified(headers)
    return ranged(request.scope, headers, document.length, lambda at, size: document.read(context, at, size))


def _document_headers(document: Document, etag: str) -> Headers:
    """A page that is isolated from other origins may show it inside (PDF in an `object`, a video)."""
    headers = describe(
        etag,
        document.media_type,
        cross_origin_resource_policy="same-origin",
        cross_origin_embedder_policy="require-corp",
    )
    if document.media_type not in _INLINE:
        headers["content-disposition"] = "attachment"
        headers["content-security-policy"] = "sandbox"
    return headers


def _one_part(request: Request, document: Document, etag: str) -> Response:
    boundary = parts.boundary_of((etag,))
    headers = describe(etag, parts.content_type(boundary, document.media_type))
    if is_unchanged(request.scope, etag):
        return not_modified(headers)
    head, closing = parts.part_head(boundary, document.media_type, first=True), parts.closing(boundary)

    async def pieces() -> Pieces:
        yield head
        async for piece in document.read(request.app.state.context, 0, document.length):
            yield piece
        yield closing

    return Stream(pieces(), headers, length=len(head) + document.length + len(closing))
