"""A data set that ends inside an element: what came of it is kept. Values that metadata answers are left out when they
are cut, since a part of a text or number would pass for another value; of a value that is only placed, the bytes that
are there are kept; items and sequences hold what came of them."""

from __future__ import annotations

import struct
from dataclasses import replace

from app.dicom.levels import Encoding
from app.dicom.limits import Limits
from app.dicom.prepared import head, path_of
from app.dicom.scanner import Scanner
from app.errors import Unreadable

_NO_ELEMENT = 0xFFFE
"""Group of item and delimiter tags."""


class LenientScanner(Scanner):
    """A scanner whose data set may end anywhere."""

    def __init__(self, limits: Limits, encoding: Encoding, start: int = 0) -> None:
        super().__init__(limits, encoding, start)
        self.broken_off = ""
        """Why the data set is not whole; empty when it is."""
        self.break_faults: list[tuple[str, str]] = []
        """The same as a fault, with the top-level element that is not whole."""

    def conclude(self) -> None:
        """No more bytes come: as `finish`, but what is not complete ends here, with a fault that says so. Raises
        `Unreadable` for what contradicts itself, and `LimitExceeded`."""
        try:
            self.finish()
        except Unreadable as error:
            self._enter_what_came()
            self.break_off(error.detail, self._where())
            self._cut_value()
            self._close_all()
            self._check(self._at)

    def break_off(self, why: str, where: str = "") -> None:
        """What is there is not all of the data set."""
        self.broken_off = why
        self.break_faults = [(where, why)]

    def _enter_what_came(self) -> None:
        """Go on in what was waiting for more: into short sequences, which are otherwise taken as a whole."""
        self._taken_whole = -1
        rest = self._rest()
        if rest and self._step not in (self._fragment, self._streamed):
            self._parts = []
            self._need = self._have = 0
            self.feed(rest)

    def _where(self) -> str:
        """The tag of the top-level element that is not whole, as far as it is there."""
        if self._above:
            return path_of(self._above[0][1].tag)
        if self.fragments is not None and self._step == self._fragment:
            return path_of(self.fragments.tag)
        if self._step == self._streamed:
            return path_of(self._stream[0])
        if self._skip:
            return path_of(self._level.hits[-1][1])
        rest = self._rest()
        if len(rest) < 4:
            return ""
        group, element = struct.unpack_from(f"{self._level.encoding.order}HH", rest)
        return path_of(group << 16 | element) if group != _NO_ELEMENT else ""

    def _cut_value(self) -> None:
        """The value that is only placed, and not all there."""
        end = self._at + len(self._rest())
        if self.fragments is not None and self._step == self._fragment:
            self.fragments.break_off(end, inside=bool(self._skip))
            self._close_fragments(self.fragments)
        elif self._step == self._streamed:
            tag, vr, offset = self._stream
            self._level.hits.append(self._bulk_hit(tag, vr, offset, end - offset))
        elif self._skip:
            self._cut_bulk(end)
        self._skip = 0

    def _cut_bulk(self, end: int) -> None:
        """The last bulk value ends at `end`: it is shorter than it says, or empty."""
        place = self.bulk.pop()
        left = end - place.offset
        if self.pixels is not None and self.pixels[2] == place.offset:
            self.pixels = (*self.pixels[:3], left) if left else None
        if left:
            self.bulk.append(replace(place, length=left))
            return
        tag = self._level.hits.pop()[1]
        self._level.hits.append((head(tag, place.vr)[0] + b"}", tag, 0, None, (), 0, 0))

    def _close_all(self) -> None:
        """Ends the items and sequences that are open."""
        while self._above:
            if self._level is not self._above[-1][0]:
                self._close_item()
            self._close_sequence()
