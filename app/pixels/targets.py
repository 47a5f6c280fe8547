"""Table: which transfer syntaxes frames can be decoded from and encoded in, cheapest first, which pixels each can hold,
and what their Photometric Interpretation becomes (PS3.5 8.2, Annex A). No codec is loaded here."""

from __future__ import annotations

from dataclasses import replace

from app.dicom.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE, RLE, TRANSFER_SYNTAXES
from app.pixels.picture import Picture

_J = "1.2.840.10008.1.2.4."
JPEG_BASELINE = _J + "50"
JPEG_LOSSLESS = _J + "70"
JPEG_LS = _J + "80"
JPEG_2000 = _J + "90"
HTJ2K = _J + "201"

DECODED = frozenset(
    {"1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1", RLE}
    | {_J + end for end in "50 51 53 55 57 70 80 81 90 91 92 93 110 111 112 201 202 203".split()}
)
"""Encapsulated transfer syntaxes that are decoded."""

NATIVE = (EXPLICIT_LE, IMPLICIT_LE)
COMPRESSED = (RLE, JPEG_LOSSLESS, HTJ2K, JPEG_LS, JPEG_2000, JPEG_BASELINE)
"""What frames are encoded in: by the CPU time that it takes, the one that loses something last."""

_DEPTHS = {
    RLE: (8, 16, 32),
    JPEG_LOSSLESS: (8, 16),
    HTJ2K: (8, 16),
    JPEG_LS: (8, 16),
    JPEG_2000: (8, 16, 32),
    JPEG_BASELINE: (8,),
}
_LONGEST_JPEG_2000 = 24
"""Bits Stored up to which OpenJPEG is exact."""


def is_decoded(syntax: str) -> bool:
    """Whether frames in `syntax` can become others: native ones always can."""
    row = TRANSFER_SYNTAXES.get(syntax)
    return row is not None and (not row.encapsulated or syntax in DECODED)


def holds(picture: Picture, syntax: str) -> bool:
    """Whether the frames that `picture` (a decoded one) describes can be in `syntax`."""
    if syntax not in _DEPTHS:
        return syntax in NATIVE
    if picture.kind != "integer" or picture.bits_allocated not in _DEPTHS[syntax]:
        return False
    if picture.samples_per_pixel not in (1, 3):
        return False
    colours = picture.photometric_interpretation
    if syntax == JPEG_2000:
        exact = picture.samples_per_pixel == 1 and picture.bits_stored <= _LONGEST_JPEG_2000
        return picture.bits_allocated < 32 or exact
    if syntax == HTJ2K:
        return picture.samples_per_pixel == 1 or colours == "RGB"
    if syntax == JPEG_BASELINE:
        wanted = ("MONOCHROME1", "MONOCHROME2") if picture.samples_per_pixel == 1 else ("RGB", "YBR_FULL")
        return colours in wanted and not picture.pixel_representation
    return True


def encoded(picture: Picture, syntax: str) -> Picture:
    """What the frames that `picture` (a decoded one) describes are in `syntax`."""
    photometric = picture.photometric_interpretation
    if picture.samples_per_pixel == 3 and syntax == JPEG_BASELINE:
        photometric = "YBR_FULL_422"
    elif photometric == "RGB" and syntax in (JPEG_2000, HTJ2K):
        photometric = "YBR_RCT"
    return replace(picture, transfer_syntax=syntax, photometric_interpretation=photometric)
