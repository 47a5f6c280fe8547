"""Search shaped as PS3.18 10.6, asked of a peer by C-FIND in Study Root (PS3.4 C.4.1). Its laws:

The peer does the matching; what it gives passes on, whether it was asked for or matches or not, except studies of other
modalities than asked for. Matches leave as they come. What C-FIND has no counterpart of is told by `Warning: 299`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import parse_qsl

from app.dicom.attributes import TABLE, Level
from app.dicom.query import Query, read_path, read_query
from app.dicom.uid import is_uid
from app.errors import NotFound
from dimse_bridge.identifiers.repertoires import UTF_8
from dimse_bridge.identifiers.request import SPECIFIC_CHARACTER_SET, Identifier, Key
from dimse_bridge.identifiers.results import dicom_json
from dimse_bridge.remote.called import Called, told
from dimse_bridge.remote.http import Pieces, Reply
from dimse_bridge.user.find import find
from dimse_bridge.user.identifiers import encode_identifier, key_of, merged

JSON = "application/dicom+json"
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_NOT_FOUND_BY_DIMSE = frozenset(("SpecificCharacterSet", "RetrieveURL"))
_LEVELS = ("STUDY", "SERIES", "IMAGE")
_RULES = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")
_PARAMETERS = frozenset((*_RULES, "includefield", "limit", "offset", "cursor", "count"))
_SEVERAL = frozenset({"CS", "UI"})
"""Whose values stand in a list with commas (PS3.18 8.3.4.1); in an identifier these are backslashes."""
_FIRST_GROUP = 0x0008


@dataclass(frozen=True, slots=True)
class Search:
    """What a peer is asked, and what of the request it cannot be asked."""

    level: Level
    keys: tuple[Key, ...]
    character_set: str
    offset: int
    limit: int | None
    left_out: tuple[str, ...]


def read_search(level: Level, raw: str, *, study: str = "", series: str = "", character_set: str = "") -> Search:
    """The search of a query string; `character_set` is that of the identifier when the request names none. Raises
    `BadRequest`, `LimitExceeded`, or `NotFound` when `study` or `series` are no UIDs."""
    if not all(is_uid(uid) for uid in (study, series) if uid):
        raise NotFound("no such resource")
    pairs = parse_qsl(raw, keep_blank_values=True, errors="replace") if raw else []
    query = read_query(level, pairs, study=study, series=series)
    reading = _Reading(pairs, query)
    place = [(tag, uid) for tag, uid in ((_STUDY, study), (_SERIES, series)) if uid]
    keys = merged([*_defaults(level), *reading.keys, *(key_of((tag,), uid) for tag, uid in place)])
    terms = reading.character_set or character_set or UTF_8
    encode_identifier(keys, level, "1.2.840.10008.1.2", terms)  # refuses here what cannot be written
    return Search(level, keys, terms, query.page.offset, query.page.limit, tuple(dict.fromkeys(reading.left_out)))


def _defaults(level: Level) -> Iterable[Key]:
    """The attributes of PS3.18 Tables 10.6.3-3 to -5, as far as they are of the level: hierarchical queries ask for no
    others (PS3.4 C.4.1.2.2.1)."""
    levels = ("PATIENT", "STUDY") if level == "STUDY" else (level,)
    for row in TABLE:
        if row.default and row.level in levels and row.keyword not in _NOT_FOUND_BY_DIMSE:
            yield key_of((row.tag,))


class _Reading:
    """The keys of a request, and what is left out."""

    def __init__(self, pairs: list[tuple[str, str]], query: Query) -> None:
        self.keys: list[Key] = []
        self.left_out = list(query.ignored)
        self.character_set = ""
        if query.fields.all:
            self.left_out.append("includefield=all")
        for wanted in query.fields.paths:
            self._add(wanted, "")
        for name, value in pairs:
            if name in _PARAMETERS:
                self._note(name, value)
            elif (path := read_path(name)) is not None:
                self._add(path, value)

    def _note(self, name: str, value: str) -> None:
        if name in ("cursor", "count") or (name in _RULES and value.lower() == "true"):
            self.left_out.append(name)

    def _add(self, path: tuple[int, ...], value: str) -> None:
        if path == (SPECIFIC_CHARACTER_SET,):
            self.character_set = value
            return
        if any(tag >> 16 < _FIRST_GROUP or tag >> 16 == 0xFFFE or tag & 0x10000 for tag in path):
            self.left_out.append(".".join(f"{tag:08X}" for tag in path))
            return
        key = key_of(path)
        several = _innermost(key).vr in _SEVERAL
        self.keys.append(key_of(path, value.replace(",", "\\") if several else value))


def _innermost(key: Key) -> Key:
    while key.items:
        key = key.items[0][0]
    return key


async def search(peer: Called, asked: Search) -> Reply:
    """The matches of a peer; 204 when there are none. Raises `PeerFailed` or `PeerSilent` as long as none has come."""
    headers: tuple[tuple[str, str], ...] = ()
    if asked.left_out:
        text = "parameters that are not supported were ignored: " + ", ".join(asked.left_out)
        headers = (("warning", f'299 fileroom: "{text}"'),)
    matches = _matches(peer, asked)
    try:
        first = await anext(matches, None)
    except BaseException:
        await matches.aclose()
        raise
    if first is None:
        return Reply(204, headers=headers)
    return Reply(200, JSON, _array(first, matches), headers)


async def _matches(peer: Called, asked: Search) -> AsyncGenerator[Identifier, None]:
    seen = 0
    end = None if asked.limit is None else asked.offset + asked.limit
    if asked.limit == 0:
        return
    with told():
        async with aclosing(find(peer, asked.level, asked.keys, character_set=asked.character_set)) as found:
            async for match in found:
                seen += 1
                if seen > asked.offset:
                    yield match
                if end is not None and seen >= end:
                    return


async def _array(first: Identifier, rest: AsyncGenerator[Identifier, None]) -> Pieces:
    async with aclosing(rest) as matches:
        yield b"[\n" + dicom_json(first)
        async for match in matches:
            yield b",\n" + dicom_json(match)
        yield b"\n]"
