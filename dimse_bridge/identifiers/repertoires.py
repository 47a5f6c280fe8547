"""Text to the bytes of a Specific Character Set (PS3.3 C.12.1.1.2), with ISO 2022 code extensions (PS3.5 6.1.2.5).

The counterpart of `app.dicom.charsets`, which reads them. Text that a character set cannot carry is refused with
`UnicodeEncodeError`, so that the caller can fall back to one that can."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

Encode = Callable[[str], bytes]
UTF_8 = "ISO_IR 192"

_CODECS = {
    "6": "ascii",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "166": "tis_620",
    "192": "utf_8",
    "203": "iso8859_15",
}
_ALONE = {"ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
_TERM = re.compile(r"ISO(?:_|[ _]2022[ _])IR[ _]?([0-9]{1,3})")
_MANY_BYTES = frozenset({"58", "87", "149", "159"})
"""Sets of two bytes a character: with code extensions only, and never what a value begins with."""
_TO_ASCII, _TO_ROMAN = b"\x1b(B", b"\x1b(J"
_DELIMITERS = frozenset("\t\n\f\r\\")
_NAME_DELIMITERS = _DELIMITERS | frozenset("^=")
_HALF_WIDTH = 0xFF61 - 0xA1
"""What separates a half-width katakana letter of Unicode from its byte in JIS X 0201."""


@dataclass(frozen=True, slots=True)
class Repertoire:
    """A character set for answers. `terms` is how (0008,0005) says it; `text` and `name` encode LO and the like, and
    PN."""

    terms: str
    text: Encode
    name: Encode


@dataclass(frozen=True, slots=True)
class _Set:
    """One character set that an escape sequence puts into G0 (`low`) or G1; `code` gives the bytes of a character, or
    none."""

    escape: bytes
    low: bool
    code: Callable[[str], bytes]


def _coder(codec: str, strip: bytes = b"") -> Callable[[str], bytes]:
    """The bytes of one character that is not ASCII; `strip` is the escape sequence that the codec writes first."""

    def code(character: str) -> bytes:
        try:
            encoded = character.encode(codec)
        except UnicodeEncodeError:
            return b""
        if strip:
            return encoded[len(strip) : len(strip) + 2] if encoded.startswith(strip) else b""
        return encoded

    return code


def _katakana(character: str) -> bytes:
    return bytes((ord(character) - _HALF_WIDTH,)) if "\uff61" <= character <= "\uff9f" else b""


_G1_ESCAPES = {
    "100": b"-A",
    "101": b"-B",
    "109": b"-C",
    "110": b"-D",
    "126": b"-F",
    "127": b"-G",
    "138": b"-H",
    "144": b"-L",
    "148": b"-M",
    "166": b"-T",
    "203": b"-b",
}
_SETS = {number: _Set(b"\x1b" + escape, False, _coder(_CODECS[number])) for number, escape in _G1_ESCAPES.items()} | {
    "13": _Set(b"\x1b)I", False, _katakana),
    "58": _Set(b"\x1b$)A", False, _coder("gb2312")),
    "149": _Set(b"\x1b$)C", False, _coder("euc_kr")),
    "87": _Set(b"\x1b$B", True, _coder("iso2022_jp", b"\x1b$B")),
    "159": _Set(b"\x1b$(D", True, _coder("iso2022_jp_2", b"\x1b$(D")),
}


@lru_cache(maxsize=256)
def repertoire_of(terms: str) -> Repertoire | None:
    """The character set of (0008,0005) as it was asked for; None when a term is not known. "" is the default
    repertoire."""
    names = [term.strip(" \0").upper() for term in terms.split("\\")]
    if len(names) == 1 and names[0] in _ALONE:
        return _plain(terms, _ALONE[names[0]])
    numbers = [_number(name) for name in names]
    if None in numbers or "192" in numbers[1:]:
        return None
    known = [number or "6" for number in numbers]
    if len(known) == 1 and known[0] in _CODECS:
        return _plain(terms, _CODECS[known[0]])
    return Repertoire(terms, _extended(known, _DELIMITERS), _extended(known, _NAME_DELIMITERS))


def _number(term: str) -> str | None:
    """The ISO registration number of a defined term, "" for an empty one, None when it is not known."""
    match = _TERM.fullmatch(term)
    number = match[1].lstrip("0") if match else ""
    if number in _MANY_BYTES and "2022" not in term:
        return None
    return number if not term or number in _CODECS or number in _SETS else None


def _plain(terms: str, codec: str) -> Repertoire:
    def encode(text: str) -> bytes:
        return text.encode(codec)

    return Repertoire(terms, encode, encode)


def _extended(numbers: Sequence[str], delimiters: frozenset[str]) -> Encode:
    """The encoder of code extensions. `numbers[0]` is what stands in G0 and G1 at the beginning, after each delimiter
    and at the end."""
    sets = [_SETS[number] for number in dict.fromkeys(numbers) if number in _SETS]
    first = _SETS.get(numbers[0])
    initial = first if numbers[0] not in _MANY_BYTES else None
    back = _TO_ROMAN if numbers[0] == "13" else _TO_ASCII

    def encode(text: str) -> bytes:
        if text.isascii():
            return text.encode("ascii")
        out = bytearray()
        low: _Set | None = None
        high = initial
        for at, character in enumerate(text):
            if character < "\x80":
                if low is not None:
                    out += back
                    low = None
                if character in delimiters:
                    high = initial
                out.append(ord(character))
                continue
            chosen, code = _find(sets, text, at)
            if chosen.low and chosen is not low:
                out += chosen.escape
                low = chosen
            elif not chosen.low and chosen is not high:
                out += chosen.escape
                high = chosen
            out += code
        return bytes(out + back if low is not None else out)

    return encode


def _find(sets: Sequence[_Set], text: str, at: int) -> tuple[_Set, bytes]:
    for candidate in sets:
        code = candidate.code(text[at])
        if code:
            return candidate, code
    raise UnicodeEncodeError("iso-2022", text, at, at + 1, "in none of the character sets that were asked for")
