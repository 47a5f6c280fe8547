"""Data sets without a file around them, as DIMSE messages carry them → DICOM JSON (PS3.18 F), whatever they hold."""

from __future__ import annotations

from dataclasses import replace

from app.dicom.dictionary import PIXEL_REPRESENTATION
from app.dicom.levels import Encoding
from app.dicom.limits import DEFAULT, MIB, Limits
from app.dicom.scanner import Scanner
from app.dicom.signs import fill_gaps, settle_signs
from app.errors import FileroomError, Unreadable

LIMITS = replace(DEFAULT, part=16 * MIB, inline_value=16 * MIB, text_value=16 * MIB)
"""Such a data set has no bulk data elsewhere; `part` is its length."""


def json_of(data: bytes, encoding: Encoding, limits: Limits = LIMITS) -> bytes:
    """One DICOM JSON object. Raises `Unreadable` or `LimitExceeded`, whatever the bytes are."""
    scanner = Scanner(limits, encoding)
    try:
        scanner.feed(data)
        scanner.finish()
        hits, _ = scanner.top.ordered()
        if scanner.deferred:
            settle_signs(scanner.deferred, scanner.top.text_of(PIXEL_REPRESENTATION))
            hits, _ = fill_gaps(scanner.deferred, hits)
    except FileroomError:
        raise
    except Exception as error:
        raise Unreadable("the data set cannot be read") from error
    if scanner.pixels is not None or scanner.fragments is not None:
        raise Unreadable("the data set holds pixel data")
    return b"{%b}" % b",".join([hit[0] for hit in hits])
