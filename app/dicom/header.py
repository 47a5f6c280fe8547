"""What one pass over a Part 10 file yields: identifiers, PS3.18 Annex F JSON, index values, frame places, bulk places.

All offsets count from the first byte of the file; those of a deflated data set from the first byte of the *inflated*
data set (`dataset_offset` then still tells where the deflated bytes begin)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

BULK_MARK = "\x01"
"""Begins each BulkDataURI in stored JSON, before the tag path; replaced by the public address when answered. A control
character cannot occur in valid JSON text, so no stored value can forge it."""

FRAME_ENTRY = struct.Struct("<QI")
"""One encapsulated frame: offset of its first byte and its length."""
FRAGMENTED = 1 << 63
"""Set in a frame entry's offset when the frame is in several fragments: the span then begins at the first fragment's
item tag, and holds the 8-byte item headers too."""


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Where frames lie. `native`: frame n begins `(n-1) * frame_bits` bits into the value at `offset`."""

    kind: Literal["none", "native", "encapsulated"] = "none"
    count: int = 0
    offset: int = 0
    length: int = 0
    frame_bits: int = 0
    word: int = 1
    """Bytes in one word of the value (OB 1, OW 2, OF 4, OD 8): what a change of byte order swaps."""
    table: bytes = b""
    """`FRAME_ENTRY` for each frame of encapsulated pixel data."""
    tag: int = 0x7FE00010
    """The element that holds the frames: Pixel Data, Float Pixel Data or Double Float Pixel Data."""


@dataclass(frozen=True, slots=True)
class BulkPlace:
    """A value that metadata answers by BulkDataURI. `path` is the tag path below `bulkdata/`, such as `00420011` or
    `54000100/1/54001010` (item numbers from 1)."""

    path: str
    vr: str
    offset: int
    length: int
    """-1 for encapsulated pixel data, whose places are in the frame index."""


@dataclass(frozen=True, slots=True)
class HeaderWarning:
    """A value that breaks the standard and was kept. `path` as in `BulkPlace`; `message` holds no patient data."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Header:
    """The result of `app.dicom.part10.HeaderReader.finish`."""

    transfer_syntax: str
    sop_class: str
    sop_instance: str
    study: str
    series: str
    dataset_offset: int
    json: bytes
    """The whole data set as one DICOM JSON object (UTF-8), without groups 0000 and 0002 and Group Length elements."""
    study_json: bytes
    """Members of `json` at patient and study level, joined by commas, without braces."""
    series_json: bytes
    """Members of `json` at series level, joined by commas, without braces."""
    instance_json: bytes
    """Members of `json` that a search for instances returns by default, joined by commas, without braces."""
    values: Mapping[int, str] = field(default_factory=dict)
    """First value, decoded and without padding, of each top-level attribute in `app.dicom.attributes.INDEXED`; for PN
    the three groups as sent, `=` between them; several values (multiplicity) joined by a backslash."""
    frames: FrameIndex = FrameIndex()
    bulk: tuple[BulkPlace, ...] = ()
    warnings: tuple[HeaderWarning, ...] = ()
    broken_off: bool = False
    """The data set ends inside an element; the first warning says where. What the header holds is what came of it."""
