"""The one place that reads Accept (RFC 9110 12.5.1; PS3.18 8.3.3, 8.6, 8.7): from what a client takes and what we could
send to the one representation that is sent. Pure functions. For each offer the most specific entry of the Accept header
that fits tells its weight; the heaviest offer wins, and between equals the one that the server names first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from app.dicom import media_types as media
from app.dicom.limits import DEFAULT
from app.dicom.transfer_syntaxes import (
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    is_native,
    transfer_syntax,
)
from app.errors import LimitExceeded, NotAcceptable
from app.pixels import targets

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_Q = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_ANY = "*/*"


class Entry(NamedTuple):
    """One member of an Accept header. `media_type` is that of the part when `multipart`; `packaging` tells which
    packagings it takes: `single`, `multipart` or, for wildcards, `any`."""

    packaging: str
    media_type: str
    transfer_syntax: str
    q: float

    def __str__(self) -> str:
        syntax = f"; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else ""
        weight = "" if self.q == 1 else f"; q={self.q:g}"
        inner = f'multipart/related; type="{self.media_type}"' if self.packaging == "multipart" else self.media_type
        return f"{inner}{syntax}{weight}"


class Offer(NamedTuple):
    """One representation that can be sent. `transfer_syntax` is that of the bytes ("" when it means nothing for the
    type); `unnamed`: also when the client named no transfer syntax; `starred`: also for `transfer-syntax=*`."""

    multipart: bool
    media_type: str
    transfer_syntax: str = ""
    unnamed: bool = True
    starred: bool = True

    @property
    def label(self) -> str:
        """The Content-Type of the body, or of each part."""
        if not self.transfer_syntax:
            return self.media_type
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"

    @property
    def accept(self) -> str:
        """An Accept header that asks for it."""
        inner = f'multipart/related; type="{self.media_type}"' if self.multipart else self.media_type
        return f"{inner}; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else inner


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """`text` cut at each `separator` that is not inside a quoted string; linear."""
    if '"' not in text:
        return text.split(separator)
    pieces, start, quoted, escaped = [], 0, False, False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\" and quoted:
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == separator and not quoted:
            pieces.append(text[start:at])
            start = at + 1
    pieces.append(text[start:])
    return pieces


def _unquote_string(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _parameters(pieces: Iterable[str]) -> dict[str, str]:
    """Parameters by name; the first of a name counts. Parameters inside a quoted `type` are taken too."""
    found: dict[str, str] = {}
    for piece in pieces:
        name, equals, raw = piece.partition("=")
        name = name.strip().lower()
        value = _unquote_string(raw.strip())
        if not equals or not name:
            continue
        if name == "type" and ";" in value:
            value, *inner = value.split(";")
            for key, inner_value in _parameters(inner).items():
                found.setdefault(key, inner_value)
        found.setdefault(name, value.strip())
    return found


def _media_type(text: str) -> str:
    kind, slash, sub = text.strip().partition("/")
    if not slash or _TOKEN.fullmatch(kind) is None or _TOKEN.fullmatch(sub) is None:
        return _ANY if text.strip() == "*" else ""
    return media.canonical(f"{kind}/{sub}")


def _entry(text: str) -> Entry | None:
    head, *rest = split_outside_quotes(text, ";")
    outer = _media_type(head)
    if not outer or (outer.startswith("*/") and outer != _ANY):
        return None
    given = _parameters(rest)
    weight = given.get("q", "1")
    if _Q.fullmatch(weight) is None:
        return None
    syntax = given.get("transfer-syntax", "")
    if outer in (media.MULTIPART, "multipart/*"):
        inner = _media_type(given["type"]) if given.get("type") else _ANY
        return Entry("multipart", inner, syntax, float(weight)) if inner else None
    packaging = "any" if outer == _ANY else "single"
    return Entry(packaging, outer, syntax, float(weight))


@lru_cache(512)
def parse_accept(header: str) -> tuple[Entry, ...]:
    """The entries of an Accept header; members that are no media range are left out. An empty header means `*/*`.
    Raises `LimitExceeded` (`accept`)."""
    if len(header) > DEFAULT.accept:
        raise LimitExceeded("accept", f"the Accept header has more than {DEFAULT.accept} characters")
    if not header.strip(" ,\t"):
        return (Entry("any", _ANY, "", 1.0),)
    return tuple(entry for member in split_outside_quotes(header, ",") if (entry := _entry(member.strip())))


def accept_of(header: str, query: str) -> str:
    """What the client takes: the query parameter `accept` (PS3.18 8.3.3.1) when there is one, else the Accept header.
    A bare `+` in the query stays what it is: `application/dicom+json` is often sent so."""
    if "accept=" in query:
        given = [unquote(piece[7:]) for piece in query.split("&") if piece.startswith("accept=") and len(piece) > 7]
        if given:
            return ",".join(given)
    return header


def _fits(entry: Entry, offer: Offer) -> int:
    """How specifically `entry` takes `offer`; 0: not at all."""
    if entry.packaging != "any" and (entry.packaging == "multipart") != offer.multipart:
        return 0
    rank = _type_rank(entry.media_type, offer.media_type)
    if not rank or not offer.transfer_syntax:
        return rank
    if not entry.transfer_syntax:
        return rank if offer.unnamed or (offer.starred and entry.media_type == _ANY) else 0
    if entry.transfer_syntax == "*":
        return rank + 1 if offer.starred else 0
    return rank + 2 if entry.transfer_syntax == offer.transfer_syntax else 0


def _type_rank(wanted: str, offered: str) -> int:
    if wanted == offered:
        return 6
    if wanted == _ANY:
        return 1
    return 3 if wanted.endswith("/*") and offered.startswith(wanted[:-1]) else 0


def _weight(entries: Sequence[Entry], offer: Offer) -> float:
    best, weight = 0, 0.0
    for entry in entries:
        rank = _fits(entry, offer)
        if rank > best or (rank == best and rank and entry.q > weight):
            best, weight = rank, entry.q
    return weight


@lru_cache(1024)
def choose(accept: str, offers: tuple[Offer, ...]) -> Offer | None:
    """The offer to send, or None. `offers` stand in the server's order of preference."""
    entries = parse_accept(accept)
    chosen, weight = None, 0.0
    for offer in offers:
        of_offer = _weight(entries, offer)
        if of_offer > weight:
            chosen, weight = offer, of_offer
    return chosen


@lru_cache(256)
def preferred(accept: str, offers: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """`offers` in the order for this client: a browser that was led to the address wants a single part."""
    if "text/html" not in accept:
        return offers
    return tuple(sorted(offers, key=lambda offer: offer.multipart))


@dataclass(frozen=True, slots=True)
class Stored:
    """What negotiation must know of an instance: its transfer syntax, whether it has pixel data at all (without it,
    nothing is compressed), whether its pixel data would be too long for Explicit VR Little Endian, what its frames can
    be transcoded to, the cheapest first; None when only the transfer syntax is known; whether its data set ends inside
    an element, so that it can only leave as it is stored; and whether its pixels are known to be too short."""

    transfer_syntax: str
    pixels: bool = True
    over_long: bool = False
    targets: tuple[str, ...] | None = None
    broken_off: bool = False
    too_short: bool = False


@lru_cache(512)
def possible(stored: Stored) -> tuple[str, ...]:
    """The transfer syntaxes, besides the stored one, that the instance can be sent in."""
    if stored.broken_off:
        return ()
    row = transfer_syntax(stored.transfer_syntax)
    if not row.encapsulated or not stored.pixels:
        found: list[str] = [EXPLICIT_LE, IMPLICIT_LE, *([] if row.encapsulated else [EXPLICIT_BE])]
    else:
        found = [] if stored.over_long or not targets.is_decoded(row.uid) else list(targets.NATIVE)
    if stored.pixels and targets.is_decoded(row.uid):
        found += targets.COMPRESSED
    known = stored.targets
    return tuple(
        uid
        for uid in found
        if uid != row.uid and (known is None or uid in known or (is_native(uid) and is_native(row.uid)))
    )


def needs_codec(stored: Stored, offer: Offer) -> bool:
    """Whether sending it means encoding pixels, so that more must be known of them."""
    return offer.transfer_syntax != stored.transfer_syntax and offer.transfer_syntax in targets.COMPRESSED


@lru_cache(512)
def dicom_offers(stored: Stored, multipart: bool, single: bool) -> tuple[Offer, ...]:
    """What an instance can be sent as in `application/dicom` (PS3.18 8.7.3.2, 8.7.3.4). Without a name, Explicit VR
    Little Endian, unless the pixels are lossy or would be too long; what needs a codec comes last, and nothing is ever
    compressed without being asked by name."""
    row = transfer_syntax(stored.transfer_syntax)
    only_named = media.leaves_only_when_named(row) and not stored.broken_off
    as_stored = row.encapsulated and (media.stored_without_asking(row) or stored.over_long or not stored.pixels)
    as_stored = as_stored or stored.broken_off
    found = []
    for in_parts in (True, False):
        if not (multipart if in_parts else single):
            continue
        others = [Offer(in_parts, media.DICOM, uid, False, False) for uid in possible(stored) if uid != EXPLICIT_LE]
        explicit = Offer(in_parts, media.DICOM, EXPLICIT_LE, not as_stored, only_named)
        own = Offer(in_parts, media.DICOM, row.uid, row.uid == EXPLICIT_LE or as_stored, not only_named)
        if EXPLICIT_LE not in possible(stored):
            found += [own, *others]
        else:
            found += [own, explicit, *others] if row.encapsulated else [explicit, own, *others]
    return tuple(found)


@lru_cache(512)
def file_parts(stored: Stored) -> tuple[Offer, ...]:
    """What an instance can be as one of several parts."""
    return dicom_offers(stored, True, False)


@lru_cache(512)
def zip_offers(stored: Stored) -> tuple[Offer, ...]:
    """What an instance can be inside a ZIP file: as stored unless something else is named."""
    offers = sorted(
        dicom_offers(stored, False, True), key=lambda offer: offer.transfer_syntax != stored.transfer_syntax
    )
    return tuple(offer._replace(media_type=media.ZIP, unnamed=offer.unnamed or offer.starred) for offer in offers)


def container(accept: str, offers: tuple[Offer, ...]) -> str:
    """The media type among `offers` that the client takes best; the first of them when it takes none."""
    return (choose(accept, offers) or offers[0]).media_type


@lru_cache(512)
def frame_offers(stored: str, single: bool, transcodes: tuple[str, ...] | None = None) -> tuple[Offer, ...]:
    """What frames stored in a transfer syntax can be sent as (PS3.18 Tables 8.7.3-4 and -5). Native frames are little
    endian octets whatever the stored byte order; compressed ones their own type, or octets that say what they hold.
    Then comes what they can be made, cheapest first; `transcodes` limits it to what the pixels allow."""
    row = transfer_syntax(stored)
    packagings = (True, False) if single else (True,)
    able = possible(Stored(stored))
    transcodes = able if transcodes is None else tuple(uid for uid in transcodes if uid in able)
    if not row.encapsulated or stored == ENCAPSULATED_UNCOMPRESSED:
        offers = [Offer(in_parts, media.OCTET_STREAM, EXPLICIT_LE) for in_parts in packagings]
        return (*offers, *_made(packagings, [uid for uid in transcodes if uid in targets.COMPRESSED]))
    unasked = media.stored_without_asking(row)
    offers = [
        Offer(in_parts, row.media_type, stored, unnamed=True)
        for in_parts in packagings
        if row.media_type != media.OCTET_STREAM
    ]
    offers += [Offer(in_parts, media.OCTET_STREAM, stored, unasked) for in_parts in packagings]
    if EXPLICIT_LE in transcodes:
        offers += [Offer(in_parts, media.OCTET_STREAM, EXPLICIT_LE, not unasked, False) for in_parts in packagings]
    return (*offers, *_made(packagings, [uid for uid in transcodes if uid in targets.COMPRESSED]))


def _made(packagings: tuple[bool, ...], syntaxes: Sequence[str]) -> list[Offer]:
    """Frames that have to be encoded: a type without a name means its default, which never loses anything."""
    return [
        offer
        for uid in syntaxes
        for in_parts in packagings
        for kind in (transfer_syntax(uid).media_type,)
        for offer in (
            Offer(in_parts, kind, uid, uid == media.DEFAULT_SYNTAX[kind], False),
            Offer(in_parts, media.OCTET_STREAM, uid, False, False),
        )
    ]


@lru_cache(256)
def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header takes gzip (RFC 9110 12.5.3)."""
    weights = {}
    for member in header[: DEFAULT.accept].lower().split(","):
        coding, *rest = member.split(";")
        weights[coding.strip()] = _parameters(rest).get("q", "1").strip("0.") != ""
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


def refuse(accept: str, stored: Iterable[str], offers: Iterable[Offer], url: str, why: str = "") -> NotAcceptable:
    """The error that says what was asked, what is stored, what could be had, and what to type."""
    available = list(dict.fromkeys(offer.accept for offer in offers))
    syntaxes = [f"{uid} {transfer_syntax(uid).name}" for uid in dict.fromkeys(stored)]
    extra: dict[str, object] = {
        "stored": syntaxes,
        "available": available,
        "accept": [str(entry) for entry in parse_accept(accept)],
    }
    if available:
        extra["try"] = f"curl -H 'Accept: {available[0]}' '{url}'"
    return NotAcceptable(why or "nothing that can be sent fits the Accept header", extra=extra)


def accept_of_request(scope: Mapping[str, object]) -> str:
    """The Accept header of an ASGI scope, several lines joined, or the query parameter that replaces it."""
    raw: Iterable[tuple[bytes, bytes]] = scope["headers"]  # type: ignore[assignment]
    header = ", ".join(value.decode("latin-1") for name, value in raw if name == b"accept")
    query: bytes = scope["query_string"]  # type: ignore[assignment]
    return accept_of(header, query.decode("latin-1"))
