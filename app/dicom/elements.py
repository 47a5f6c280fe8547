"""Value fields to the JSON of PS3.18 Annex F: one function a VR, and the tables that say which VR goes where.

Each converter takes the value bytes and returns the inside of the `Value` array ("" when the value is empty), the text
for the catalog, and what is wrong with the value ("" when nothing). Nothing here refuses: odd values are kept."""

from __future__ import annotations

import re
import struct
from binascii import b2a_base64
from collections.abc import Callable
from math import isfinite

import orjson

from app.dicom.charsets import Charset

Converted = tuple[bytes, str, str]
Converter = Callable[[bytes, Charset, str], Converted]

BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
"""VRs that are InlineBinary in JSON (PS3.18 F.2.7)."""
WORD = {"OB": 1, "UN": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes in one word of a binary VR: what a change of byte order swaps (PS3.5 7.3)."""
LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""VRs with two reserved bytes and a 32-bit length (PS3.5 Table 7.1-1)."""
SHORT = frozenset("AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""VRs with a 16-bit length (PS3.5 Table 7.1-2)."""

_PADDING = " \0"
_dumps = orjson.dumps
_JSON_NUMBER = rb"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,16})?(?:[eE][+-]?[0-9]{1,2})?"
_JSON_NUMBERS = re.compile(_JSON_NUMBER + rb"(?:\\" + _JSON_NUMBER + rb")*")
_JSON_INTEGERS = re.compile(rb"-?(?:0|[1-9][0-9]{0,11})(?:\\-?(?:0|[1-9][0-9]{0,11}))*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_LONGEST_NUMBER = 32
_FEW, _MANY = 16, 1000
_DATE = re.compile(r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_TIME = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?")
_DATETIME = re.compile(r"[0-9]{4}(?:[0-9]{2}){0,5}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?")
_UIDS = re.compile(r"[0-9.]{1,64}")
_GROUPS = ('"Alphabetic":', '"Ideographic":', '"Phonetic":')
_UNDECODABLE = "bytes outside the declared character set"
_EXACT_INTEGER = 1 << 53


def _strings(texts: list[str]) -> bytes:
    """Several values; an empty one is null (PS3.18 F.2.5)."""
    if not any(texts):
        return b""
    return b",".join([_dumps(text) if text else b"null" for text in texts])


def _values(text: str) -> list[str]:
    return [value.rstrip(_PADDING) for value in text.split("\\")]


def _code_string(value: bytes, charset: Charset, order: str) -> Converted:
    text = value.decode("latin_1").rstrip(_PADDING)
    if "\\" in text:
        texts = _values(text)
        return _strings(texts), "\\".join(texts), ""
    return (_dumps(text), text, "") if text else (b"", "", "")


def _application_entity(value: bytes, charset: Charset, order: str) -> Converted:
    texts = [text.strip(_PADDING) for text in value.decode("latin_1").split("\\")]
    return _strings(texts), "\\".join(texts), ""


def _checked(pattern: re.Pattern[str], fault: str) -> Converter:
    """A converter for strings whose every value must match."""
    full = pattern.fullmatch

    def convert(value: bytes, charset: Charset, order: str) -> Converted:
        text = value.decode("latin_1").rstrip(_PADDING)
        if not text:
            return b"", "", ""
        if "\\" not in text:
            return _dumps(text), text, "" if full(text) else fault
        texts = _values(text)
        good = all(full(one) for one in texts if one)
        return _strings(texts), "\\".join(texts), "" if good else fault

    return convert


def _text(value: bytes, charset: Charset, order: str) -> Converted:
    """SH, LO, UC: several values, in the declared character set."""
    text, whole = charset.decode(value)
    text = text.rstrip(_PADDING)
    if "\\" in text:
        texts = _values(text)
        return _strings(texts), "\\".join(texts), "" if whole else _UNDECODABLE
    return _dumps(text) if text else b"", text, "" if whole else _UNDECODABLE


def _paragraph(value: bytes, charset: Charset, order: str) -> Converted:
    """ST, LT, UT: one value, backslashes are text (PS3.5 6.2)."""
    text, whole = charset.decode(value)
    text = text.rstrip(_PADDING)
    return _dumps(text) if text else b"", text, "" if whole else _UNDECODABLE


def _address(value: bytes, charset: Charset, order: str) -> Converted:
    """UR: one value, trailing spaces do not count."""
    text = value.decode("latin_1").rstrip(_PADDING)
    return _dumps(text) if text else b"", text, ""


def _person_name(value: bytes, charset: Charset, order: str) -> Converted:
    text, whole = charset.decode(value, True)
    names = [name.rstrip(_PADDING) for name in text.split("\\")]
    fault = "" if whole else _UNDECODABLE
    parts = []
    for name in names:
        groups = [group.rstrip(_PADDING) for group in name.split("=")]
        if len(groups) > 3:
            fault = fault or "more than three component groups"
        members = [key + _dumps(group).decode() for key, group in zip(_GROUPS, groups, strict=False) if group]
        parts.append("{" + ",".join(members) + "}" if members else "null")
    json = "" if all(part == "null" for part in parts) else ",".join(parts)
    return json.encode(), "\\".join(names), fault


def _number_text(text: str) -> tuple[bytes, bool]:
    """A decimal or integer string as a JSON number, or as a string when it is none (PS3.18 F.2.3)."""
    if len(text) <= _LONGEST_NUMBER:
        raw = text.encode()
        if b"\\" not in raw and _JSON_NUMBERS.fullmatch(raw):
            return raw, True
        if _NUMBER.fullmatch(text):
            number = int(text) if _INTEGER.fullmatch(text) else float(text)
            if isfinite(number):
                return _dumps(number), text.isascii()
    return _dumps(text), False


def _number_string(plain: re.Pattern[bytes], pattern: re.Pattern[str], fault: str) -> Converter:
    """IS and DS: padding may stand on both sides of each value (PS3.5 6.2). `plain` matches values that stand in JSON
    as they are."""
    full = pattern.fullmatch

    def convert(value: bytes, charset: Charset, order: str) -> Converted:
        trimmed = value.strip(b" \0")
        if plain.fullmatch(trimmed):
            return trimmed.replace(b"\\", b","), trimmed.decode("ascii"), ""
        texts = [text.strip(_PADDING) for text in value.decode("latin_1").split("\\")]
        if not any(texts):
            return b"", "", ""
        if len(texts) > _MANY:
            return _strings(texts), "", fault
        numbers = [_number_text(text) if text else (b"null", True) for text in texts]
        good = all(number[1] and (not text or full(text)) for number, text in zip(numbers, texts, strict=True))
        return b",".join([number[0] for number in numbers]), "\\".join(texts), "" if good else fault

    return convert


def _text_of(numbers: tuple[float, ...]) -> str:
    """Binary numbers as text; the catalog wants none of the long ones."""
    return "\\".join(map(repr, numbers)) if len(numbers) <= _FEW else ""


def _integers(code: str, size: int) -> Converter:
    def convert(value: bytes, charset: Charset, order: str) -> Converted:
        numbers = struct.unpack(f"{order}{len(value) // size}{code}", value)
        if len(numbers) == 1:
            text = str(numbers[0])
            return text.encode(), text, ""
        return _dumps(numbers)[1:-1], _text_of(numbers), ""

    return convert


def _wide_integers(code: str) -> Converter:
    """SV and UV: beyond what a JSON number holds everywhere, a string (PS3.18 F.2.3)."""

    def convert(value: bytes, charset: Charset, order: str) -> Converted:
        numbers = struct.unpack(f"{order}{len(value) // 8}{code}", value)
        texts = [str(number) for number in numbers]
        out = [t if -_EXACT_INTEGER <= n <= _EXACT_INTEGER else f'"{t}"' for n, t in zip(numbers, texts, strict=True)]
        return ",".join(out).encode(), "", ""

    return convert


def _floats(code: str, size: int) -> Converter:
    def convert(value: bytes, charset: Charset, order: str) -> Converted:
        numbers = struct.unpack(f"{order}{len(value) // size}{code}", value)
        json = _dumps(numbers)[1:-1]
        if b"null" in json:
            json = b",".join([_dumps(n) if isfinite(n) else _not_finite(n) for n in numbers])
        return json, _text_of(numbers), ""

    return convert


def _not_finite(number: float) -> bytes:
    if number != number:
        return b'"NaN"'
    return b'"Infinity"' if number > 0 else b'"-Infinity"'


def _tags(value: bytes, charset: Charset, order: str) -> Converted:
    digits = (swapped(value, 2) if order == "<" else value).hex().upper()
    return ",".join([f'"{digits[at : at + 8]}"' for at in range(0, len(digits), 8)]).encode(), "", ""


CONVERTERS: dict[str, Converter] = {
    "AE": _application_entity,
    "AS": _checked(re.compile("[0-9]{3}[DWMY]"), "not an age string"),
    "AT": _tags,
    "CS": _code_string,
    "DA": _checked(_DATE, "not a date"),
    "DS": _number_string(_JSON_NUMBERS, _NUMBER, "not a decimal string"),
    "DT": _checked(_DATETIME, "not a date time"),
    "FD": _floats("d", 8),
    "FL": _floats("f", 4),
    "IS": _number_string(_JSON_INTEGERS, _INTEGER, "not an integer string"),
    "LO": _text,
    "LT": _paragraph,
    "PN": _person_name,
    "SH": _text,
    "SL": _integers("i", 4),
    "SS": _integers("h", 2),
    "ST": _paragraph,
    "SV": _wide_integers("q"),
    "TM": _checked(_TIME, "not a time"),
    "UC": _text,
    "UI": _checked(_UIDS, "not a UID"),
    "UL": _integers("I", 4),
    "UR": _address,
    "US": _integers("H", 2),
    "UT": _paragraph,
    "UV": _wide_integers("Q"),
}
SIZE = {"AT": 4, "FD": 8, "FL": 4, "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8}
"""Bytes in one value of a VR of fixed size."""


def inline_binary(value: bytes, vr: str, order: str) -> bytes:
    """The base64 text of a binary value, brought to little endian (PS3.18 F.2.7)."""
    word = WORD[vr]
    if order == ">" and word > 1 and len(value) % word == 0:
        value = swapped(value, word)
    return b2a_base64(value, newline=False)


def swapped(value: bytes, word: int) -> bytes:
    """`value` with the bytes of each word reversed; its length must be a multiple of `word`."""
    out = bytearray(len(value))
    for index in range(word):
        out[index::word] = value[word - 1 - index :: word]
    return bytes(out)
