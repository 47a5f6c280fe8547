"""What one data element becomes, and the bounded memory of it: consecutive instances of a series share most elements,
so the bytes of a whole element (tag, VR, length, value) are looked up before anything is decoded."""

from __future__ import annotations

from functools import lru_cache

from app.dicom import attributes, frames
from app.dicom.charsets import Charset
from app.dicom.dictionary import LUT_DESCRIPTOR, LUT_DESCRIPTORS, PIXEL_REPRESENTATION, WAVEFORM_BITS_ALLOCATED
from app.dicom.elements import BINARY, CONVERTERS, SIZE, inline_binary

Faults = tuple[tuple[str, str], ...]
Prepared = tuple[bytes, int, int, str | None, Faults, int, int]
"""JSON member, tag, bits, text for the catalog, faults (tag path, message), nested elements, nested sequences."""

STUDY, SERIES, INSTANCE, TEXT, FAULT = 1, 2, 4, 8, 16
"""Bits: where the member is answered, and that it has a text or faults."""
_WANTED = (
    attributes.INDEXED | frames.IMAGE_TAGS | {0x00080005, PIXEL_REPRESENTATION, LUT_DESCRIPTOR, WAVEFORM_BITS_ALLOCATED}
)
_ODD = "odd length"
LONGEST = 256
"""Longest element, header included, that is remembered."""
LONGEST_SEQUENCE = 4096
_MOST_ENTRIES = 20_000
_MOST_BYTES = 24 * 1024 * 1024

Key = bytes | tuple[str, bytes]


class Memory:
    """Prepared elements and sequences under one encoding and character set."""

    __slots__ = ("elements", "sequences")

    def __init__(self) -> None:
        self.elements: dict[Key, Prepared] = {}
        self.sequences: dict[Key, Prepared] = {}


class Memories:
    """All memories of this process; forgets everything when over its budget."""

    def __init__(self, most_entries: int = _MOST_ENTRIES, most_bytes: int = _MOST_BYTES) -> None:
        self._memories: dict[tuple[str, Charset], Memory] = {}
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self.entries = 0
        self.bytes = 0

    def of(self, kind: str, charset: Charset) -> Memory:
        """The memory for an encoding (`explicit<` ...) and a character set."""
        memory = self._memories.get((kind, charset))
        if memory is None:
            memory = self._memories[kind, charset] = Memory()
        return memory

    def put(self, where: dict[Key, Prepared], key: Key, prepared: Prepared) -> None:
        """Remember one element or sequence."""
        self.entries += 1
        self.bytes += len(key) + len(prepared[0]) + 250
        if self.entries > self._most_entries or self.bytes > self._most_bytes:
            self.clear()
        where[key] = prepared

    def clear(self) -> None:
        """Forget everything; readers at work keep their dictionaries."""
        for memory in self._memories.values():
            memory.elements.clear()
            memory.sequences.clear()
        self.entries = self.bytes = 0


MEMORIES = Memories()


@lru_cache(maxsize=16384)
def head(tag: int, vr: str) -> tuple[bytes, int]:
    """The JSON member up to its value, and the bits; `TEXT` when the catalog or the reader wants the text."""
    level = attributes.LEVEL_OF.get(tag)
    bits = STUDY if level in ("PATIENT", "STUDY") else SERIES if level == "SERIES" else 0
    if tag in attributes.INSTANCE_DEFAULT:
        bits |= INSTANCE
    if tag in _WANTED or (tag & 0x10000 and 0x10 <= tag & 0xFFFF < 0x100):
        bits |= TEXT
    return b'"%08X":{"vr":"%s"' % (tag, vr.encode()), bits


def path_of(tag: int) -> str:
    """One step of a tag path."""
    return f"{tag:08X}"


def prepare(tag: int, vr: str, value: bytes, charset: Charset, order: str) -> Prepared:
    """One element that is no sequence, with a value that is kept in metadata."""
    if not value:
        start, bits = head(tag, vr)
        return start + b"}", tag, bits, "" if bits & TEXT else None, (), 0, 0
    fault = _ODD if len(value) & 1 else ""
    size = SIZE.get(vr)
    if size is not None and len(value) % size:
        fault = f"length does not fit {vr}, kept as UN"
        vr, order = "UN", "<"
    start, bits = head(tag, vr)
    text: str | None = None
    if vr in BINARY:
        member = b'%b,"InlineBinary":"%b"}' % (start, inline_binary(value, vr, order))
    else:
        json, text, wrong = CONVERTERS[vr](value, charset, order)
        if vr == "SS" and tag in LUT_DESCRIPTORS:
            json, text = _unsigned_first(text)
        fault = wrong or fault
        member = b'%b,"Value":[%b]}' % (start, json) if json else start + b"}"
    if fault:
        return member, tag, bits | FAULT, text if bits & TEXT else None, ((path_of(tag), fault),), 0, 0
    return member, tag, bits, text if bits & TEXT else None, (), 0, 0


def _unsigned_first(text: str) -> tuple[bytes, str]:
    """A LUT descriptor whose first value was read as signed."""
    first, *rest = text.split("\\")
    if rest and first.startswith("-"):
        first = str(int(first) + 65536)
    texts = [first, *rest]
    return ",".join(texts).encode(), "\\".join(texts)
