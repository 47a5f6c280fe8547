"""Which VR a tag has when the data set does not say (PS3.6, PS3.5 6.2.2), from pydicom's data dictionaries."""

from __future__ import annotations

from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, private_dictionary_VR

_STANDARD: dict[int, str] = {tag: entry[0] for tag, entry in DicomDictionary.items() if entry[0] != "NONE"}
PIXEL_REPRESENTATION = 0x00280103
SIGNED_OR_NOT = "US or SS"
"""VR of numbers that Pixel Representation makes signed or not."""
LUT_DESCRIPTOR = 0x00283002
WAVEFORM_BITS_ALLOCATED = 0x54001004
LUT_DESCRIPTORS = frozenset({0x00281101, 0x00281102, 0x00281103, LUT_DESCRIPTOR})
"""Descriptors whose first value is unsigned whatever the VR says (PS3.3 C.7.6.3.1.5)."""


@lru_cache(maxsize=4096)
def standard_vr(tag: int) -> str | None:
    """The VR of a standard tag, repeating groups included; two VRs as `US or SS`; None when the tag is unknown."""
    vr = _STANDARD.get(tag)
    if vr is None:
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            return "UL" if tag & 0xFFFF == 0 else None
    return vr


@lru_cache(maxsize=4096)
def private_vr(tag: int, creator: str) -> str:
    """The VR of a private tag below the block of `creator`; UN when nobody published it."""
    try:
        vr = private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"
    return vr.replace("_", " or ")
