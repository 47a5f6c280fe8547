"""What the OpenAPI document says of Retrieve: the media types of each resource, and what every answer may be
besides."""

from __future__ import annotations

from typing import Any

from app.dicom import media_types as media

FILES = (f'multipart/related; type="{media.DICOM}"', media.ZIP)
FILE = (f'multipart/related; type="{media.DICOM}"', media.DICOM)
METADATA = (media.DICOM_JSON, media.JSON, f'multipart/related; type="{media.DICOM_XML}"')
VALUE = (media.OCTET_STREAM, f'multipart/related; type="{media.OCTET_STREAM}"')
FRAMES = tuple(
    name
    for media_type in (media.OCTET_STREAM, *media.SYNTAXES_OF)
    for name in (f'multipart/related; type="{media_type}"', media_type)
)
PARTS = tuple(f'multipart/related; type="{media_type}"' for media_type in (media.OCTET_STREAM, *media.SYNTAXES_OF))
_IMAGES = ("image/jpeg", "image/png", "image/gif")
RENDERED = (
    *_IMAGES,
    *(f'multipart/related; type="{media_type}"' for media_type in _IMAGES),
    "application/pdf",
    "video/mp4",
    "video/mpeg",
    "model/stl",
    "text/xml",
)
THUMBNAILS = _IMAGES
_ACCEPT = {
    "name": "accept",
    "in": "query",
    "description": "Media types, instead of the Accept header (PS3.18 8.3.3.1)",
    "schema": {"type": "string"},
}
_RENDERING = (
    ("viewport", "vw,vh[,sx,sy,sw,sh]: the image fits into vw by vh pixels (PS3.18 8.3.5.1.3)"),
    ("quality", "Of JPEG, 1 to 100"),
    ("window", "center,width,function; function is linear, linear-exact or sigmoid"),
    ("annotation", "patient, technique or both: text burnt into the image"),
    ("iccprofile", "Only `no` is supported"),
)
"""Query parameters of PS3.18 8.3.5; thumbnails have the first two."""


def retrieves(
    summary: str, media_types: tuple[str, ...], *, ranges: bool = False, rendering: bool = False
) -> dict[str, Any]:
    """The options of a route that answers in `media_types`; `ranges`: also parts of it (RFC 9110 14); `rendering`: also
    documents and videos, and all rendering parameters."""
    contents: dict[str, Any] = {media_type: {} for media_type in dict.fromkeys(media_types)}
    responses: dict[str, Any] = {
        "200": {"description": "The resource", "content": contents},
        "304": {"description": "The client has it already"},
        "404": {"description": "No such resource"},
        "406": {"description": "Nothing that can be sent fits Accept; says what is stored and what could be had"},
    }
    parameters = [_ACCEPT]
    if rendering or media_types is THUMBNAILS:
        asked = _RENDERING if rendering else _RENDERING[:2]
        parameters += [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}} for name, text in asked
        ]
        responses["400"] = {"description": "A rendering parameter is wrong"}
    if ranges or rendering:
        responses["206"] = {"description": "The ranges asked for, when the answer is a single part"}
        responses["416"] = {"description": "No byte of the ranges exists"}
    return {
        "summary": summary,
        "methods": ["GET", "HEAD"],
        "openapi_extra": {"parameters": parameters, "responses": dict(sorted(responses.items()))},
    }
