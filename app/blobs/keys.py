"""Readable, versioned blob keys, built only from validated UIDs, so that no input can forge a path."""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass
from functools import lru_cache

from app.dicom.uid import is_uid
from app.errors import Unreadable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
VERSION_LENGTH = 18
_VERSION = re.compile(f"[{_ALPHABET}]{{{VERSION_LENGTH}}}")


def new_version() -> str:
    """A short unique identifier whose order is that of time: 50 bits of microseconds, then 40 random bits."""
    number = ((time.time_ns() // 1000 & (1 << 50) - 1) << 40) | int.from_bytes(os.urandom(5), "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(85, -1, -5))


@dataclass(frozen=True, slots=True)
class Key:
    """The parts of a key. `str()` gives `<two hex digits>/<study>/<series>/<SOP>~<version>.dcm`."""

    study: str
    series: str
    sop: str
    version: str

    def __str__(self) -> str:
        return f"{folder(self.study)}/{self.series}/{self.sop}~{self.version}.dcm"


@lru_cache(4096)
def folder(study: str) -> str:
    """The folder of a study: `<two hex digits of a hash of its UID>/<study UID>`."""
    if not is_uid(study):
        raise Unreadable("not a UID")
    return f"{hashlib.sha256(study.encode('ascii')).hexdigest()[:2]}/{study}"


def make_key(study: str, series: str, sop: str, version: str) -> str:
    """The key; raises `Unreadable` when a part is not a UID or version."""
    if not (is_uid(study) and is_uid(series) and is_uid(sop) and _is_version(version)):
        raise Unreadable("a blob key is built from UIDs only")
    return str(Key(study, series, sop, version))


@lru_cache(1024)
def parse_key(key: str) -> Key | None:
    """The parts of `key`, or None when it is not one of ours."""
    pieces = key.split("/")
    if len(pieces) != 4 or not pieces[3].endswith(".dcm"):
        return None
    sop, tilde, version = pieces[3][:-4].partition("~")
    if not (tilde and is_uid(pieces[1]) and is_uid(pieces[2]) and is_uid(sop) and _is_version(version)):
        return None
    parsed = Key(pieces[1], pieces[2], sop, version)
    return parsed if str(parsed) == key else None


def _is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None
