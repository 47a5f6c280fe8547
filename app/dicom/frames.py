"""Where each frame of the pixel data lies: arithmetic for native pixel data, offset tables or a scan of the fragments
for encapsulated pixel data (PS3.5 8.1.1, A.4; PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from itertools import pairwise

from app.dicom.header import FRAGMENTED, FRAME_ENTRY, FrameIndex
from app.dicom.limits import Limits
from app.errors import LimitExceeded

SAMPLES = 0x00280002
PHOTOMETRIC = 0x00280004
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
IMAGE_TAGS = frozenset({SAMPLES, PHOTOMETRIC, NUMBER_OF_FRAMES, ROWS, COLUMNS, BITS_ALLOCATED})
"""What the arithmetic needs."""
PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = {0x7FE00008: 32, 0x7FE00009: 64, PIXEL_DATA: 0}
"""Elements that hold frames → bits of a sample, when the element's name fixes them."""

_SUBSAMPLED = {"YBR_FULL_422": (2, 3), "YBR_PARTIAL_422": (2, 3), "YBR_PARTIAL_420": (1, 2)}
_SIGNATURES = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ", b"\xff\x0a", b"\0\0\0\x0cJXL ")
PEEK = 12
"""Bytes of each fragment that tell whether a codestream begins in it."""
_ITEM = 0xE000FFFE
_ITEM_HEADER = struct.Struct("<II").unpack_from
_ITEM_LENGTH = 8
_LONGEST_SPAN = 0xFFFFFFFF
_BROKEN_OFF = "frames that did not come whole are left out"


class Fragments:
    """The items of one encapsulated pixel data element, as they pass by. Offsets are those of the values."""

    def __init__(self, tag: int, vr: str, offset: int) -> None:
        self.tag = tag
        self.vr = vr
        self.offset = offset
        self.end = offset
        self.basic: bytes | None = None
        self.offsets = array("Q")
        self.lengths = array("Q")
        self.starts = bytearray()
        self.whole: int | None = None
        """How many of the fragments came whole, when the data set ends inside the pixel data."""

    def add(self, offset: int, length: int, peek: bytes, limit: int) -> None:
        """One fragment, with its first bytes."""
        if len(self.starts) >= limit:
            raise LimitExceeded("frames", f"more than {limit} fragments of pixel data")
        self.offsets.append(offset)
        self.lengths.append(length)
        self.starts.append(begins_codestream(peek))

    def break_off(self, end: int, *, inside: bool) -> None:
        """The data set ends at `end`, in the pixel data: `inside` the last fragment, or between two of them."""
        self.end = end
        self.whole = len(self.starts) - inside

    def take_whole(self, data: bytes, pos: int, base: int, limit: int) -> int:
        """All fragments that lie whole in `data` from `pos` on; where they end. `base` is the offset of `data`."""
        size = len(data)
        add_offset, add_length, add_start = self.offsets.append, self.lengths.append, self.starts.append
        for _ in range(limit - len(self.starts)):
            if pos + 8 > size:
                break
            tag, length = _ITEM_HEADER(data, pos)
            start = pos + 8
            if tag != _ITEM or start + length > size:
                break
            add_offset(base + start)
            add_length(length)
            pos = start + length
            add_start(begins_codestream(data[start : min(start + PEEK, pos)]))
        return pos


def begins_codestream(peek: bytes) -> bool:
    """Whether a JPEG, JPEG 2000, JPEG XL or RLE codestream begins here."""
    if peek.startswith(_SIGNATURES):
        return True
    if len(peek) < 8:
        return False
    return 1 <= peek[0] <= 15 and peek[1:8] == b"\0\0\0\x40\0\0\0"


def _number(values: Mapping[int, str], tag: int, default: int) -> int:
    text = values.get(tag, "").partition("\\")[0].strip()
    try:
        number = int(text) if len(text) <= 12 else default
    except ValueError:
        return default
    return number


def frame_count(values: Mapping[int, str], limits: Limits) -> int:
    """Number of Frames, 1 when it is missing or makes no sense."""
    count = max(1, _number(values, NUMBER_OF_FRAMES, 1))
    if count > limits.frames:
        raise LimitExceeded("frames", f"more than {limits.frames} frames")
    return count


def native_frames(
    values: Mapping[int, str], tag: int, word: int, offset: int, length: int, limits: Limits
) -> tuple[FrameIndex, str]:
    """The index of native pixel data, and what is wrong with it ("" when nothing)."""
    count = frame_count(values, limits)
    samples = _number(values, SAMPLES, 1)
    bits = PIXEL_TAGS[tag] or _number(values, BITS_ALLOCATED, 0)
    pixels = _number(values, ROWS, 0) * _number(values, COLUMNS, 0)
    numerator, denominator = _SUBSAMPLED.get(values.get(PHOTOMETRIC, ""), (1, 1))
    frame_bits = pixels * samples * bits * numerator // denominator
    if frame_bits <= 0:
        return FrameIndex("none", 0, offset, length, 0, word, b"", tag), "the image has no size"
    whole = length * 8 // frame_bits
    fault = "" if whole >= count else "the pixel data is shorter than the image's attributes say"
    return FrameIndex("native", min(count, whole), offset, length, frame_bits, word, b"", tag), fault


def encapsulated_frames(
    values: Mapping[int, str], fragments: Fragments, extended: tuple[bytes, bytes], video: bool, limits: Limits
) -> tuple[FrameIndex, str]:
    """The index of encapsulated pixel data, and what is wrong with it ("" when nothing)."""
    count = 1 if video else frame_count(values, limits)
    firsts, fault = _first_fragments(fragments, count, extended)
    table = _table(fragments, firsts, extended[1] if not fault and len(extended[1]) == 8 * count else b"")
    span = fragments.end - fragments.offset
    index = FrameIndex("encapsulated", len(firsts), fragments.offset, span, 0, 1, table, fragments.tag)
    return index, fault


def _first_fragments(fragments: Fragments, count: int, extended: tuple[bytes, bytes]) -> tuple[list[int], str]:
    """For each frame the number of its first fragment."""
    total = len(fragments.offsets)
    if total == 0:
        return [], "the pixel data has no fragments"
    if fragments.whole is not None:
        found = _whole_frames(fragments, fragments.whole, count, extended[0])
        return found, _BROKEN_OFF if len(found) < count else ""
    if count == 1:
        return [0], ""
    fault = ""
    for raw, code in ((extended[0], "Q"), (fragments.basic or b"", "I")):
        if raw:
            firsts = _from_table(fragments, raw, code, count)
            if firsts is not None:
                return firsts, ""
            fault = "the offset table does not fit the fragments"
    return _from_scan(fragments, count, fault)


def _from_table(fragments: Fragments, raw: bytes, code: str, count: int) -> list[int] | None:
    """First fragments by an offset table; None when it does not point at item headers in ascending order."""
    size = 8 if code == "Q" else 4
    if len(raw) != size * count:
        return None
    offsets = struct.unpack(f"<{count}{code}", raw)
    base = fragments.offsets[0]
    place = {offset - base: number for number, offset in enumerate(fragments.offsets)}
    firsts = [place.get(offset, -1) for offset in offsets]
    if firsts[0] != 0 or any(a >= b for a, b in pairwise(firsts)):
        return None
    return firsts


def _from_scan(fragments: Fragments, count: int, fault: str) -> tuple[list[int], str]:
    """First fragments by their number, or by the codestreams that begin in them."""
    total = len(fragments.offsets)
    if total <= count:
        return list(range(total)), fault if total == count else "fewer fragments than frames"
    firsts = [number for number, start in enumerate(fragments.starts) if start]
    if not firsts or firsts[0] != 0:
        return [], "the fragments cannot be told apart into frames"
    return firsts[:count], fault if len(firsts) == count else "another number of frames than Number of Frames says"


def _whole_frames(fragments: Fragments, whole: int, count: int, extended: bytes) -> list[int]:
    """First fragments of the frames that surely came whole, when only the first `whole` fragments did. Where frames
    have several fragments, the last one that began may lack some. Fragments behind the whole frames are dropped."""
    total = len(fragments.offsets)
    begins = _begun(fragments, extended, "Q", count) or _begun(fragments, fragments.basic or b"", "I", count)
    one_each = len(begins) == count == total
    if not begins:
        begins = [0] if count == 1 else [number for number, start in enumerate(fragments.starts) if start]
        one_each = len(begins) == total
    if begins[:1] != [0]:
        begins = []
    ends = [*begins[1:], total] if one_each else begins[1:]
    firsts = [begin for begin, end in zip(begins, ends, strict=False) if begin < end <= whole][:count]
    end = ends[len(firsts) - 1] if firsts else 0
    del fragments.offsets[end:], fragments.lengths[end:], fragments.starts[end:]
    return firsts


def _begun(fragments: Fragments, raw: bytes, code: str, count: int) -> list[int]:
    """The fragments with which frames begin by an offset table, as far as they came; the last may be the one that would
    have come next. Nothing when the table does not fit."""
    if len(raw) != struct.calcsize(code) * count:
        return []
    base, last = fragments.offsets[0], len(fragments.offsets) - 1
    place = {offset - base: number for number, offset in enumerate(fragments.offsets)}
    following = fragments.offsets[last] + fragments.lengths[last] + _ITEM_LENGTH - base
    place[following] = last + 1
    found = [place.get(offset, -1) for offset in struct.unpack(f"<{count}{code}", raw) if offset <= following]
    fits = found[:1] == [0] and all(a < b for a, b in pairwise(found))
    return found if fits else []


def _table(fragments: Fragments, firsts: list[int], exact: bytes) -> bytes:
    """`FRAME_ENTRY` for each frame. `exact` holds lengths without padding (Extended Offset Table Lengths)."""
    pack = FRAME_ENTRY.pack
    offsets, lengths = fragments.offsets, fragments.lengths
    sizes = struct.unpack(f"<{len(exact) // 8}Q", exact)
    if not sizes and len(firsts) == len(offsets):
        return b"".join(map(pack, offsets, lengths))
    out = []
    for number, first in enumerate(firsts):
        after = firsts[number + 1] if number + 1 < len(firsts) else len(offsets)
        if after - first == 1:
            offset, length = offsets[first], lengths[first]
            if sizes and 0 < length - sizes[number] <= 1:
                length = sizes[number]
        else:
            offset = offsets[first] - 8
            length = offsets[after - 1] + lengths[after - 1] - offset
            offset |= FRAGMENTED
        if length > _LONGEST_SPAN:
            raise LimitExceeded("part", "a frame of more than 4 GiB")
        out.append(pack(offset, length))
    return b"".join(out)
