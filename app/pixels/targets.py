"""Table: which transfer syntaxes frames can be decoded from and encoded in, cheapest first, which pixels each can hold,
and what their Photometric Interpretation becomes (PS3.5 8.2, Annex A). No codec is loaded here."""

from __future__ import annotations

from dataclasses import replace

from app.dicom.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE, RLE, TRANSFER_SYNTAXES
from app.pixels.picture import Picture

_J = "1.2.840.10008.1.2.4."
JPEG_BASELINE = _J + "50"
JPEG_EXTENDED = _J + "51"
JPEG_LOSSLESS = _J + "70"
JPEG_LS = _J + "80"
JPEG_LS_NEAR = _J + "81"
JPEG_2000 = _J + "90"
JPEG_2000_LOSSY = _J + "91"
JPEG_XL = _J + "110"
JPEG_XL_LOSSY = _J + "112"
HTJ2K = _J + "201"
HTJ2K_LOSSY = _J + "203"

DECODED = frozenset(
    {"1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1", RLE}
    | {_J + end for end in "50 51 53 55 57 70 80 81 90 91 92 93 110 111 112 201 202 203".split()}
)
"""Encapsulated transfer syntaxes that are decoded."""

NATIVE = (EXPLICIT_LE, IMPLICIT_LE)
LOSSLESS = (RLE, JPEG_LOSSLESS, HTJ2K, JPEG_LS, JPEG_2000, JPEG_XL)
LOSSY = (JPEG_BASELINE, JPEG_EXTENDED, JPEG_LS_NEAR, HTJ2K_LOSSY, JPEG_2000_LOSSY, JPEG_XL_LOSSY)
COMPRESSED = (*LOSSLESS, *LOSSY)
"""What frames are encoded in: by the CPU time that it takes, those that lose something last."""

_DEPTHS = {
    RLE: (8, 16, 32),
    JPEG_LOSSLESS: (8, 16),
    HTJ2K: (8, 16),
    JPEG_LS: (8, 16),
    JPEG_2000: (8, 16, 32),
    JPEG_XL: (8, 16),
    JPEG_BASELINE: (8,),
    JPEG_EXTENDED: (16,),
    JPEG_LS_NEAR: (8, 16),
    HTJ2K_LOSSY: (8, 16),
    JPEG_2000_LOSSY: (8, 16),
    JPEG_XL_LOSSY: (8,),
}
_UNSIGNED = frozenset((JPEG_BASELINE, JPEG_EXTENDED, JPEG_LS_NEAR, JPEG_XL, JPEG_XL_LOSSY))
"""Transfer syntaxes whose streams know no sign. Near-lossless, the greatest value could become the least."""
_COLOURS = {
    HTJ2K: ("RGB",),
    JPEG_XL: ("RGB",),
    JPEG_BASELINE: ("RGB", "YBR_FULL"),
    JPEG_EXTENDED: (),
    JPEG_LS_NEAR: ("RGB", "YBR_FULL"),
    HTJ2K_LOSSY: ("RGB",),
    JPEG_2000_LOSSY: ("RGB", "YBR_FULL"),
    JPEG_XL_LOSSY: ("RGB",),
}
"""Photometric Interpretations of three samples; of the others any."""
_TRANSFORMED = {
    JPEG_2000: "YBR_RCT",
    HTJ2K: "YBR_RCT",
    JPEG_2000_LOSSY: "YBR_ICT",
    HTJ2K_LOSSY: "YBR_ICT",
    JPEG_XL_LOSSY: "XYB",
}
"""What RGB becomes inside the codec."""
_GREY = ("MONOCHROME1", "MONOCHROME2")
_EXTENDED_BITS = 12
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
    if picture.pixel_representation and syntax in _UNSIGNED:
        return False
    if not _holds_colours(picture, syntax):
        return False
    if syntax == JPEG_2000:
        exact = picture.samples_per_pixel == 1 and picture.bits_stored <= _LONGEST_JPEG_2000
        return picture.bits_allocated < 32 or exact
    return syntax != JPEG_EXTENDED or picture.bits_stored <= _EXTENDED_BITS


def _holds_colours(picture: Picture, syntax: str) -> bool:
    """Indices into a palette, among others, bear no loss."""
    colours = picture.photometric_interpretation
    if picture.samples_per_pixel == 1:
        return syntax not in LOSSY or colours in _GREY
    return syntax not in _COLOURS or colours in _COLOURS[syntax]


def encoded(picture: Picture, syntax: str) -> Picture:
    """What the frames that `picture` (a decoded one) describes are in `syntax`."""
    photometric = picture.photometric_interpretation
    if picture.samples_per_pixel == 3 and syntax == JPEG_BASELINE:
        photometric = "YBR_FULL_422"
    elif photometric == "RGB":
        photometric = _TRANSFORMED.get(syntax, photometric)
    bits = picture.bits_stored
    if syntax in (JPEG_EXTENDED, HTJ2K_LOSSY):
        bits = _EXTENDED_BITS if syntax == JPEG_EXTENDED else picture.bits_allocated
    high = bits - 1 if bits != picture.bits_stored else picture.high_bit
    return replace(
        picture, transfer_syntax=syntax, photometric_interpretation=photometric, bits_stored=bits, high_bit=high
    )
