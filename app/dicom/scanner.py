"""The single pass over an encoded data set (PS3.5 7): elements, sequences and fragments as their bytes come by.

No recursion: the levels stand on a stack. Long values are skipped and only their places kept."""

from __future__ import annotations

import struct

from app.dicom.charsets import charset_of
from app.dicom.dictionary import PIXEL_REPRESENTATION, SIGNED_OR_NOT, standard_vr
from app.dicom.elements import BINARY, LONG, SHORT, WORD
from app.dicom.frames import PIXEL_TAGS, Fragments
from app.dicom.levels import IMPLICIT_LE, DataSet, Encoding, Sequence
from app.dicom.limits import Limits
from app.dicom.placer import ITEM, ITEM_END, ITEM_HEADERS, SEQUENCE_END, UNDEFINED, Placer
from app.dicom.prepared import FAULT, LONGEST, LONGEST_SEQUENCE, MEMORIES, Key, Prepared, head, path_of, prepare
from app.dicom.signs import Deferred, gap, settle_signs
from app.dicom.stepper import Step
from app.dicom.uid import require_uid
from app.errors import LimitExceeded, Unreadable

_ITEM_END_BYTES = {"<": b"\xfe\xff\x0d\xe0", ">": b"\xff\xfe\xe0\x0d"}
_NO_DATA_SET = (0x0000, 0x0002)
"""Groups of command and file meta elements, which JSON does not have."""
_SEVERAL_TEXTS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "PN", "SH", "TM", "UC", "UI"})
_MANY_TEXTS = LONGEST_SEQUENCE // 2
_TRAILING = "bytes after the data set"
_ZEROS = "zero bytes after the data set"
_CHARACTER_SET = 0x00080005
IDENTIFIERS = {0x0020000D: "Study Instance UID", 0x0020000E: "Series Instance UID", 0x00080018: "SOP Instance UID"}
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


class Scanner(Placer):
    """Reads one data set whose first byte has the offset `start`."""

    def __init__(self, limits: Limits, encoding: Encoding, start: int = 0) -> None:
        super().__init__(limits, encoding, start)
        self._step: Step = self._explicit
        self._taken_whole = LONGEST_SEQUENCE
        """Sequences of up to this length are waited for, to look them up in the memory."""
        self._resume()

    def finish(self) -> None:
        """No more bytes come; raises `Unreadable` when the data set is not complete. After pixel data a few bytes that
        are no element are forgiven: nothing of the image is missing."""
        rest = self._rest()
        image = self.pixels is not None or self.fragments is not None
        if self._step in (self._fragment, self._streamed):
            raise Unreadable("the data set ends inside encapsulated pixel data")
        if self._skip or self._above or (rest.strip(b"\0") and not (image and len(rest) < 8)):
            raise Unreadable("the data set ends inside an element")
        fault = ("", _TRAILING if rest.strip(b"\0") else _ZEROS)
        if rest and fault not in self.faults:
            self.faults.append(fault)
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
        if left == 0 and self._level.defined:
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
        if len(raw) > LONGEST:
            self._weigh(vr, raw, hit)
        if tag == _CHARACTER_SET:
            charset, fault = charset_of(hit[3] or "")
            level.declare(charset)
            if fault:
                hit = (*hit[:2], hit[2] | FAULT, hit[3], ((path_of(tag), fault),), 0, 0)
        elif tag in IDENTIFIERS:
            if not self._above:
                self._identify(tag, hit[3] or "")
        elif len(raw) <= LONGEST:
            MEMORIES.put(level.memory.elements, key or raw, hit)
        return hit

    def _weigh(self, vr: str, raw: bytes, hit: Prepared) -> None:
        """Count what a long value costs: its JSON, and very many texts as elements."""
        if not (self._above and self._above[-1][1].small):
            self._made += len(hit[0])
        if vr in _SEVERAL_TEXTS and (texts := raw.count(b"\\")) > _MANY_TEXTS:
            self._elements += texts

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
        if length == UNDEFINED:
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
        if length == UNDEFINED:
            return "OB" if tag in PIXEL_TAGS else "SQ"
        return self._level.vr_of(tag) if tag & 0x10000 or length < 0xFFFF else "UN"

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
        return self._enter_sequence(data, start, start, tag, UNDEFINED)

    def _enter_sequence(self, data: bytes, pos: int, start: int, tag: int, length: int) -> int:
        """Go into a sequence, or take it from memory when its length is defined and small."""
        level = self._level
        depth = len(self._above)
        key: Key | None = None
        if length <= self._taken_whole:
            if start + length > len(data):
                self._need = start + length - pos
                return pos
            key = data[pos : start + length]
            known = level.memory.sequences.get(key)
            if known is not None and depth + known[6] <= self.limits.sequence_depth:
                self._elements += known[5]
                self._take_sequence(known, True)
                return start + length
        if depth >= self.limits.sequence_depth:
            raise LimitExceeded("sequence_depth", f"more than {self.limits.sequence_depth} nested sequences")
        defined = length != UNDEFINED
        end = self._base + start + length if defined else level.end
        sequence = Sequence(tag, self._base + start, end, level.encoding, key)
        sequence.defined = defined
        sequence.small = key is not None or (depth > 0 and self._above[-1][1].small)
        sequence.undo = (len(self.bulk), len(self.faults), len(self.deferred), self._elements, self._skipped)
        self._above.append((level, sequence))
        self._step = self._items
        return start

    def _forgive(self, data: bytes, error: Unreadable) -> int:
        """A sequence of defined length that contradicts itself is kept as bytes, the outermost one: its own end is
        where the next element begins."""
        depth = next((depth for depth, (_, sequence) in enumerate(self._above) if sequence.defined), None)
        if depth is None:
            raise error
        level, sequence = self._above[depth]
        del self._above[depth:]
        self._level = level
        bulk, faults, deferred, self._elements, self._skipped = sequence.undo
        del self.bulk[bulk:], self.faults[faults:], self.deferred[deferred:]
        self._resume()
        self._fault(sequence.tag, "a sequence that contradicts itself, kept as UN")
        length = sequence.end - sequence.start
        level.hits.append(self._bulk_hit(sequence.tag, "UN", sequence.start, length))
        self._need = 0
        self._skipped += length
        return self._pass_over(data, sequence.end - self._base, 0)

    def _take_sequence(self, hit: Prepared, small: bool) -> None:
        """Add a finished sequence to the level. The JSON of a small one counts as a whole, from memory or not."""
        self._level.hits.append(hit)
        around = self._above[-1][1] if self._above else None
        if around is not None:
            around.depth = max(around.depth, hit[6] + 1)
        if small and not (around is not None and around.small):
            self._made += len(hit[0])

    def _items(self, data: bytes, pos: int) -> int:
        """Between the items of a sequence (PS3.5 7.5)."""
        sequence = self._above[-1][1]
        end = sequence.end - self._base
        if pos == end and sequence.defined:
            self._close_sequence()
            return pos
        if pos + 8 > end:
            raise Unreadable("the length of a sequence does not fit its items")
        if pos + 8 > len(data):
            self._need = 8
            return pos
        if sequence.encoding.order == ">" and data[pos : pos + 4] == b"\xfe\xff\x00\xe0":
            sequence.encoding = IMPLICIT_LE
        group, element, length = ITEM_HEADERS[sequence.encoding.order](data, pos)
        tag = group << 16 | element
        if tag == SEQUENCE_END:
            if pos + 8 != end and sequence.defined:
                raise Unreadable("a sequence ends before its length says")
            self._close_sequence()
            return pos + 8
        if tag != ITEM:
            raise Unreadable("a sequence holds something that is no item")
        return self._enter_item(data, pos, length, end)

    def _enter_item(self, data: bytes, pos: int, length: int, end: int) -> int:
        """Go into an item. One whose first element has no VR is in implicit VR (PS3.5 6.2.2, Note 4)."""
        level, sequence = self._above[-1]
        encoding = sequence.encoding
        if length != UNDEFINED and pos + 8 + length > end:
            raise Unreadable("an item is longer than the sequence that holds it")
        if encoding.explicit and length >= 8:
            if pos + 16 > len(data):
                self._need = 16
                return pos
            first, letters = data[pos + 8 : pos + 12], data[pos + 12 : pos + 14]
            if first != _ITEM_END_BYTES[encoding.order] and not (letters.isalpha() and letters.isupper()):
                encoding = Encoding(False, encoding.order)
        defined = length != UNDEFINED
        item_end = self._base + pos + 8 + length if defined else sequence.end
        self._level = DataSet(item_end, encoding, level.charset, self._scope, level)
        self._level.defined = defined
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
        self._take_sequence(hit, sequence.key is not None)
        self._resume()

    def _delimiter(self, data: bytes, pos: int, tag: int) -> int:
        """A delimitation item, or zeros, where an element was expected."""
        if tag == 0:
            return self._zeros(data, pos)
        if not self._above:
            self._fault(tag, "a delimitation item outside of any sequence")
            return pos + 8
        left = self._level.end - self._base - pos
        if tag == ITEM_END and (left == 8 or not self._level.defined):
            self._close_item()
            return pos + 8
        if tag == SEQUENCE_END and not self._level.defined:
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
