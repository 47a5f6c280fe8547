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
_ACCEPT = {
    "name": "accept",
    "in": "query",
    "description": "Media types, instead of the Accept header (PS3.18 8.3.3.1)",
    "schema": {"type": "string"},
}


def retrieves(summary: str, media_types: tuple[str, ...], *, ranges: bool = False) -> dict[str, Any]:
    """The options of a route that answers in `media_types`; `ranges`: also parts of it (RFC 9110 14)."""
    contents: dict[str, Any] = {media_type: {} for media_type in dict.fromkeys(media_types)}
    responses: dict[str, Any] = {
        "200": {"description": "The resource", "content": contents},
        "304": {"description": "The client has it already"},
        "404": {"description": "No such resource"},
        "406": {"description": "Nothing that can be sent fits Accept; says what is stored and what could be had"},
    }
    if ranges:
        responses["206"] = {"description": "The ranges asked for, when the answer is a single part"}
        responses["416"] = {"description": "No byte of the ranges exists"}
    return {
        "summary": summary,
        "methods": ["GET", "HEAD"],
        "openapi_extra": {"parameters": [_ACCEPT], "responses": dict(sorted(responses.items()))},
    }
