"""DICOM JSON (PS3.18 Annex F) of a search's results → the identifiers of C-FIND responses (PS3.4 C.4.1.1.3.2).

`Answers` is prepared once for a request and then encodes result by result: the keys that were asked for and no others,
those without a value with zero length. Text goes out in the character set that was asked for when it can carry it, else
in the next one, at last ISO_IR 192."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson

from app.dicom.attributes import Level
from app.dicom.transfer_syntaxes import TransferSyntax, transfer_syntax
from app.dicom.uid import is_uid
from app.errors import ArchiveUnreachable
from dimse_bridge.identifiers.element_values import JUNK, ValueWriter, value_writer
from dimse_bridge.identifiers.keys import INSTANCE_AVAILABILITY, RETRIEVE_AE_TITLE, SERIES_UID, STUDY_UID, is_supported
from dimse_bridge.identifiers.repertoires import UTF_8, Repertoire, repertoire_of
from dimse_bridge.identifiers.request import QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET, Identifier, Key, first_vr

Item = Mapping[str, Any]
_LONG_VRS = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_ONLINE = "ONLINE"
_NAMED = frozenset({STUDY_UID, SERIES_UID})
"""What a resource may name."""
_DEEPEST = 32
_Write = Callable[[Item], bytes]


class _Memory:
    """Encoded answers by the number of their `Answers` and their text; forgets everything when over its budget."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._size = 0
        self._known: dict[tuple[int, bytes], bytes] = {}
        self.get = self._known.get

    def put(self, key: tuple[int, bytes], encoded: bytes) -> None:
        """Remembers one answer."""
        self._size += len(key[1]) + len(encoded) + 300
        if self._size > self._budget:
            self._known.clear()
            self._size = len(key[1]) + len(encoded) + 300
        self._known[key] = encoded


_MEMORY = _Memory(8 << 20)
_NUMBERS = itertools.count()


class Answers:
    """The answers to one request, at `level`; None for a worklist, which has no levels. `ae_title` is ours, where
    retrieves may be asked for; `own_set` the character set for when the request names none."""

    def __init__(
        self, identifier: Identifier, level: Level | None, syntax: str, *, ae_title: str = "", own_set: str = ""
    ) -> None:
        self._constants: dict[int, str] = {}
        self._implied: dict[int, str] = {}
        """What a result need not repeat, since the resource named it."""
        wanted = {key.tag: key for key in identifier.keys}
        if level is not None:
            self._constants = {QUERY_RETRIEVE_LEVEL: level, RETRIEVE_AE_TITLE: ae_title}
            self._implied = {tag: uid for tag in _NAMED if is_uid(uid := identifier.text(tag))}
            self._implied[INSTANCE_AVAILABILITY] = _ONLINE
            for tag in (*self._constants, INSTANCE_AVAILABILITY):
                wanted[tag] = Key(tag, first_vr(tag))
        asked = wanted.pop(SPECIFIC_CHARACTER_SET, None)
        self._keys = [wanted[tag] for tag in sorted(wanted)]
        self._empty = {key.tag for key in self._keys if level is not None and not is_supported(key, level)}
        self._syntax = transfer_syntax(syntax)
        self._says_default = asked is not None
        sets = [identifier.character_set] if identifier.character_set else ["", own_set]
        self._sets = [found for found in map(repertoire_of, dict.fromkeys([*sets, UTF_8])) if found is not None]
        self._encoders: list[_DataSetEncoder] = []
        self._number = next(_NUMBERS)

    def encode_text(self, text: bytes) -> bytes:
        """The data set for one result that is still text. Lists are asked for again and again, so that what became of
        a text is remembered."""
        known = _MEMORY.get((self._number, text))
        if known is None:
            try:
                known = self.encode(orjson.loads(text))
            except orjson.JSONDecodeError as error:
                raise ArchiveUnreachable("the archive's answer is no DICOM JSON") from error
            _MEMORY.put((self._number, text), known)
        return known

    def encode(self, item: Item) -> bytes:
        """The data set for one result. Raises `ArchiveUnreachable` when it is no DICOM JSON."""
        try:
            encoded = self._encode(item)
        except JUNK as error:
            raise ArchiveUnreachable("the archive's answer is no DICOM JSON") from error
        return _deflated(encoded) if self._syntax.deflated else encoded

    def _encode(self, item: Item) -> bytes:
        for at, repertoire in enumerate(self._sets):
            if at == len(self._encoders):
                self._encoders.append(self._prepare(repertoire))
            try:
                return self._encoders[at].encode(item)
            except UnicodeEncodeError:
                pass
        raise ValueError

    def _prepare(self, repertoire: Repertoire) -> _DataSetEncoder:
        encoder = _DataSetEncoder(self._syntax, repertoire)
        if repertoire.terms or self._says_default:
            encoder.constant(SPECIFIC_CHARACTER_SET, "CS", repertoire.terms)
        for key in self._keys:
            if key.tag in self._constants:
                encoder.constant(key.tag, key.vr, self._constants[key.tag])
            elif key.tag in self._empty:
                encoder.constant(key.tag, key.vr, "")
            else:
                encoder.member(key, self._implied.get(key.tag, ""))
        return encoder


def prepare_answers(
    identifier: Identifier, level: Level | None, syntax: str, *, ae_title: str = "", own_set: str = ""
) -> Answers:
    """As `Answers`, the same ones for requests that ask for the same, whatever their conditions are."""
    kept = _NAMED | {SPECIFIC_CHARACTER_SET} if level in ("SERIES", "IMAGE") else {SPECIFIC_CHARACTER_SET}
    keys = tuple([_without_condition(key, kept) for key in identifier.keys])
    return _prepare(Identifier(keys), level, syntax, ae_title, own_set)


@lru_cache(maxsize=64)
def _prepare(identifier: Identifier, level: Level | None, syntax: str, ae_title: str, own_set: str) -> Answers:
    return Answers(identifier, level, syntax, ae_title=ae_title, own_set=own_set)


def _without_condition(key: Key, kept: Set[int]) -> Key:
    if key.items:
        return replace(key, items=tuple([tuple([_without_condition(one, kept) for one in item]) for item in key.items]))
    return key if not key.text or key.tag in kept else Key(key.tag, key.vr)


def encode_answer(item: Item, identifier: Identifier, level: Level, syntax: str, *, ae_title: str) -> bytes:
    """One result, for who has only one."""
    return Answers(identifier, level, syntax, ae_title=ae_title).encode(item)


def encode_whole(item: Item, syntax: str, character_sets: Sequence[str] = ()) -> bytes:
    """All attributes of a DICOM JSON object as a data set, in the first of `character_sets`, ASCII or UTF-8 that can
    carry its text. Raises `ArchiveUnreachable` when it is no DICOM JSON."""
    for repertoire in map(repertoire_of, dict.fromkeys(["", *character_sets, UTF_8])):
        if repertoire is None:
            continue
        encoder = _DataSetEncoder(transfer_syntax(syntax), repertoire)
        if repertoire.terms:
            encoder.constant(SPECIFIC_CHARACTER_SET, "CS", repertoire.terms)
        try:
            return encoder.encode(item) + encoder.whole(item)
        except UnicodeEncodeError:
            continue
        except JUNK as error:
            raise ArchiveUnreachable("the archive's answer is no DICOM JSON") from error
    raise ArchiveUnreachable("the archive's answer is no text of Unicode")


def _deflated(encoded: bytes) -> bytes:
    """PS3.5 A.5: the whole data set deflated, and padded to an even length."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = stream.compress(encoded) + stream.flush()
    return deflated + b"\0" if len(deflated) % 2 else deflated


class _DataSetEncoder:
    """Elements of one data set or item, in order. Each member is a function, so that a result costs one call a key."""

    def __init__(self, syntax: TransferSyntax, repertoire: Repertoire) -> None:
        self._syntax = syntax
        self._order = ">" if syntax.big_endian else "<"
        self._repertoire = repertoire
        self._members: list[tuple[str, _Write, bytes]] = []
        """Tag as in JSON, what writes the element, and what stands there when the result has none."""
        self._begin = b""
        self._values: dict[int, _Write] = {}

    def constant(self, tag: int, vr: str, text: str) -> None:
        """An element that is the same in all results."""
        element = self._element(tag, vr, self._writer(vr)([text]) if text else b"")
        if self._members:
            self._members.append(("", lambda _: b"", element))
        else:
            self._begin += element

    def member(self, key: Key, otherwise: str = "") -> None:
        """An element that the result decides; `otherwise` is its value where the result says nothing."""
        empty = self._element(key.tag, key.vr, self._writer(key.vr)([otherwise]) if otherwise else b"")
        if key.vr == "SQ" or any(key.items):
            self._members.append((f"{key.tag:08X}", self._sequence(key), empty))
        else:
            self._members.append((f"{key.tag:08X}", self._value(key.tag), empty))

    def encode(self, item: Item) -> bytes:
        """One result, or one item of a sequence."""
        get = item.get
        parts = [self._begin]
        for name, write, empty in self._members:
            element = get(name)
            parts.append(empty if element is None else write(element))
        return b"".join(parts)

    def whole(self, item: Item) -> bytes:
        """Every attribute of `item` but Specific Character Set."""
        return self._whole_item(item, 0)

    def _writer(self, vr: str) -> ValueWriter:
        return value_writer(vr, self._repertoire, self._order)

    def _value(self, tag: int) -> _Write:
        """The writer of an element that is no sequence. The VR is what the result says."""
        known: dict[str, tuple[bytes, ValueWriter, bool]] = {}
        pack_short = struct.Struct(f"{self._order}H").pack
        pack_long = struct.Struct(f"{self._order}I").pack
        explicit = self._syntax.explicit

        def write(element: Item) -> bytes:
            vr = element["vr"]
            ready = known.get(vr)
            if ready is None:
                if vr == "SQ":
                    return self._whole_sequence(tag, element, 1)
                ready = known[vr] = (_head(tag, vr, self._syntax), self._writer(vr), explicit and vr not in _LONG_VRS)
            head, writer, short = ready
            values = element.get("Value")
            value = writer(values) if values else writer.binary(element)
            length = len(value)
            if not short:
                return head + pack_long(length) + value
            if length > 0xFFFE:
                return _head(tag, "UN", self._syntax) + pack_long(length) + value
            return head + pack_short(length) + value

        return write

    def _element(self, tag: int, vr: str, value: bytes) -> bytes:
        short = self._syntax.explicit and vr not in _LONG_VRS
        return _head(tag, vr, self._syntax) + struct.pack(f"{self._order}{'H' if short else 'I'}", len(value)) + value

    # -- sequences

    def _sequence(self, key: Key) -> _Write:
        """Items with the keys that were asked for in them; whole ones when none was (PS3.4 C.2.2.2.6)."""
        inner = {one.tag: one for item in key.items for one in item if one.tag != SPECIFIC_CHARACTER_SET}
        if not inner:
            return lambda element: self._whole_sequence(key.tag, element, 1)
        encoder = _DataSetEncoder(self._syntax, self._repertoire)
        for tag in sorted(inner):
            encoder.member(inner[tag])
        return lambda element: self._items(key.tag, [encoder.encode(item or {}) for item in element.get("Value", ())])

    def _whole_sequence(self, tag: int, element: Item, depth: int) -> bytes:
        if depth > _DEEPEST:
            raise ValueError
        items: Sequence[Item | None] = element.get("Value") or ()
        return self._items(tag, [self._whole_item(item or {}, depth) for item in items])

    def _whole_item(self, item: Item, depth: int) -> bytes:
        parts = []
        for name in sorted(item):
            tag, element = int(name, 16), item[name]
            if element["vr"] == "SQ":
                parts.append(self._whole_sequence(tag, element, depth + 1))
            elif tag != SPECIFIC_CHARACTER_SET:
                write = self._values.get(tag) or self._values.setdefault(tag, self._value(tag))
                parts.append(write(element))
        return b"".join(parts)

    def _items(self, tag: int, items: list[bytes]) -> bytes:
        item_head = struct.pack(f"{self._order}HH", 0xFFFE, 0xE000)
        pack = struct.Struct(f"{self._order}I").pack
        return self._element(tag, "SQ", b"".join([item_head + pack(len(item)) + item for item in items]))


@lru_cache(maxsize=4096)
def _head(tag: int, vr: str, syntax: TransferSyntax) -> bytes:
    """Tag and VR of an element, and the reserved bytes, without its length (PS3.5 7.1)."""
    order = ">" if syntax.big_endian else "<"
    head = struct.pack(f"{order}HH", *divmod(tag, 0x10000))
    if not syntax.explicit:
        return head
    return head + vr.encode("ascii") + (b"\0\0" if vr in _LONG_VRS else b"")
