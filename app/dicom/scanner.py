"""The single pass over an encoded data set (PS3.5 7): elements, sequences and fragments as their bytes come by.

No recursion: the levels stand on a stack. Long values are skipped and only their places kept."""

from __future__ import annotations

import struct

from app.dicom.charsets import DEFAULT, charset_of
from app.dicom.dictionary import PIXEL_REPRESENTATION, SIGNED_OR_NOT, standard_vr
from app.dicom.elements import BINARY, LONG, SHORT, WORD
from app.dicom.frames import PEEK, PIXEL_TAGS, Fragments, begins_codestream
from app.dicom.header import BULK_MARK, BulkPlace
from app.dicom.levels import ENDLESS, IMPLICIT_LE, MOST_FAULTS, DataSet, Encoding, Sequence
from app.dicom.limits import Limits
from app.dicom.prepared import LONGEST, LONGEST_SEQUENCE, MEMORIES, Key, Prepared, head, path_of, prepare
from app.dicom.signs import Deferred, gap, settle_signs
from app.dicom.stepper import Step, Stepper
from app.dicom.uid import require_uid
from app.errors import LimitExceeded, Unreadable

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_END_BYTES = {"<": b"\xfe\xff\x0d\xe0", ">": b"\xff\xfe\xe0\x0d"}
_NO_DATA_SET = (0x0000, 0x0002)
"""Groups of command and file meta elements, which JSON does not have."""
_ZEROS = "zero bytes after the data set"
_CHARACTER_SET = 0x00080005
IDENTIFIERS = {0x0020000D: "Study Instance UID", 0x0020000E: "Series Instance UID", 0x00080018: "SOP Instance UID"}
_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
_WINDOW = 64 * 1024
"""Header bytes between two looks at the limits."""

_HEADERS = {
    "explicit<": struct.Struct("<HHHH").unpack_from,
    "explicit>": struct.Struct(">HHHH").unpack_from,
    "implicit<": struct.Struct("<HHI").unpack_from,
    "implicit>": struct.Struct(">HHI").unpack_from,
}
_NAMES = {order: {struct.unpack(f"{order}H", vr.encode())[0]: vr for vr in SHORT | LONG} for order in "<>"}
_SHORT = {order: frozenset(code for code, vr in names.items() if vr in SHORT) for order, names in _NAMES.items()}
_LENGTHS = {order: struct.Struct(f"{order}I").unpack_from for order in "<>"}
_TAGS = {order: struct.Struct(f"{order}HHI").unpack_from for order in "<>"}


class Scanner(Stepper):
    """Reads one data set whose first byte has the offset `start`."""

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
        self._step: Step = self._explicit
        self._resume()

    def _check(self, at: int) -> None:
        super()._check(at)
        if self._elements + len(self._level.hits) > self.limits.elements:
            raise LimitExceeded("elements", f"more than {self.limits.elements} data elements")

    def tables(self) -> tuple[bytes, bytes]:
        """Extended Offset Table and Extended Offset Table Lengths, as far as present."""
        return self.extended[_EXTENDED_OFFSETS], self.extended[_EXTENDED_LENGTHS]

    def finish(self) -> None:
        """No more bytes come; raises `Unreadable` when the data set is not complete."""
        rest = self._rest()
        if self._skip or self._above or (rest and rest.strip(b"\0")):
            raise Unreadable("the data set ends inside an element")
        if self._step in (self._fragment, self._streamed):
            raise Unreadable("the data set ends inside encapsulated pixel data")
        if rest and ("", _ZEROS) not in self.faults:
            self.faults.append(("", _ZEROS))
        self._check(self._at)

    # --------------------------------------------------------------- elements

    def _resume(self) -> None:
        """Go on with the elements of the level."""
        encoding = self._level.encoding
        self._unpack = _HEADERS[encoding.kind]
        self._step = self._explicit if encoding.explicit else self._implicit

    def _explicit(self, data: bytes, pos: int) -> int:
        """Elements of a data set with explicit VR: the hot loop, written flat because each call costs."""
        level, step = self._level, self._step
        hits = level.hits
        get = level.memory.elements.get
        unpack = self._unpack
        order = level.encoding.order
        short = _SHORT[order]
        bound = min(len(data), level.end - self._base)
        last = min(bound - 8, pos + _WINDOW)
        while pos <= last:
            group, element, vr, length = unpack(data, pos)
            if vr in short:
                end = pos + 8 + length
                if end > bound:
                    return self._beyond(pos, end)
                raw = data[pos:end]
                hit = get(raw)
                if hit is None:
                    hit = self._fresh(group << 16 | element, _NAMES[order][vr], raw, 8, pos)
                    get = level.memory.elements.get
                if hit:
                    hits.append(hit)
                pos = end
            else:
                pos = self._other(data, pos, group << 16 | element, vr)
                if self._need or self._step is not step:
                    return pos
        return pos if pos <= bound - 8 else self._leave(pos)

    def _implicit(self, data: bytes, pos: int) -> int:
        """Elements of a data set with implicit VR."""
        level, step = self._level, self._step
        hits = level.hits
        get = level.memory.elements.get
        unpack = self._unpack
        bound = min(len(data), level.end - self._base)
        last = min(bound - 8, pos + _WINDOW)
        while pos <= last:
            group, element, length = unpack(data, pos)
            end = pos + 8 + length
            if end <= bound and length <= LONGEST:
                hit = get(data[pos:end])
                if hit is not None:
                    hits.append(hit)
                    pos = end
                    continue
            tag = group << 16 | element
            if group == 0xFFFE or tag == 0:
                pos = self._delimiter(data, pos, tag)
            else:
                pos = self._value(data, pos, 8, tag, level.vr_of(tag), length)
            if self._need or self._step is not step:
                return pos
            get = level.memory.elements.get
        return pos if pos <= bound - 8 else self._leave(pos)

    def _leave(self, pos: int) -> int:
        """The loop ran out of bytes: at the end of the item, or of what has come so far."""
        left = self._level.end - self._base - pos
        if left == 0:
            self._close_item()
        elif left < 8:
            raise Unreadable("the length of an item does not fit its elements")
        else:
            self._need = 8
        return pos

    def _beyond(self, pos: int, end: int) -> int:
        """An element ends beyond what there is."""
        if end > self._level.end - self._base:
            raise Unreadable("an element is longer than the item that holds it")
        self._need = end - pos
        return pos

    def _fresh(self, tag: int, vr: str, raw: bytes, header: int, pos: int, key: Key = b"") -> Prepared | None:
        """An element not seen before: prepare it, remember it, obey it. None for what JSON does not have: Group
        Length, command and file meta elements."""
        level = self._level
        if not tag & 0xFFFF or tag >> 16 in _NO_DATA_SET:
            self._elements += 1
            return None
        if len(raw) - header > self.limits.text_value and vr not in BINARY:
            return self._bulk_hit(tag, vr, self._base + pos + header, len(raw) - header)
        hit = prepare(tag, vr, raw[header:], level.charset, level.encoding.order)
        if tag == _CHARACTER_SET:
            charset, fault = charset_of(hit[3] or "")
            level.declare(charset)
            if fault:
                hit = (*hit[:4], ((path_of(tag), fault),), 0, 0)
        elif tag in IDENTIFIERS:
            if not self._above:
                self._identify(tag, hit[3] or "")
        elif len(raw) <= LONGEST:
            MEMORIES.put(level.memory.elements, key or raw, hit)
        return hit

    def _identify(self, tag: int, text: str) -> None:
        uid = require_uid(text, IDENTIFIERS[tag])
        if self.identifiers.setdefault(tag, uid) != uid:
            raise Unreadable(f"{IDENTIFIERS[tag]} stands twice, with different values")

    def _other(self, data: bytes, pos: int, tag: int, code: int) -> int:
        """In explicit VR: whatever has no 16-bit length."""
        if tag >> 16 == 0xFFFE or tag == 0:
            return self._delimiter(data, pos, tag)
        order = self._level.encoding.order
        vr = _NAMES[order].get(code)
        if vr is None:
            return self._unknown_vr(data, pos, tag)
        if pos + 12 > len(data):
            return self._beyond(pos, pos + 12)
        length = _LENGTHS[order](data, pos + 8)[0]
        if vr == "UN":
            vr = self._known_vr(tag, length)
        return self._value(data, pos, 12, tag, vr, length)

    def _value(self, data: bytes, pos: int, header: int, tag: int, vr: str, length: int) -> int:
        """Any element by its tag, VR and length: keep it, note its place, or go into it."""
        start = pos + header
        if length == _UNDEFINED:
            return self._undefined(data, start, tag, vr)
        if start + length > self._level.end - self._base:
            raise Unreadable("an element is longer than the item that holds it")
        if vr == "SQ":
            return self._enter_sequence(data, pos, start, tag, length)
        if not self._above and tag in PIXEL_TAGS:
            return self._native_pixels(data, start, tag, vr, length)
        table = tag in self.extended and not self._above and length <= 8 * self.limits.frames
        long = length > (self.limits.inline_value if vr in BINARY else self.limits.text_value)
        if long and not table:
            self._level.hits.append(self._bulk_hit(tag, vr, self._base + start, length))
            return self._pass_over(data, start, length)
        if start + length > len(data):
            self._need = header + length
            return pos
        raw = data[pos : start + length]
        if table:
            self.extended[tag] = raw[header:]
        hit = self._bulk_hit(tag, vr, self._base + start, length) if long else self._kept(tag, vr, raw, header, pos)
        if hit is not None:
            self._level.hits.append(hit)
        return start + length

    def _kept(self, tag: int, vr: str, raw: bytes, header: int, pos: int) -> Prepared | None:
        """An element that stands whole in `raw`; its VR may have come from its context."""
        if vr == SIGNED_OR_NOT:
            self._pin()
            self.deferred.append(Deferred(self._path(), tag, raw[header:], self._level.encoding.order))
            return gap(len(self.deferred) - 1), tag, head(tag, "US")[1], None, (), 0, 0
        key: Key = raw if standard_vr(tag) == vr else (vr, raw)
        return self._level.memory.elements.get(key) or self._fresh(tag, vr, raw, header, pos, key)

    # -------------------------------------------------------------------- VRs

    def _unknown_vr(self, data: bytes, pos: int, tag: int) -> int:
        """No VR of the standard: two letters are a newer VR (PS3.5 7.1.2), anything else is implicit VR by mistake."""
        order = self._level.encoding.order
        letters, size = data[pos + 4 : pos + 6], struct.unpack_from(f"{order}H", data, pos + 6)[0]
        if letters.isalpha() and letters.isupper():
            wide = size == 0 and pos + 12 <= self._level.end - self._base
            if wide and pos + 12 > len(data):
                return self._beyond(pos, pos + 12)
            self._fault(tag, "unknown VR, kept as UN")
            if wide:
                return self._value(data, pos, 12, tag, "UN", _LENGTHS[order](data, pos + 8)[0])
            return self._value(data, pos, 8, tag, "UN", size)
        self._fault(tag, "implicit VR in a data set with explicit VR")
        return self._value(data, pos, 8, tag, self._level.vr_of(tag), _LENGTHS[order](data, pos + 4)[0])

    def _known_vr(self, tag: int, length: int) -> str:
        """The VR of an element that calls itself UN (PS3.5 6.2.2)."""
        if length == _UNDEFINED:
            return "OB" if tag in PIXEL_TAGS else "SQ"
        return self._level.vr_of(tag) if tag & 0x10000 or length < 0xFFFF else "UN"

    # ----------------------------------------------------------------- places

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
        start, bits, _ = head(tag, vr)
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

    # -------------------------------------------------------------- sequences

    def _undefined(self, data: bytes, start: int, tag: int, vr: str) -> int:
        """A value of undefined length: fragments or a sequence (PS3.5 7.1.1, A.4)."""
        if tag in PIXEL_TAGS or (vr in WORD and vr != "UN"):
            vr = vr if vr in WORD and self._level.encoding.explicit else "OB"
            if tag in PIXEL_TAGS and not self._above:
                self.fragments = Fragments(tag, vr, self._base + start)
                self._step = self._fragment
            else:
                self._stream = (tag, vr, self._base + start)
                self._step = self._streamed
            return start
        if vr not in ("SQ", "UN"):
            raise Unreadable("an element of undefined length that is neither a sequence nor encapsulated")
        return self._enter_sequence(data, start, start, tag, _UNDEFINED)

    def _enter_sequence(self, data: bytes, pos: int, start: int, tag: int, length: int) -> int:
        """Go into a sequence, or take it from memory when its length is defined and small."""
        level = self._level
        depth = len(self._above)
        key: Key | None = None
        if length <= LONGEST_SEQUENCE:
            if start + length > len(data):
                self._need = start + length - pos
                return pos
            key = data[pos : start + length]
            known = level.memory.sequences.get(key)
            if known is not None and depth + known[6] <= self.limits.sequence_depth:
                self._take_sequence(known)
                return start + length
        if depth >= self.limits.sequence_depth:
            raise LimitExceeded("sequence_depth", f"more than {self.limits.sequence_depth} nested sequences")
        end = ENDLESS if length == _UNDEFINED else self._base + start + length
        self._above.append((level, Sequence(tag, end, level.encoding, key)))
        self._step = self._items
        return start

    def _take_sequence(self, hit: Prepared) -> None:
        """Add a finished sequence to the level."""
        self._level.hits.append(hit)
        if self._above:
            around = self._above[-1][1]
            around.depth = max(around.depth, hit[6] + 1)

    def _items(self, data: bytes, pos: int) -> int:
        """Between the items of a sequence (PS3.5 7.5)."""
        sequence = self._above[-1][1]
        end = sequence.end - self._base
        if pos == end:
            self._close_sequence()
            return pos
        if pos + 8 > end:
            raise Unreadable("the length of a sequence does not fit its items")
        if pos + 8 > len(data):
            self._need = 8
            return pos
        if sequence.encoding.order == ">" and data[pos : pos + 4] == b"\xfe\xff\x00\xe0":
            sequence.encoding = IMPLICIT_LE
        group, element, length = _TAGS[sequence.encoding.order](data, pos)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            if pos + 8 != end and sequence.end != ENDLESS:
                raise Unreadable("a sequence ends before its length says")
            self._close_sequence()
            return pos + 8
        if tag != _ITEM:
            raise Unreadable("a sequence holds something that is no item")
        return self._enter_item(data, pos, length, end)

    def _enter_item(self, data: bytes, pos: int, length: int, end: int) -> int:
        """Go into an item. One whose first element has no VR is in implicit VR (PS3.5 6.2.2, Note 4)."""
        level, sequence = self._above[-1]
        encoding = sequence.encoding
        if length != _UNDEFINED and pos + 8 + length > end:
            raise Unreadable("an item is longer than the sequence that holds it")
        if encoding.explicit and length >= 8:
            if pos + 16 > len(data):
                self._need = 16
                return pos
            first, letters = data[pos + 8 : pos + 12], data[pos + 12 : pos + 14]
            if first != _ITEM_END_BYTES[encoding.order] and not (letters.isalpha() and letters.isupper()):
                encoding = Encoding(False, encoding.order)
        item_end = ENDLESS if length == _UNDEFINED else self._base + pos + 8 + length
        self._level = DataSet(item_end, encoding, level.charset, self._scope, level)
        self._level.mark = len(self.deferred)
        self._resume()
        return pos + 8

    def _close_item(self) -> None:
        level, sequence = self._above[-1]
        self._elements += len(self._level.hits)
        if self.deferred:
            settle_signs(self.deferred[self._level.mark :], self._level.text_of(PIXEL_REPRESENTATION))
        sequence.add(self._level)
        self._level = level
        self._step = self._items

    def _close_sequence(self) -> None:
        sequence = self._above.pop()[1]
        hit = sequence.hit()
        if sequence.key is not None and sequence.lasting:
            MEMORIES.put(self._level.memory.sequences, sequence.key, hit)
        self._take_sequence(hit)
        self._resume()

    def _delimiter(self, data: bytes, pos: int, tag: int) -> int:
        """A delimitation item, or zeros, where an element was expected."""
        if tag == 0:
            return self._zeros(data, pos)
        if not self._above:
            self._fault(tag, "a delimitation item outside of any sequence")
            return pos + 8
        left = self._level.end - self._base - pos
        if tag == _ITEM_END and (self._level.end == ENDLESS or left == 8):
            self._close_item()
            return pos + 8
        if tag == _SEQUENCE_END and self._level.end == ENDLESS:
            self._close_item()
            return pos
        raise Unreadable("a delimitation item where an element was expected")

    def _zeros(self, data: bytes, pos: int) -> int:
        """Zero bytes after the last element, as some writers pad to a block; otherwise (0000,0000) is skipped."""
        if self._above:
            raise Unreadable("zero bytes where an element was expected")
        zeros = len(data) - pos - len(data[pos:].lstrip(b"\0"))
        if zeros < 8:
            if len(data) < pos + 8:
                self._need = 8
                return pos
            return self._value(data, pos, 8, 0, "UL", _LENGTHS[self._level.encoding.order](data, pos + 4)[0])
        if not self.faults or self.faults[-1] != ("", _ZEROS):
            self.faults.append(("", _ZEROS))
        self._skipped += zeros & ~7
        return pos + (zeros & ~7)

    # -------------------------------------------------------------- fragments

    def _item_header(self, data: bytes, pos: int) -> int | None:
        """The length of the next fragment, -1 at the Sequence Delimitation Item, None when more bytes are needed."""
        if pos + 8 > len(data):
            self._need = 8
            return None
        group, element, length = _TAGS[self._level.encoding.order](data, pos)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return -1
        if tag != _ITEM or length == _UNDEFINED or pos + 8 + length > self._level.end - self._base:
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
        return self._pass_over(data, start, length)

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
