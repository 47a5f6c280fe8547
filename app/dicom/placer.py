"""What the scanner does not keep but only places: long values, native pixel data, and the fragments of encapsulated
pixel data as they pass by (PS3.5 8, A.4)."""

from __future__ import annotations

import struct

from app.dicom.charsets import DEFAULT
from app.dicom.dictionary import SIGNED_OR_NOT
from app.dicom.elements import WORD
from app.dicom.frames import PEEK, Fragments, begins_codestream
from app.dicom.header import BULK_MARK, BulkPlace
from app.dicom.levels import ENDLESS, MOST_FAULTS, DataSet, Encoding, Sequence
from app.dicom.limits import Limits
from app.dicom.prepared import Prepared, head, path_of
from app.dicom.signs import Deferred
from app.dicom.stepper import Stepper
from app.errors import LimitExceeded, Unreadable

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
ITEM_HEADERS = {order: struct.Struct(f"{order}HHI").unpack_from for order in "<>"}
_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002


class Placer(Stepper):
    """The part of the scanner that notes places: bulk values, native pixel data, fragments."""

    def __init__(self, limits: Limits, encoding: Encoding, start: int = 0) -> None:
        super().__init__(limits, start)
        self.bulk: list[BulkPlace] = []
        self.faults: list[tuple[str, str]] = []
        self.identifiers: dict[int, str] = {}
        self.pixels: tuple[int, int, int, int] | None = None
        """Native pixel data: tag, bytes in a word, offset, length."""
        self.fragments: Fragments | None = None
        self.extended = {_EXTENDED_OFFSETS: b"", _EXTENDED_LENGTHS: b""}
        self.deferred: list[Deferred] = []
        self._scope = f" {limits.inline_value} {limits.text_value}"
        self.top = self._level = DataSet(ENDLESS, encoding, DEFAULT, self._scope, None)
        self._above: list[tuple[DataSet, Sequence]] = []
        self._stream: tuple[int, str, int] = (0, "", 0)
        self._elements = 0
        self._made = 0
        """Bytes of JSON made of long values, which may be several times as long as these."""

    def _resume(self) -> None:
        """Go on with the elements of the level."""
        raise NotImplementedError

    def _check(self, at: int) -> None:
        super()._check(at)
        if self._elements + len(self._level.hits) > self.limits.elements:
            raise LimitExceeded("elements", f"more than {self.limits.elements} data elements")
        if self._made > self.limits.header:
            raise LimitExceeded("header", f"more than {self.limits.header} bytes of metadata")

    def tables(self) -> tuple[bytes, bytes]:
        """Extended Offset Table and Extended Offset Table Lengths, as far as present."""
        return self.extended[_EXTENDED_OFFSETS], self.extended[_EXTENDED_LENGTHS]

    def _path(self) -> str:
        """The tag path of the item that is being read, with a slash at its end."""
        return "".join([f"{path_of(sequence.tag)}/{len(sequence.items) + 1}/" for _, sequence in self._above])

    def _pin(self) -> None:
        """What is being read depends on where it stands: the sequences around it must not be remembered."""
        for _, sequence in self._above:
            sequence.lasting = False

    def _fault(self, tag: int, message: str) -> None:
        self._pin()
        fault = (self._path() + path_of(tag), message)
        if len(self.faults) < MOST_FAULTS and self.faults[-1:] != [fault]:
            self.faults.append(fault)

    def _bulk_hit(self, tag: int, vr: str, offset: int, length: int) -> Prepared:
        """An element whose value is answered by BulkDataURI."""
        self._pin()
        vr = "US" if vr == SIGNED_OR_NOT else vr
        path = self._path() + path_of(tag)
        self.bulk.append(BulkPlace(path, vr, offset, length))
        start, bits = head(tag, vr)
        uri = (BULK_MARK + path).encode()
        return b'%b,"BulkDataURI":"%b"}' % (start, uri), tag, bits, None, (), 0, 0

    def _native_pixels(self, data: bytes, start: int, tag: int, vr: str, length: int) -> int:
        """Pixel data of defined length, at the top level."""
        if length:
            self._level.hits.append(self._bulk_hit(tag, vr, self._base + start, length))
            self.pixels = (tag, WORD.get(vr, 1), self._base + start, length)
        else:
            self._level.hits.append((head(tag, vr)[0] + b"}", tag, 0, None, (), 0, 0))
        return self._pass_over(data, start, length)

    # -------------------------------------------------------------- fragments

    def _item_header(self, data: bytes, pos: int) -> int | None:
        """The length of the next fragment, -1 at the Sequence Delimitation Item, None when more bytes are needed."""
        if pos + 8 > len(data):
            self._need = 8
            return None
        group, element, length = ITEM_HEADERS[self._level.encoding.order](data, pos)
        tag = group << 16 | element
        if tag == SEQUENCE_END:
            return -1
        if tag != ITEM or length == UNDEFINED or pos + 8 + length > self._level.end - self._base:
            raise Unreadable("encapsulated pixel data holds something that is no fragment")
        return int(length)

    def _fragment(self, data: bytes, pos: int) -> int:
        """Encapsulated pixel data of the image: the offset table, then fragments (PS3.5 A.4)."""
        fragments = self.fragments
        length = self._item_header(data, pos)
        if length is None or fragments is None:
            return pos
        start = pos + 8
        if length < 0:
            fragments.end = self._base + pos
            self._close_fragments(fragments)
            return start
        peek = min(length, PEEK)
        if start + peek > len(data):
            self._need = 8 + peek
            return pos
        first = data[start : start + peek]
        if fragments.basic is None:
            if begins_codestream(first):
                self._fault(fragments.tag, "no Basic Offset Table item")
                fragments.basic = b""
                return pos
            return self._offset_table(data, pos, length, fragments)
        fragments.add(self._base + start, length, first, self.limits.frames)
        if start + length > len(data):
            return self._pass_over(data, start, length)
        end = fragments.take_whole(data, start + length, self._base, self.limits.frames)
        self._skipped += end - start
        return end

    def _offset_table(self, data: bytes, pos: int, length: int, fragments: Fragments) -> int:
        if length > 4 * self.limits.frames:
            raise LimitExceeded("frames", f"an offset table for more than {self.limits.frames} frames")
        if pos + 8 + length > len(data):
            self._need = 8 + length
            return pos
        fragments.basic = data[pos + 8 : pos + 8 + length]
        return pos + 8 + length

    def _close_fragments(self, fragments: Fragments) -> None:
        hit = self._bulk_hit(fragments.tag, fragments.vr, fragments.offset, -1)
        self._level.hits.append(hit)
        self._resume()

    def _streamed(self, data: bytes, pos: int) -> int:
        """Encapsulated values that are not the image: an icon's pixel data, private ones. Only their place is kept."""
        length = self._item_header(data, pos)
        if length is None:
            return pos
        if length < 0:
            tag, vr, offset = self._stream
            self._level.hits.append(self._bulk_hit(tag, vr, offset, self._base + pos - offset))
            self._resume()
            return pos + 8
        self._elements += 1
        return self._pass_over(data, pos + 8, length)
