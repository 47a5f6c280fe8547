"""Person names (PN, PS3.5 6.2.1), folded to match without regard to case and accents (PS3.4 C.2.2.2.1, C.2.2.2.4)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ı": "i", "ŧ": "t", "ŋ": "n"}
)
"""Letters that Unicode does not decompose, as they are commonly written without their mark."""
_CONTROLS = re.compile(r"[\0-\x1f\x7f]+")
_MARKS = re.compile(
    "[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
"""Accents and vowel points. Kana voicing marks and Hangul letters are not among them: they make another word."""
_SPACES = re.compile(r"\s+")
_AROUND = re.compile(r" ?([\^=]) ?")
_TRAILING_CARETS = re.compile(r"\^+(?==|$)")
_WORD_ENDS = re.compile(r"[\^=,\-\s]+")


def fold(text: str) -> str:
    """`text` in lower case, without accents, compatibility forms (full width, ligatures) resolved."""
    text = text.casefold()
    if text.isascii():
        return text
    text = _MARKS.sub("", unicodedata.normalize("NFKD", text)).translate(_LETTERS)
    return unicodedata.normalize("NFC", text.casefold())


@lru_cache(maxsize=1024)
def search_key(pn: str) -> str:
    """The folded form of a PN value that catalog and queries compare: its groups joined by `=`, spaces collapsed, empty
    components at the end of a group and empty groups at the end dropped."""
    key = fold(_CONTROLS.sub(" ", pn))
    key = _AROUND.sub(r"\1", _SPACES.sub(" ", key).strip())
    return _TRAILING_CARETS.sub("", key).rstrip("=")


def groups(key: str) -> list[str]:
    """The component groups of a search key that have a value."""
    return [group for group in key.split("=") if group] if "=" in key else [key] if key else []


def words(pn: str) -> list[str]:
    """The folded words of a name or of a fuzzy query: what stands between `^`, `=`, commas, hyphens and spaces."""
    return [word for word in _WORD_ENDS.split(fold(_CONTROLS.sub(" ", pn))) if word]


def matches_fuzzily(query: str, pn: str) -> bool:
    """Whether each word of `query` begins some word of the name, in any order (`fuzzymatching`, PS3.18 8.3.4.2)."""
    of_name = words(pn)
    return all(any(word.startswith(wanted) for word in of_name) for wanted in words(query))
