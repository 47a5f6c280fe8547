"""Identifiers that we send (PS3.4 C.4.1.1.3.1): from `keyword=value` or keys to a data set. Specific Character Set
always goes with them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom.datadict import tag_for_keyword

from app.dicom.elements import LONG
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from app.errors import BadRequest
from dimse_bridge.conversion.data_sets import DataSetConversion
from dimse_bridge.identifiers.element_values import value_writer
from dimse_bridge.identifiers.repertoires import UTF_8, Repertoire, repertoire_of
from dimse_bridge.identifiers.request import QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET, Key, first_vr

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_WHOLE = frozenset({"LT", "ST", "UT", "UR"})


def parse_key(text: str) -> Key:
    """`PatientName=DOE*`, `00100010=DOE*`, `RequestAttributesSequence.RequestedProcedureID=7`, or a name alone, which
    asks for the value. Raises `BadRequest`."""
    path, _, value = text.partition("=")
    return key_of([_tag(name) for name in path.split(".")], value)


def key_of(path: Sequence[int], value: str = "") -> Key:
    """The key of a tag path, the last of which has the value; those before it are sequences."""
    *outer, last = path
    key = Key(last, first_vr(last), value)
    for tag in reversed(outer):
        key = Key(tag, "SQ", items=((key,),))
    return key


def _tag(name: str) -> int:
    tag = tag_for_keyword(name)
    if tag is None and len(name) == 8:
        try:
            tag = int(name, 16)
        except ValueError:
            tag = None
    if tag is None:
        raise BadRequest(f"{name} is neither a keyword nor a tag of eight hexadecimal digits")
    return int(tag)


def merged(keys: Iterable[Key]) -> tuple[Key, ...]:
    """The keys by ascending tag; those for the same sequence become one item."""
    found: dict[int, Key] = {}
    for key in keys:
        before = found.get(key.tag)
        if before is not None and before.items and key.items:
            key = Key(key.tag, "SQ", items=(merged([*before.items[0], *key.items[0]]),))
        found[key.tag] = key
    return tuple(found[tag] for tag in sorted(found))


def encode_identifier(keys: Iterable[Key], level: str, syntax: str, character_set: str = UTF_8) -> bytes:
    """The data set in transfer syntax `syntax`. Raises `BadRequest` for what the character set cannot carry."""
    repertoire = repertoire_of(character_set)
    if repertoire is None:
        raise BadRequest(f"{character_set} is no character set that we can write")
    own = [Key(SPECIFIC_CHARACTER_SET, "CS", character_set), Key(QUERY_RETRIEVE_LEVEL, "CS", level)]
    try:
        encoded = _data_set(merged([*keys, *own]), repertoire)
    except (UnicodeEncodeError, ValueError, struct.error) as error:
        raise BadRequest("a key has a value that cannot be written") from error
    conversion = DataSetConversion(EXPLICIT_LE, syntax)
    return b"".join([*conversion.feed(encoded), *conversion.finish()])


def _data_set(keys: Sequence[Key], repertoire: Repertoire) -> bytes:
    return b"".join(_element(key, repertoire) for key in keys)


def _element(key: Key, repertoire: Repertoire) -> bytes:
    vr = "UN" if len(key.vr) != 2 else key.vr
    if vr == "SQ" or key.items:
        vr, value = "SQ", b"".join(_item(_data_set(item, repertoire)) for item in key.items)
    else:
        value = value_writer(vr, repertoire, "<")(_values(key)) if key.text else b""
    head = struct.pack("<HH2s", *divmod(key.tag, 0x10000), vr.encode("ascii"))
    return head + (struct.pack("<HI", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))) + value


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def _values(key: Key) -> list[Any]:
    """The values as DICOM JSON has them."""
    texts = [key.text] if key.vr in _WHOLE else key.text.split("\\")
    if key.vr == "PN":
        return [dict(zip(_GROUPS, text.split("="), strict=False)) for text in texts]
    if key.vr in ("US", "SS", "UL", "SL", "UV", "SV"):
        return [int(text) for text in texts]
    return [float(text) for text in texts] if key.vr in ("FL", "FD") else list(texts)
