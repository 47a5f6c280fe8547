"""One data set as the body of a request or an answer, in DICOM JSON or the Native DICOM Model (PS3.18 8.7.3.2)."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request, Response

from app.dicom import media_types as media
from app.dicom.limits import Limits
from app.dicom.xml_model import from_xml, to_xml
from app.dicomweb import addresses, negotiate
from app.dicomweb.multipart import parse_content_type
from app.dicomweb.negotiate import Offer
from app.dicomweb.responses import Whole
from app.dicomweb.stow_body import Disconnected, body_chunks
from app.errors import BadRequest, LimitExceeded, UnsupportedMediaType

OFFERS = (Offer(False, media.DICOM_JSON), Offer(False, media.JSON), Offer(False, media.DICOM_XML))
_JSON = frozenset({media.DICOM_JSON, media.JSON, ""})
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {media.DICOM_JSON: {"schema": {"type": "object"}}, media.DICOM_XML: {"schema": {"type": "string"}}},
    }
}
"""For the OpenAPI document."""


async def read_data_set(request: Request, limits: Limits) -> object:
    """What the body holds, as parsed DICOM JSON that nobody has checked yet. Raises `UnsupportedMediaType`,
    `LimitExceeded` or `BadRequest`."""
    given = request.headers.get("content-type", "")
    kind = parse_content_type(given).type if given else ""
    if kind not in _JSON and kind != media.DICOM_XML:
        raise UnsupportedMediaType(f"the data set is {media.DICOM_JSON} or {media.DICOM_XML}")
    body = bytearray()
    try:
        async for chunk in body_chunks(request, limits):
            body += chunk
            if len(body) > limits.json_metadata:
                raise LimitExceeded("json_metadata", f"the data set has more than {limits.json_metadata} bytes")
    except Disconnected as error:
        raise BadRequest("the body broke off") from error
    if kind == media.DICOM_XML:
        return from_xml(body, limits)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error


def check_accept(request: Request) -> Offer:
    """The representation for the answer; raises `NotAcceptable`."""
    accept = negotiate.accept_of_request(request.scope)
    offer = negotiate.choose(accept, OFFERS)
    if offer is None:
        raise negotiate.refuse(accept, (), OFFERS, addresses.resource(request))
    return offer


def answer_data_set(offer: Offer, text: bytes, status: int = 200) -> Response:
    """The data set `text`, a DICOM JSON object, in the representation that `check_accept` chose: PS3.18 F.2.1 has an
    array around it."""
    body = to_xml(text) if offer.media_type == media.DICOM_XML else b"[" + text + b"]"
    headers = {"content-type": offer.media_type, "cache-control": "private, no-cache", "vary": "Accept"}
    return Whole((body,), headers, status)
