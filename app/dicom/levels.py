"""The two kinds of level that a reader is inside of: a data set (the whole one or an item) and a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from operator import ge

from app.dicom.charsets import Charset
from app.dicom.dictionary import (
    LUT_DESCRIPTOR,
    PIXEL_REPRESENTATION,
    SIGNED_OR_NOT,
    WAVEFORM_BITS_ALLOCATED,
    private_vr,
    standard_vr,
)
from app.dicom.prepared import FAULT, MEMORIES, Faults, Key, Memory, Prepared, head, path_of

ENDLESS = 1 << 62
"""End of what has no end but that of the file."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """VR and byte order of a data set (PS3.5 7.1, 7.3). `order` as in `struct`."""

    explicit: bool
    order: str

    @property
    def kind(self) -> str:
        """A short name, for looking up memories."""
        return f"{'explicit' if self.explicit else 'implicit'}{self.order}"


EXPLICIT_LE = Encoding(True, "<")
EXPLICIT_BE = Encoding(True, ">")
IMPLICIT_LE = Encoding(False, "<")


class DataSet:
    """A data set under way. `hits` are its elements so far, `end` is absolute: no byte of it lies beyond."""

    __slots__ = (
        "_index",
        "_indexed",
        "_scope",
        "charset",
        "defined",
        "encoding",
        "end",
        "hits",
        "mark",
        "memory",
        "parent",
    )

    def __init__(self, end: int, encoding: Encoding, charset: Charset, scope: str, parent: DataSet | None) -> None:
        self.end = end
        self.parent = parent
        self.defined = False
        """It ends at `end`, not at a delimiter."""
        self.mark = 0
        """How many numbers had been deferred before it."""
        self.encoding = encoding
        self._scope = scope
        self.hits: list[Prepared] = []
        self._index: dict[int, str] = {}
        self._indexed = 0
        self.declare(charset)

    def declare(self, charset: Charset) -> None:
        """From here on text is in `charset`."""
        self.charset = charset
        self.memory: Memory = MEMORIES.of(self.encoding.kind + self._scope, charset)

    def text_of(self, tag: int) -> str | None:
        """The text of an element read before, when `prepared.head` says that it is wanted."""
        for hit in self.hits[self._indexed :]:
            if hit[3] is not None:
                self._index[hit[1]] = hit[3]
        self._indexed = len(self.hits)
        return self._index.get(tag)

    def vr_of(self, tag: int) -> str:
        """The VR of an element that does not say it (PS3.5 6.2.2, A.1); `SIGNED_OR_NOT` when that is not known yet."""
        if not tag & 0x10000:
            return self._settled(standard_vr(tag) or "UN")
        element = tag & 0xFFFF
        if 0x10 <= element < 0x100:
            return "LO"
        creator = self.text_of((tag & 0xFFFF0000) | element >> 8)
        return self._settled(private_vr(tag, creator)) if creator else "UN" if element else "UL"

    def _settled(self, vr: str) -> str:
        """One VR where the dictionary names several (PS3.3 C.7.6.3.1.5, C.10.9.1, C.11.1.1.1)."""
        if " " not in vr:
            return vr
        if vr == SIGNED_OR_NOT:
            level: DataSet | None = self
            while level is not None:
                representation = level.text_of(PIXEL_REPRESENTATION)
                if representation:
                    return "US" if representation == "0" else "SS"
                level = level.parent
            return vr
        if vr == "US or OW":
            return "US" if (self.text_of(LUT_DESCRIPTOR) or "").startswith("1\\") else "OW"
        return "OB" if self.encoding.explicit and self.text_of(WAVEFORM_BITS_ALLOCATED) == "8" else "OW"

    def ordered(self) -> tuple[list[Prepared], bool]:
        """The elements by ascending tag, each tag once (the last one counts), and whether they came so."""
        tags = [hit[1] for hit in self.hits]
        if not any(map(ge, tags, tags[1:])):
            return self.hits, True
        last = {hit[1]: hit for hit in self.hits}
        return [last[tag] for tag in sorted(last)], False


class Sequence:
    """A sequence under way: its finished items as JSON. `start` and `end` of its value are absolute."""

    __slots__ = (
        "defined",
        "depth",
        "elements",
        "encoding",
        "end",
        "faults",
        "items",
        "key",
        "lasting",
        "small",
        "start",
        "tag",
        "undo",
    )

    def __init__(self, tag: int, start: int, end: int, encoding: Encoding, key: Key | None) -> None:
        self.tag = tag
        self.start = start
        self.end = end
        self.defined = False
        self.small = False
        """It, or one around it, is short enough to be remembered."""
        self.undo: tuple[int, ...] = ()
        """How far the reader's counts had come before it."""
        self.encoding = encoding
        self.key = key
        self.items: list[bytes] = []
        self.faults: list[tuple[str, str]] = []
        self.elements = 0
        self.depth = 1
        self.lasting = True
        """Nothing in it depends on its place, so that it may be remembered."""

    def add(self, item: DataSet) -> None:
        """Take a finished item."""
        hits, in_order = item.ordered()
        number = len(self.items) + 1
        self.items.append(b"{%b}" % b",".join([hit[0] for hit in hits]))
        self.elements += len(item.hits)
        for hit in hits:
            self.elements += hit[5]
            if hit[6] >= self.depth:
                self.depth = hit[6] + 1
            if hit[4] and len(self.faults) < MOST_FAULTS:
                self.faults.extend([(f"{number}/{path}", message) for path, message in hit[4]])
        if not in_order:
            self.faults.append((f"{number}", "elements out of order"))

    def hit(self) -> Prepared:
        """The finished sequence as an element of the data set that holds it."""
        start, bits = head(self.tag, "SQ")
        step = path_of(self.tag)
        faults: Faults = tuple([(f"{step}/{path}", message) for path, message in self.faults])
        member = b'%b,"Value":[%b]}' % (start, b",".join(self.items)) if self.items else start + b"}"
        return member, self.tag, bits | FAULT if faults else bits, None, faults, self.elements, self.depth


MOST_FAULTS = 100
"""Faults that are reported of one data set."""
