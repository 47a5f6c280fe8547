"""WADO-URI (PS3.18 9): one instance, named by the query of `/wado`, as a DICOM file, a rendered frame, or the document
or video that it holds. It is another spelling of what PS3.18 10.4 retrieves, and answered by the same code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from app.archive import render, retrieve
from app.archive.context import Context
from app.archive.documents import find_document, find_video
from app.archive.frames import require_frame
from app.archive.retrieve import Instance
from app.dicom import media_types as media
from app.dicom.transfer_syntaxes import transfer_syntax
from app.dicom.uid import is_uid
from app.dicomweb import negotiate, rendered, wado
from app.dicomweb.negotiate import Offer
from app.dicomweb.rendered import IMAGES, Target
from app.dicomweb.rendered_query import annotation_of, decimal, integer, parameters, window_of
from app.dicomweb.responses import header
from app.dicomweb.routes import router as make_router
from app.errors import BadRequest, NotAcceptable
from app.pixels.render_wish import MAX_VIEWPORT, QUALITY, Region, Wish

router = make_router(tags=["WADO-URI (PS3.18 9)"])
_REQUIRED = ("studyUID", "seriesUID", "objectUID")
_REFUSED = ("anonymize", "presentationUID", "presentationSeriesUID")
_PARAMETERS = (
    ("requestType", "WADO"),
    *((name, "UID") for name in _REQUIRED),
    ("contentType", "Media types in order of preference, instead of the Accept header"),
    ("transferSyntax", "UID, for application/dicom"),
    ("frameNumber", "From 1; for images"),
    ("rows", "Most rows of the image"),
    ("columns", "Most columns of the image"),
    ("region", "xmin,ymin,xmax,ymax in shares of the image, 0 to 1"),
    ("windowCenter", "Together with windowWidth"),
    ("windowWidth", "Together with windowCenter"),
    ("imageQuality", "Of JPEG, 1 to 100"),
    ("annotation", "patient, technique or both"),
    ("charset", "Ignored: images have no text but what is burnt in"),
)
_DOCUMENT = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "description": text,
            "required": name == "requestType" or name in _REQUIRED,
            "schema": {"type": "string"},
        }
        for name, text in _PARAMETERS
    ],
    "responses": {
        "200": {
            "description": "The object",
            "content": {kind: {} for kind in (*IMAGES, media.DICOM, "application/pdf", "video/mp4", "video/mpeg")},
        },
        "400": {"description": "A parameter is missing or wrong, or asks for what is not supported"},
        "404": {"description": "No such object, or no such frame"},
        "406": {"description": "The object cannot be sent as contentType or Accept want it"},
    },
}


@router.api_route("/wado", methods=["GET", "HEAD"], summary="Retrieve an object by its UIDs", openapi_extra=_DOCUMENT)
async def retrieve_object(request: Request) -> Response:
    """One object, by its UIDs in the query."""
    given = parameters(request.scope["query_string"])
    _require(given)
    context: Context = request.app.state.context
    instance = await retrieve.find_instance(context, given["studyUID"], given["seriesUID"], given["objectUID"])
    accept = given.get("contentType") or header(request.scope, b"accept")
    offers = await _offers(context, instance, given)
    offer = negotiate.choose(accept, offers)
    if offer is None:
        raise negotiate.refuse(accept, [instance.transfer_syntax], offers, str(request.url))
    if offer.media_type == media.DICOM:
        return await _dicom(request, instance, given)
    if offer.media_type in IMAGES and _has_images(instance):
        wish, number = _wish(given, offer.media_type), integer(given, "frameNumber", 1, 10**9) or 1
        require_frame(instance, number)
        return await rendered.send_images(request, [Target(instance, number)], wish, False)
    find = find_video if render.is_video(instance) else find_document
    return await rendered.send_document(
        _as_retrieve(request, instance, offer.media_type), await find(context, instance)
    )


def _require(given: Mapping[str, str]) -> None:
    if given.get("requestType", "").upper() != "WADO":
        raise BadRequest("`requestType` must be WADO")
    for name in _REQUIRED:
        if name not in given:
            raise BadRequest(f"`{name}` is missing")
    for name in _REFUSED:
        if given.get(name, "no").lower() not in ("no", ""):
            raise BadRequest(f"`{name}` is not supported: leave it out to get the object as it is stored")


def _has_images(instance: Instance) -> bool:
    return instance.frame_count > 0 and not render.is_video(instance)


async def _offers(context: Context, instance: Instance, given: Mapping[str, str]) -> tuple[Offer, ...]:
    """What the object can be sent as, the default for its kind first (PS3.18 9.1.2.2.1): one image as JPEG, several as
    the DICOM file unless a frame is named."""
    dicom = Offer(False, media.DICOM)
    if render.is_video(instance):
        return dicom, Offer(False, transfer_syntax(instance.transfer_syntax).media_type)
    if instance.frame_count > 0:
        images = tuple(Offer(False, kind) for kind in IMAGES)
        return (*images, dicom) if instance.frame_count == 1 or "frameNumber" in given else (dicom, *images)
    try:
        document = await find_document(context, instance)
    except NotAcceptable:
        return (dicom,)
    return Offer(False, document.media_type), dicom


async def _dicom(request: Request, instance: Instance, given: Mapping[str, str]) -> Response:
    if "frameNumber" in given:
        raise BadRequest("`frameNumber` is for images: application/dicom is the whole object")
    syntax = given.get("transferSyntax", "")
    if syntax and not is_uid(syntax):
        raise BadRequest("`transferSyntax` is not a UID")
    accept = f"{media.DICOM}; transfer-syntax={syntax}" if syntax else media.DICOM
    return await wado.retrieve_instance(_as_retrieve(request, instance, accept))


def _as_retrieve(request: Request, instance: Instance, accept: str) -> Request:
    """The request as PS3.18 10.4 spells it."""
    scope: dict[str, Any] = dict(request.scope)
    kept = [(name, value) for name, value in scope["headers"] if name != b"accept"]
    scope["headers"] = [*kept, (b"accept", accept.encode("latin-1"))]
    scope["query_string"] = b""
    scope["path_params"] = {"study": instance.study, "series": instance.series, "instance": instance.sop}
    return Request(scope, request.receive)


def _wish(given: Mapping[str, str], media_type: str) -> Wish:
    """PS3.18 9.1.2.3; raises `BadRequest`."""
    rows, columns = (integer(given, name, 1, MAX_VIEWPORT) for name in ("rows", "columns"))
    window = None
    if "windowCenter" in given or "windowWidth" in given:
        if not given.get("windowCenter") or not given.get("windowWidth"):
            raise BadRequest("`windowCenter` and `windowWidth` come together")
        window = window_of(given["windowCenter"], given["windowWidth"], "linear", "windowWidth")
    return Wish(
        media_type,
        integer(given, "imageQuality", 1, 100) or QUALITY,
        (columns or MAX_VIEWPORT, rows or MAX_VIEWPORT) if rows or columns else None,
        _region(given["region"]) if "region" in given else None,
        window,
        annotation_of(given.get("annotation", "")),
    )


def _region(text: str) -> Region:
    """`xmin,ymin,xmax,ymax`, in shares of the image."""
    ends = [decimal(member, "region") for member in text.split(",")]
    if len(ends) != 4 or not (0 <= ends[0] < ends[2] <= 1 and 0 <= ends[1] < ends[3] <= 1):
        raise BadRequest("`region` is xmin,ymin,xmax,ymax, each from 0 to 1, the least first")
    return Region(ends[0], ends[1], ends[2] - ends[0], ends[3] - ends[1], relative=True)
