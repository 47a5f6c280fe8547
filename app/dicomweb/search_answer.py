"""Answers of searches (PS3.18 8.3.4, 8.6): no result is 204 (8.3.4.4.1). When there are more results, `Warning: 299`
says so (8.3.4.4), and the cursor in `Link` begins the next page; `count=true` (ours) adds `X-Total-Count`. JSON has one
result on each line."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Response

from app.archive.search import Answer
from app.dicom import media_types as media
from app.dicom.xml_model import to_xml
from app.dicomweb import multipart_writer as parts
from app.dicomweb.negotiate import Offer
from app.dicomweb.responses import Headers, Whole

_MORE = "There are additional results that can be requested"


def respond(answer: Answer, offer: Offer, *, following: str = "", ignored: Sequence[str] = ()) -> Response:
    """The response that carries `answer` as `offer`. `following` is the address of the next page, "" on the last one;
    `ignored` are parameters that this server does not know."""
    headers: Headers = {"vary": "Accept", "cache-control": "private, no-cache"}
    if ignored:
        _warn(headers, "parameters that are not supported were ignored: " + ", ".join(ignored))
    if following:
        _warn(headers, _MORE)
        headers["link"] = f'<{following}>; rel="next"'
    if answer.total is not None:
        headers["x-total-count"] = str(answer.total)
    if not answer.results:
        return Whole((), headers, 204)
    if offer.media_type == media.DICOM_XML:
        documents: Sequence[bytes] = [to_xml(result) for result in answer.results]
        if offer.multipart or len(documents) > 1:
            return _multipart(documents, media.DICOM_XML, headers)
        headers["content-type"] = media.DICOM_XML
        return Whole(documents, headers)
    if offer.multipart:
        return _multipart(answer.results, offer.media_type, headers)
    headers["content-type"] = offer.media_type
    return Whole((b"[\n" + b",\n".join(answer.results) + b"\n]",), headers)


def next_page(resource: str, raw: str, cursor: str) -> str:
    """The address of the page that `cursor` begins; `raw` is the query string of this one."""
    kept = [pair for pair in raw.split("&") if pair and not pair.startswith(("cursor=", "offset="))]
    kept.append(f"cursor={cursor}")
    # A header holds neither of these; whatever else is in a query string is encoded already.
    return f"{resource}?{'&'.join(kept)}".replace(">", "%3E").replace("<", "%3C")


def _warn(headers: Headers, text: str) -> None:
    warning = f'299 fileroom: "{text}"'
    headers["warning"] = f"{headers['warning']}, {warning}" if "warning" in headers else warning


def _multipart(documents: Sequence[bytes], media_type: str, headers: Headers) -> Response:
    boundary = parts.boundary_of([document.decode() for document in documents])
    headers["content-type"] = parts.content_type(boundary, media_type)
    pieces: list[bytes] = []
    for at, document in enumerate(documents):
        pieces += (parts.part_head(boundary, media_type, first=not at), document)
    pieces.append(parts.closing(boundary))
    return Whole((b"".join(pieces),), headers)
