"""Small instances, built byte by byte in microseconds: thousands a test. What one holds can be told from its token."""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
from dataclasses import dataclass, replace

EXPLICIT_LE = b"1.2.840.10008.1.2.1"
SECONDARY_CAPTURE = b"1.2.840.10008.5.1.4.1.1.7"
_ROOT = f"1.2.826.0.1.3680043.10.1433.{os.getpid()}"
_numbers = itertools.count(1)


def new_uid() -> str:
    """A UID that nobody else in this run has."""
    return f"{_ROOT}.{next(_numbers)}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One instance with one content: `token` stands in Image Comments and seeds the pixels."""

    study: str
    series: str
    sop: str
    token: str
    rows: int = 32

    @property
    def path(self) -> str:
        """Its resource below the DICOMweb root."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.sop}"

    def other_content(self) -> Sample:
        """The same instance with other content."""
        return replace(self, token=new_token())

    def encode(self) -> bytes:
        """The Part 10 file, Explicit VR Little Endian."""
        meta = _element(0x00020001, b"OB", b"\0\1") + b"".join(
            _element(tag, b"UI", value)
            for tag, value in (
                (0x00020002, SECONDARY_CAPTURE),
                (0x00020003, self.sop.encode()),
                (0x00020010, EXPLICIT_LE),
            )
        )
        seed = hashlib.sha256(self.token.encode()).digest()
        pixels = (seed * (self.rows * 2 + 1))[: self.rows * 64]
        elements = (
            (0x00080016, b"UI", SECONDARY_CAPTURE),
            (0x00080018, b"UI", self.sop.encode()),
            (0x00080020, b"DA", b"20240229"),
            (0x00080060, b"CS", b"OT"),
            (0x00100010, b"PN", b"Sample^" + self.study[-6:].encode()),
            (0x00100020, b"LO", b"S" + self.study[-6:].encode()),
            (0x0020000D, b"UI", self.study.encode()),
            (0x0020000E, b"UI", self.series.encode()),
            (0x00204000, b"LT", self.token.encode()),
            (0x00280002, b"US", struct.pack("<H", 1)),
            (0x00280004, b"CS", b"MONOCHROME2"),
            (0x00280010, b"US", struct.pack("<H", self.rows)),
            (0x00280011, b"US", struct.pack("<H", 64)),
            (0x00280100, b"US", struct.pack("<H", 8)),
            (0x00280101, b"US", struct.pack("<H", 8)),
            (0x00280102, b"US", struct.pack("<H", 7)),
            (0x00280103, b"US", struct.pack("<H", 0)),
            (0x7FE00010, b"OB", pixels),
        )
        length = _element(0x00020000, b"UL", struct.pack("<I", len(meta)))
        return bytes(128) + b"DICM" + length + meta + b"".join(_element(*element) for element in elements)


def new_token() -> str:
    """Names a content."""
    return os.urandom(8).hex()


def new_sample(study: str = "", series: str = "", rows: int = 32) -> Sample:
    """An instance that nobody stored yet."""
    study = study or new_uid()
    return Sample(study, series or f"{study}.1", new_uid(), new_token(), rows)


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HI", 0, len(value)) if vr == b"OB" else struct.pack("<H", len(value))) + value
