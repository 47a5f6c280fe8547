"""Pixel Data that came as parts of a Store request: which transfer syntax they are in, by media type, parameter and bit
stream (PS3.18 Tables 8.7.3-4, 8.7.3-5 and 10.5.2-1), and the Image Pixel attributes that only the bit stream tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from app.archive.spool import Spool
from app.dicom import encode
from app.dicom.bitstream import Description, describe
from app.dicom.image_pixel import complete, missing, require_frames, require_native, require_same_pixels
from app.dicom.json_model import DataSet, Element, Span
from app.dicom.media_types import DEFAULT_SYNTAX, DICOM, OCTET_STREAM, canonical
from app.dicom.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE, TRANSFER_SYNTAXES, TransferSyntax
from app.dicom.video import describe_video
from app.errors import TransferSyntaxRefused, Unreadable, UnsupportedMediaType
from app.pixels import stills

_SPELLINGS = {"video/mpeg2": "video/mpeg", "video/mpg": "video/mpeg"}
_DESCRIBED = frozenset(("image/jpeg", "image/jls", "image/jp2", "image/jpx", "image/jphc"))
_MULTI_COMPONENT = frozenset(("1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93"))


@dataclass(slots=True)
class Part:
    """A bulk data part in the spool. `syntax` is its transfer-syntax parameter, "" without one."""

    media_type: str
    syntax: str
    offset: int
    length: int


def place(data_set: DataSet, element: Element, parts: list[Part], spool: Spool) -> str:
    """Makes `parts` the value of Pixel Data and completes the Image Pixel attributes; the transfer syntax of the file.
    Raises `UnsupportedMediaType`, `TransferSyntaxRefused` or `Unreadable`."""
    media, syntax = _declared(parts)
    element.bulk = tuple(Span(part.offset, part.length) for part in parts)
    if syntax is not None and not syntax.encapsulated:
        element.vr = require_native(data_set, element.vr, sum(part.length for part in parts))
        return EXPLICIT_LE
    for tag in (encode.EXTENDED_OFFSET_TABLE, encode.EXTENDED_OFFSET_TABLE_LENGTHS):
        data_set.pop(tag, None)
    if any(part.length == 0 for part in parts):
        raise Unreadable("a part of the pixel data is empty")
    if media in stills.MEDIA_TYPES:
        return _place_stills(data_set, element, parts, spool, media)
    if media.startswith("video/"):
        return _place_video(data_set, parts, spool, syntax, media)
    if media in _DESCRIBED:
        return _place_images(data_set, element, parts, spool, syntax, media)
    if absent := missing(data_set):
        raise Unreadable(f"{absent} is missing, and pixel data of type {media} do not tell it")
    require_frames(data_set, len(parts))
    return syntax.uid if syntax is not None else DEFAULT_SYNTAX[media]


def _declared(parts: list[Part]) -> tuple[str, TransferSyntax | None]:
    """Media type of the frames and transfer syntax that the parts declare; None when the bit stream decides."""
    if len({(part.media_type, part.syntax) for part in parts}) > 1:
        raise Unreadable("the parts of the pixel data have different media types")
    media = canonical(parts[0].media_type)
    media = _SPELLINGS.get(media, media)
    given = parts[0].syntax
    if not given:
        if media == OCTET_STREAM:
            return media, TRANSFER_SYNTAXES[EXPLICIT_LE]
        if (media not in DEFAULT_SYNTAX or media == DICOM) and media not in stills.MEDIA_TYPES:
            raise UnsupportedMediaType(f"pixel data of type {media} are not supported")
        return media, None
    syntax = TRANSFER_SYNTAXES.get(given)
    if syntax is None or syntax.big_endian or syntax.deflated:
        raise TransferSyntaxRefused("the transfer-syntax of the pixel data is not one that bulk data can have")
    if syntax.uid == IMPLICIT_LE:
        syntax = TRANSFER_SYNTAXES[EXPLICIT_LE]
    if media not in (OCTET_STREAM, syntax.media_type):
        raise TransferSyntaxRefused(f"pixel data of type {media} cannot be in the transfer-syntax of their part")
    return syntax.media_type, syntax


def _place_images(
    data_set: DataSet, element: Element, parts: list[Part], spool: Spool, syntax: TransferSyntax | None, media: str
) -> str:
    """One frame in each part."""
    first: Description | None = None
    spans = []
    for part in parts:
        description = describe(partial(_within, part, spool))
        length = description.length if description.length is not None else part.length - description.start
        spans.append(Span(part.offset + description.start, min(length, part.length - description.start)))
        description = replace(description, start=0, length=None)
        if first is not None and first != description:
            raise Unreadable("the frames of the pixel data differ in size, kind or compression")
        first = description
    assert first is not None
    if TRANSFER_SYNTAXES[first.transfer_syntax].media_type != media:
        raise UnsupportedMediaType(f"the pixel data are labelled {media} but are something else")
    if syntax is not None:
        _require_compatible(first, syntax)
    if first.transfer_syntax not in _MULTI_COMPONENT:
        require_frames(data_set, len(parts))
    element.bulk = tuple(spans)
    complete(data_set, first, len(parts), sum(span.length for span in spans))
    return syntax.uid if syntax is not None else first.transfer_syntax


def _require_compatible(description: Description, syntax: TransferSyntax) -> None:
    """A stream is what it is; a lossless one may be declared as the syntax of its kind that allows loss, and baseline
    JPEG as extended."""
    found = TRANSFER_SYNTAXES[description.transfer_syntax]
    if found.uid == syntax.uid:
        return
    wider = syntax.lossy and not found.lossy and syntax.media_type != "image/jpeg"
    ordered = syntax.media_type == "image/jphc" and not syntax.lossy and not found.lossy
    extended = (found.uid[-3:], syntax.uid[-3:]) == (".50", ".51")
    if not (wider or ordered or extended):
        raise TransferSyntaxRefused("the bit stream of the pixel data is not of the transfer-syntax of their part")


def _place_stills(data_set: DataSet, element: Element, parts: list[Part], spool: Spool, media: str) -> str:
    """Images that are decoded: what they become is appended to the spool."""
    found: set[stills.Still] = set()
    start = spool.length
    for part in parts:
        found.add(stills.decode(media, partial(_within, part, spool), part.length, spool.write))
    still = found.pop()
    frames = still.frames * len(parts)
    if found:
        raise Unreadable("the frames of the pixel data differ in size or kind")
    require_frames(data_set, frames)
    photometric = "MONOCHROME2" if still.samples == 1 else "RGB"
    complete(
        data_set,
        Description(EXPLICIT_LE, still.rows, still.columns, still.samples, still.bits, photometric),
        frames,
        spool.length - start,
    )
    require_same_pixels(data_set, photometric, still.bits)
    element.bulk = (Span(start, spool.length - start),)
    element.vr = require_native(data_set, element.vr, spool.length - start)
    return EXPLICIT_LE


def _place_video(data_set: DataSet, parts: list[Part], spool: Spool, syntax: TransferSyntax | None, media: str) -> str:
    """One stream in one part. What cannot be read is taken as declared, when the metadata are complete."""
    if len(parts) > 1:
        raise Unreadable("a video must come in one part")
    part = parts[0]
    try:
        description = describe_video(partial(_within, part, spool), part.length)
    except (Unreadable, TransferSyntaxRefused):
        if syntax is None or missing(data_set):
            raise
        return syntax.uid
    if TRANSFER_SYNTAXES[description.transfer_syntax].media_type != media:
        raise UnsupportedMediaType(f"the pixel data are labelled {media} but are something else")
    complete(data_set, description, description.frames, part.length)
    return syntax.uid if syntax is not None else description.transfer_syntax


def _within(part: Part, spool: Spool, at: int, length: int) -> bytes:
    """Bytes of one part only."""
    return spool.read(part.offset + at, max(0, min(length, part.length - at)))
