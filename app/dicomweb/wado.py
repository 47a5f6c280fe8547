"""Retrieve of DICOM files (PS3.18 10.4): an instance alone, or a study, series or instance in parts or as a ZIP file.

Each answer has a strong ETag made of the versions that it holds. The other resources are in `wado_metadata`,
`wado_frames`, `wado_bulk` and `rendered`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastapi import Request, Response

from app.archive import files, retrieve
from app.archive.context import Context
from app.archive.decoded_frames import picture_of
from app.archive.files import Chosen
from app.archive.retrieve import Instance
from app.archive.transcode import BROKEN_OFF, TOO_SHORT, is_too_short
from app.dicom import media_types as media
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from app.dicomweb import addresses, negotiate, rendered, wado_bulk, wado_frames, wado_metadata
from app.dicomweb import multipart_writer as parts
from app.dicomweb.caches import piece_cache
from app.dicomweb.negotiate import Offer, Stored
from app.dicomweb.responses import Pieces, Stream, Whole, describe, is_unchanged, not_modified, ranged
from app.dicomweb.routes import router as make_router
from app.dicomweb.wado_document import FILE, FILES, retrieves
from app.pixels import targets

router = make_router(tags=["Retrieve"])
for _module in (wado_metadata, wado_frames, wado_bulk, rendered):
    router.routes.extend(_module.router.routes)
_CONTAINERS = (Offer(True, media.DICOM), Offer(False, media.ZIP))


@router.api_route("/studies/{study}", **retrieves("Retrieve a study", FILES))
async def retrieve_study(request: Request) -> Response:
    """All instances of a study."""
    return await _several(request, request.path_params["study"], None)


@router.api_route("/studies/{study}/series/{series}", **retrieves("Retrieve a series", FILES))
async def retrieve_series(request: Request) -> Response:
    """All instances of a series."""
    return await _several(request, request.path_params["study"], request.path_params["series"])


@router.api_route(
    "/studies/{study}/series/{series}/instances/{instance}", **retrieves("Retrieve an instance", FILE, ranges=True)
)
async def retrieve_instance(request: Request) -> Response:
    """One instance, in a single part or as the only part of a multipart body."""
    scope, context = request.scope, request.app.state.context
    address = scope["path_params"]
    instance = await retrieve.find_instance(context, address["study"], address["series"], address["instance"])
    accept = negotiate.accept_of_request(scope)
    stored = await stored_of(context, instance)
    offer = negotiate.choose(accept, negotiate.preferred(accept, negotiate.dicom_offers(stored, True, True)))
    if offer is not None and negotiate.needs_codec(stored, offer):
        stored = await narrowed(context, instance, stored)
        offer = negotiate.choose(accept, negotiate.preferred(accept, negotiate.dicom_offers(stored, True, True)))
    if offer is None:
        offers = negotiate.preferred(accept, negotiate.dicom_offers(stored, True, True))
        raise negotiate.refuse(accept, [instance.transfer_syntax], offers, addresses.resource(request), _why(stored))
    chosen = Chosen(instance, offer.transfer_syntax)
    if offer.multipart:
        return await _in_parts(request, [chosen], [offer], instance.version)
    etag = f'"{instance.version}{_suffix(context, chosen)}"'
    headers = describe(etag, offer.label, content_disposition=f'attachment; filename="{instance.sop}.dcm"')
    if is_unchanged(scope, etag):
        return not_modified(headers)
    if chosen.converts or context.blank_preamble:
        length = None if chosen.converts else instance.length
        return Stream(files.read_file(context, piece_cache(request.app), chosen), headers, length=length)
    return ranged(scope, headers, instance.length, lambda start, size: retrieve.read(context, instance, start, size))


async def stored_of(context: Context, instance: Instance) -> Stored:
    """What negotiation must know of it."""
    over_long = retrieve.may_be_over_long(instance) and await retrieve.is_over_long(context, instance)
    return Stored(instance.transfer_syntax, instance.frame_kind != 0, over_long, broken_off=instance.broken_off)


async def narrowed(context: Context, instance: Instance, stored: Stored) -> Stored:
    """The same, knowing what the pixels of the instance can be in; raises `Undecodable` when nothing can be known."""
    picture = await picture_of(context, instance)
    if is_too_short(instance, picture):
        return replace(stored, targets=(), too_short=True)
    decoded = picture.decoded
    return replace(stored, targets=tuple(uid for uid in negotiate.possible(stored) if targets.holds(decoded, uid)))


def _why(stored: Stored) -> str:
    """Why an instance can be sent in fewer transfer syntaxes than others of its kind."""
    return BROKEN_OFF if stored.broken_off else TOO_SHORT if stored.too_short else ""


def _suffix(context: Context, chosen: Chosen) -> str:
    """What an ETag says besides the version."""
    converts = "" if not chosen.converts else "-x" if chosen.syntax == EXPLICIT_LE else f"-x{chosen.syntax[17:]}"
    return converts + ("-b" if context.blank_preamble else "")


async def _several(request: Request, study: str, series: str | None) -> Response:
    """A study or series, in parts or as a ZIP file; 406 unless every instance can be sent."""
    context: Context = request.app.state.context
    instances = await retrieve.find_instances(context, study, series)
    accept = negotiate.accept_of_request(request.scope)
    container = negotiate.container(accept, negotiate.preferred(accept, _CONTAINERS))
    offers_of = negotiate.zip_offers if container is media.ZIP else negotiate.file_parts
    stored_as = [await stored_of(context, instance) for instance in instances]
    choices = {stored: negotiate.choose(accept, offers_of(stored)) for stored in set(stored_as)}
    for at, stored in enumerate(stored_as):
        offer = choices[stored]
        if offer is not None and negotiate.needs_codec(stored, offer):
            stored_as[at] = stored = await narrowed(context, instances[at], stored)
            choices.setdefault(stored, negotiate.choose(accept, offers_of(stored)))
    if None in choices.values():
        refused = [stored for stored, choice in choices.items() if choice is None]
        uids = [stored.transfer_syntax for stored in refused]
        raise negotiate.refuse(accept, uids, offers_of(refused[0]), addresses.resource(request), _why(refused[0]))
    offers: list[Offer] = [choices[stored] for stored in stored_as]  # type: ignore[misc]
    chosen = [Chosen(instance, offer.transfer_syntax) for instance, offer in zip(instances, offers, strict=True)]
    digest = parts.boundary_of(one.instance.version + _suffix(context, one) for one in chosen).decode()
    if container is media.ZIP:
        return _zipped(request, chosen, digest, series or study)
    return await _in_parts(request, chosen, offers, digest)


async def _in_parts(request: Request, chosen: Sequence[Chosen], offers: Sequence[Offer], tag: str) -> Response:
    context: Context = request.app.state.context
    etag = f'"{tag}{_suffix(context, chosen[0])}-m"'
    boundary = parts.boundary_of((etag,))
    headers = describe(etag, parts.content_type(boundary, media.DICOM))
    if is_unchanged(request.scope, etag):
        return not_modified(headers)
    lengths = [None if one.converts else one.instance.length for one in chosen]
    heads = [
        parts.part_head(boundary, offer.label, length=length, first=not at)
        for at, (offer, length) in enumerate(zip(offers, lengths, strict=True))
    ]
    closing = parts.closing(boundary)
    cache = piece_cache(request.app)
    if len(chosen) == 1 and files.is_small(context, chosen[0]) and request.scope["method"] != "HEAD":
        return Whole((heads[0], *await files.read_small(context, cache, chosen[0]), closing), headers)
    known = [length for length in lengths if length is not None]
    whole = sum(map(len, heads)) + sum(known) + len(closing) if len(known) == len(chosen) else None

    async def pieces() -> Pieces:
        last = -1
        async for at, piece in files.read_files(context, cache, chosen):
            if at != last:
                yield heads[at]
                last = at
            yield piece
        yield closing

    return Stream(pieces(), headers, length=whole)


def _zipped(request: Request, chosen: Sequence[Chosen], digest: str, name: str) -> Response:
    suffix = _suffix(request.app.state.context, chosen[0])
    headers = describe(f'"{digest}{suffix}-z"', media.ZIP, content_disposition=f'attachment; filename="{name}.zip"')
    if is_unchanged(request.scope, headers["etag"]):
        return not_modified(headers)
    return Stream(files.read_zip(request.app.state.context, piece_cache(request.app), chosen), headers)
