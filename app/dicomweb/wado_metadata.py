"""Retrieve of metadata (PS3.18 10.4.1.1.2): DICOM JSON from the stored objects, or the Native DICOM Model in XML."""

from __future__ import annotations

from fastapi import Request, Response

from app.archive import metadata
from app.archive.metadata import Answer, Metadatas
from app.dicom import media_types as media
from app.dicomweb import addresses, negotiate
from app.dicomweb import multipart_writer as parts
from app.dicomweb.caches import metadata_cache
from app.dicomweb.negotiate import Offer
from app.dicomweb.responses import Pieces, Stream, Whole, describe, header, is_unchanged, not_modified
from app.dicomweb.routes import router as make_router
from app.dicomweb.wado_document import METADATA, retrieves

router = make_router(tags=["Retrieve"])
_OFFERS = (Offer(False, media.DICOM_JSON), Offer(False, media.JSON), Offer(True, media.DICOM_XML))


@router.api_route("/studies/{study}/metadata", **retrieves("Metadata of a study", METADATA))
async def study_metadata(request: Request) -> Response:
    """Metadata of all instances of a study."""
    return await _answer(request)


@router.api_route("/studies/{study}/series/{series}/metadata", **retrieves("Metadata of a series", METADATA))
async def series_metadata(request: Request) -> Response:
    """Metadata of all instances of a series."""
    return await _answer(request)


@router.api_route(
    "/studies/{study}/series/{series}/instances/{instance}/metadata",
    **retrieves("Metadata of an instance", METADATA),
)
async def instance_metadata(request: Request) -> Response:
    """Metadata of one instance."""
    return await _answer(request)


async def _answer(request: Request) -> Response:
    scope = request.scope
    accept = negotiate.accept_of_request(scope)
    offer = negotiate.choose(accept, _OFFERS)
    if offer is None:
        raise negotiate.refuse(accept, (), _OFFERS, addresses.resource(request))
    in_xml = offer.media_type == media.DICOM_XML
    compress = not in_xml and negotiate.accepts_gzip(header(scope, b"accept-encoding"))
    metadatas = Metadatas(request.app.state.context, metadata_cache(request.app), addresses.root(request), compress)
    address = scope["path_params"]
    study, series, instance = address["study"], address.get("series"), address.get("instance")
    if instance is None:
        answer = await metadatas.of_study(study, series)
    else:
        answer = await metadatas.of_instance(study, series, instance)
    if in_xml:
        return _in_xml(request, answer)
    headers = describe(f'"{answer.tag}{"-gz" if compress else ""}"', offer.media_type)
    if compress:
        headers["content-encoding"] = "gzip"
    if is_unchanged(scope, headers["etag"]):
        return not_modified(headers)
    if answer.kept is not None:
        return Whole(metadata.join(answer.kept, compress), headers)
    return Stream(metadata.stream(answer.parts, compress), headers)


def _in_xml(request: Request, answer: Answer) -> Response:
    etag = f'"{answer.tag}-xml"'
    boundary = parts.boundary_of((etag,))
    headers = describe(etag, parts.content_type(boundary, media.DICOM_XML))
    if is_unchanged(request.scope, etag):
        return not_modified(headers)

    async def pieces() -> Pieces:
        first = True
        async for document in metadata.xml_documents(answer.parts):
            yield parts.part_head(boundary, media.DICOM_XML, first=first) + document
            first = False
        yield parts.closing(boundary)

    return Stream(pieces(), headers)
