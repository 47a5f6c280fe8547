"""Table: the media types of PS3.18 8.7 that answers are written in, and which transfer syntaxes each can carry.

The type of one compressed frame stands in the table of transfer syntaxes (PS3.18 Table 8.7.3-5); what is derived from
it, and the spellings that clients use besides, stand here."""

from __future__ import annotations

import re
from types import MappingProxyType

from app.dicom.transfer_syntaxes import EXPLICIT_LE, TRANSFER_SYNTAXES, TransferSyntax

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
JSON = "application/json"
XML = "application/xml"
OCTET_STREAM = "application/octet-stream"
ZIP = "application/zip"
MULTIPART = "multipart/related"

ALIASES = MappingProxyType(
    {
        "image/jhc": "image/jphc",
        "image/j2c": "image/jp2",
        "image/j2k": "image/jp2",
        "image/x-jls": "image/jls",
        "image/x-dicom-rle": "image/dicom-rle",
        "image/jpg": "image/jpeg",
        "image/dicom+jpeg": "image/jpeg",
        "image/dicom+jp2": "image/jp2",
        "image/dicom+jpx": "image/jpx",
        "image/dicom+jpeg-jls": "image/jls",
        "image/dicom+rle": "image/dicom-rle",
        "image/dicom-jls": "image/jls",
        "text/json": JSON,
    }
)
"""Other spellings seen in Accept headers, those of the retired editions of PS3.18 among them."""

DEFAULT_SYNTAX = MappingProxyType(
    {
        OCTET_STREAM: EXPLICIT_LE,
        DICOM: EXPLICIT_LE,
        "image/jpeg": "1.2.840.10008.1.2.4.70",
        "image/dicom-rle": "1.2.840.10008.1.2.5",
        "image/jls": "1.2.840.10008.1.2.4.80",
        "image/jp2": "1.2.840.10008.1.2.4.90",
        "image/jpx": "1.2.840.10008.1.2.4.92",
        "image/jphc": "1.2.840.10008.1.2.4.201",
        "image/jxl": "1.2.840.10008.1.2.4.110",
        "video/mpeg": "1.2.840.10008.1.2.4.100",
        "video/mp4": "1.2.840.10008.1.2.4.102",
    }
)
"""The transfer syntax that a type means when none is named: the rows marked D."""

SYNTAXES_OF = MappingProxyType(
    {
        media: tuple(row.uid for row in TRANSFER_SYNTAXES.values() if row.media_type == media and not row.retired)
        for media in sorted({row.media_type for row in TRANSFER_SYNTAXES.values() if row.encapsulated})
    }
)
"""Media type of compressed frames → its transfer syntaxes."""


_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+\-]{1,64}/[a-z0-9!#$&^_.+\-]{1,64}", re.ASCII)


def is_media_type(text: str) -> bool:
    """Whether `text` is a type and a subtype in lower case (RFC 6838 4.2), and nothing else."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def canonical(media_type: str) -> str:
    """`media_type` in lower case, by its registered name."""
    lower = media_type.lower()
    return ALIASES.get(lower, lower)


def leaves_only_when_named(syntax: TransferSyntax) -> bool:
    """Whether PS3.18 8.7.3 keeps this transfer syntax out of answers that did not name it: implicit VR, big endian."""
    return not syntax.explicit or syntax.big_endian


def stored_without_asking(syntax: TransferSyntax) -> bool:
    """Whether an object is answered as stored when no transfer syntax was named (PS3.18 8.7.3.4): its pixels exist in
    lossy form only. Video and transfer syntaxes that we do not know count among them."""
    return syntax.lossy or syntax.video
