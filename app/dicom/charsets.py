"""Specific Character Set (PS3.3 C.12.1.1.2) and its decoding with ISO 2022 code extensions (PS3.5 6.1.2.5).

Decoding never fails: what a character set does not know becomes U+FFFD, and the caller is told. Values are split at
backslashes only after decoding, since the second byte of a two-byte character may be 0x5C."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_SINGLE_BYTE = {
    "6": "latin_1",
    "13": "shift_jis",
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
    "203": "iso8859_15",
}
_MULTI_BYTE = {"58": "gb2312", "149": "euc_kr", "87": "latin_1", "159": "latin_1"}
_ALONE = {
    "ISO_IR 192": "utf_8",
    "ISO 2022 IR 192": "utf_8",
    "UTF8": "utf_8",
    "UTF-8": "utf_8",
    "UTF_8": "utf_8",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO 2022 GBK": "gbk",
}
_NAMES = {"LATIN1": "latin_1", "LATIN_1": "latin_1", "ISO8859": "latin_1", "ASCII": "latin_1", "GB2312": "gb2312",
          "ISO 2022 58": "gb2312", "EUC_KR": "euc_kr", "SHIFT_JIS": "shift_jis"}  # fmt: skip
_BY_NUMBER = {**_SINGLE_BYTE, **_MULTI_BYTE, "14": "shift_jis", "192": "utf_8"}
_DEFINED_TERMS = frozenset(
    {"ISO_IR 192", "GB18030", "GBK"}
    | {f"ISO_IR {number}" for number in _SINGLE_BYTE}
    | {f"ISO 2022 IR {number}" for number in (*_SINGLE_BYTE, *_MULTI_BYTE)}
)
_ISO_IR = re.compile(r"ISO.?IR.?([0-9]{1,3})")
_ISO_2022 = re.compile(r"ISO.?2022.?IR.?([0-9]{1,3})")

_SET_OF_ESCAPE = {
    b"(B": "ascii",
    b"(J": "roman",
    b"$B": "iso2022_jp",
    b"$@": "iso2022_jp",
    b"$(D": "iso2022_jp_2",
    b")I": "shift_jis",
    b"$)C": "euc_kr",
    b"$)A": "gb2312",
    b"-A": "latin_1",
    b"-B": "iso8859_2",
    b"-C": "iso8859_3",
    b"-D": "iso8859_4",
    b"-F": "iso8859_7",
    b"-G": "iso8859_6",
    b"-H": "iso8859_8",
    b"-L": "iso8859_5",
    b"-M": "iso8859_9",
    b"-T": "tis_620",
    b"-b": "iso8859_15",
}
"""Escape sequences of PS3.3 Tables C.12-3 and C.12-4 → Python codec; `(`, `$B`, `$@`, `$(` go to G0, others to G1."""
_MOST_ESCAPES = 20_000
_TWO_BYTE_G0 = {"iso2022_jp": b"\x1b$B", "iso2022_jp_2": b"\x1b$(D"}
_ESCAPE = re.compile(rb"\x1b(\$[()][0-?]?[@-~]|\$[@AB]|[()\-][@-~])")
_RESET = re.compile(rb"([\t\n\f\r])")
_RESET_G0_ASCII = re.compile(rb"([\t\n\f\r\\])")
_RESET_PN = re.compile(rb"([\t\n\f\r\\^=])")


@dataclass(frozen=True, slots=True)
class Charset:
    """How the text of one data set is decoded. `codec` is the initial one; `extended` allows escape sequences."""

    codec: str = "latin_1"
    extended: bool = True
    ascii_only: bool = True
    """Without a declared character set only ISO-IR 6 is legal; other bytes are read as Latin-1."""
    own_g1: bool = False
    """The initial character set has characters above 0x7F of its own."""

    def decode(self, value: bytes, person_name: bool = False) -> tuple[str, bool]:
        """The text, and whether every byte had a meaning in the declared character set."""
        if self.extended and b"\x1b" in value and value.count(b"\x1b") <= _MOST_ESCAPES:
            return _decode_extended(self, value, person_name)
        try:
            text = value.decode(self.codec)
        except UnicodeDecodeError:
            return value.decode(self.codec, "replace"), False
        return text, not self.ascii_only or text.isascii()


DEFAULT = Charset()
"""ISO-IR 6, for data sets that name no character set."""


@lru_cache(maxsize=256)
def charset_of(terms: str) -> tuple[Charset, str]:
    """The character set of (0008,0005) as it stands in the data set, and what is wrong with it ("" when nothing).

    Misspelt terms are understood when they leave no doubt; unknown ones count as the default repertoire."""
    names = [term.strip(" \0") for term in terms.split("\\")]
    if not any(names):
        return DEFAULT, ""
    codec, fault = _codec_of(names[0])
    if codec in ("utf_8", "gb18030", "gbk"):
        extra = "" if len(names) == 1 else "code extensions do not go with this character set"
        return Charset(codec, extended=False, ascii_only=False), fault or extra
    for name in names[1:]:
        other, other_fault = _codec_of(name)
        if other in ("utf_8", "gb18030", "gbk"):
            other_fault = "a character set without code extensions cannot be a further value"
        fault = fault or other_fault
    plain = codec == "latin_1" and not re.search("100$", names[0])
    return Charset(codec, ascii_only=plain and len(names) == 1 and not fault, own_g1=not plain), fault


def _codec_of(term: str) -> tuple[str, str]:
    """The codec of one defined term, and what is wrong with the term."""
    if not term:
        return "latin_1", ""
    upper = term.upper()
    found = _ISO_2022.fullmatch(upper) or _ISO_IR.fullmatch(upper)
    number = found[1].lstrip("0") if found else ""
    codec = _ALONE.get(upper) or _BY_NUMBER.get(number) or _NAMES.get(upper)
    if codec is None:
        return "latin_1", "unknown character set, read as ISO_IR 6"
    return codec, "" if term in _DEFINED_TERMS else "misspelt character set"


def _decode_extended(charset: Charset, value: bytes, person_name: bool) -> tuple[str, bool]:
    """Follow the escape sequences of PS3.5 6.1.2.5; G0 and G1 fall back to the initial sets at each delimiter."""
    pieces = _ESCAPE.split(value)
    out: list[str] = []
    whole = True
    g0, g1 = "ascii", charset.codec
    for index, piece in enumerate(pieces):
        if index % 2:
            target = _SET_OF_ESCAPE.get(piece)
            if target is None:
                out.append("\ufffd")
                whole = False
            elif piece[:1] == b"(" or target in _TWO_BYTE_G0:
                g0 = target
            else:
                g1 = target
            continue
        delimiter = _RESET if g0 in _TWO_BYTE_G0 else _RESET_PN if person_name else _RESET_G0_ASCII
        for number, run in enumerate(delimiter.split(piece)):
            if number % 2:
                g0 = "ascii"
                g1 = charset.codec if charset.own_g1 else g1
                out.append(run.decode("ascii"))
                continue
            text, clean = _decode_run(run, g0, g1)
            out.append(text)
            whole = whole and clean
    return "".join(out), whole


def _decode_run(run: bytes, g0: str, g1: str) -> tuple[str, bool]:
    """One run without escape sequence or delimiter."""
    if not run:
        return "", True
    prefix = _TWO_BYTE_G0.get(g0)
    codec = g1 if prefix is None else g0
    if prefix is not None:
        run = prefix + run
    try:
        return run.decode(codec), True
    except UnicodeDecodeError:
        return run.decode(codec, "replace"), False
