"""The archive as the services see it: Store, Search and Retrieve of PS3.18 10 over kept-alive connections. It works
before any DICOMweb server; `ours` says that this one is a Fileroom, which knows more transfer syntaxes (PS3.18 8.7.3
keeps two out) and on whose behalf we ask."""

from __future__ import annotations

import re
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import orjson

from app.dicom.octets import Piece
from app.errors import ArchiveUnreachable, CannotStart
from dimse_bridge.archive_client.connection import DEFAULT_TIMES, Answer, Times
from dimse_bridge.archive_client.faults import LONGEST_PROBLEM, error_of
from dimse_bridge.archive_client.parts import Part, parts_of
from dimse_bridge.archive_client.pool import Pool

JSON = "application/dicom+json"
PAGE = 200
"""Results that are asked for at a time, where the reader does not say."""
_LONGEST_RECEIPT = 1 << 20
_LONGEST_PAGE = 64 << 20
_JUNK = "the archive's answer cannot be understood"
_REFERENCED, _FAILED, _OTHER_FAILURES = "00081199", "00081198", "0008119A"
_CLASS, _INSTANCE, _FAILURE, _WARNING, _COMMENT = "00081150", "00081155", "00081197", "00081196", "00000902"
_COMMENTS = "00741048"
"""Warnings of a stored instance, each an item with a comment."""
_URL = rb'"00081190":\{"vr":"UR","Value":\["[!#-\[\]-~]*"\]\}'
ONE_STORED = re.compile(
    rb'\{%b,"00081199":\{"vr":"SQ","Value":\[\{"00081150":\{"vr":"UI","Value":\["([0-9.]+)"\]\},'
    rb'"00081155":\{"vr":"UI","Value":\["([0-9.]+)"\]\},%b\}\]\}\}' % (_URL, _URL)
)
"""What a Fileroom answers to most stores, word for word: nothing of it need be parsed but the UIDs."""

__all__ = ["JSON", "PAGE", "Archive", "Item", "Parameters", "Part", "Receipt"]

Parameters = Sequence[tuple[str, str]]
Item = dict[str, Any]
_Result = TypeVar("_Result", Item, bytes)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the archive says of one instance: `reason` is the Failure Reason (0008,1197) or the Warning Reason
    (0008,1196), 0 when there is none. UIDs are empty where it names none."""

    stored: bool
    sop_class: str = ""
    sop_instance: str = ""
    reason: int = 0
    comment: str = ""


class Archive:
    """One DICOMweb server. `root` is the address of its DICOMweb root, such as `http://127.0.0.1:8080/dicom-web`. All
    methods raise exceptions of `app.errors`, `ArchiveUnreachable` for whatever is no sensible answer, or
    `dimse_bridge.archive_client.faults.ArchiveFailed`."""

    def __init__(
        self,
        root: str,
        token: str = "",
        *,
        ours: bool = True,
        tls: ssl.SSLContext | None = None,
        times: Times = DEFAULT_TIMES,
    ) -> None:
        address = urlsplit(root)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise CannotStart(f"{root} is no http:// or https:// address of a DICOMweb root.")
        if address.scheme == "https":
            tls = tls or ssl.create_default_context()
        else:
            tls = None
        port = address.port or (443 if tls else 80)
        self.ours = ours
        self.root = root.rstrip("/")
        self._path = address.path.rstrip("/")
        self._pool = Pool(address.hostname, port, tls, times)
        lines = f"Host: {address.netloc.rpartition('@')[2]}\r\n"
        if token:
            lines += f"Authorization: Bearer {token}\r\n"
        self._common = lines
        self._address(lines)

    def _address(self, lines: str) -> None:
        """Makes what all requests begin with."""
        self._lines = lines.encode("latin-1")
        self._opening = self._closing = b""
        content_type = "application/dicom"  # which a Fileroom takes by itself
        if not self.ours:
            boundary = secrets.token_hex(16)
            self._opening = f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode()
            self._closing = f"\r\n--{boundary}--\r\n".encode()
            content_type = f'multipart/related; type="{content_type}"; boundary={boundary}'
        self._store = self._head("POST", "/studies", f"Accept: {JSON}\r\nContent-Type: {content_type}\r\n")

    def on_behalf(self, *, calling: str, called: str, association: str) -> Archive:
        """The same archive and connections, for an association: a Fileroom is told who asks, and as what, in each
        request."""
        other = Archive.__new__(Archive)
        other.__dict__.update(self.__dict__)
        if self.ours:
            other._address(
                f"{self._common}Fileroom-Calling-AE: {quote(calling, safe='')}\r\n"
                f"Fileroom-Called-AE: {quote(called, safe='')}\r\n"
                f"Fileroom-Association: {quote(association, safe='')}\r\n"
            )
        return other

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()

    # ---------------------------------------------------------------- Store (PS3.18 10.5)

    async def store(self, file: Sequence[Piece]) -> list[Receipt]:
        """Stores one file, given in pieces; once more when an idle connection was closed under us."""
        length = sum(map(len, file)) + len(self._opening) + len(self._closing)
        head = b"%bContent-Length: %d\r\n\r\n%b" % (self._store, length, self._opening)
        body = (*file, self._closing) if self._closing else file
        return await self._receipts(await self._pool.send(head, body, _LONGEST_RECEIPT))

    async def store_stream(self, file: AsyncIterable[Piece]) -> list[Receipt]:
        """Stores one file while it comes. When `file` raises, the request is cut and nothing is stored. The archive may
        refuse before all has come: the rest of `file` is then not read."""
        head = self._store + b"Transfer-Encoding: chunked\r\n\r\n"
        return await self._receipts(await self._pool.stream(head, self._wrapped(file), _LONGEST_RECEIPT))

    async def _wrapped(self, file: AsyncIterable[Piece]) -> AsyncIterator[Piece]:
        yield self._opening
        async for piece in file:
            yield piece
        yield self._closing

    async def _receipts(self, answer: Answer) -> list[Receipt]:
        body = await answer.read(_LONGEST_RECEIPT)
        if not answer.headers.get(b"content-type", b"").startswith(b"application/dicom+json"):
            if answer.status >= 300 or answer.status < 200:
                raise error_of(answer.status, answer.headers, body)
            raise ArchiveUnreachable(_JUNK)
        only = ONE_STORED.fullmatch(body)
        if only is not None:
            return [Receipt(True, only[1].decode(), only[2].decode())]
        receipts = _read_receipts(_parsed(body))
        if not receipts and answer.status >= 300:
            raise error_of(answer.status, answer.headers, body)
        return receipts

    # ---------------------------------------------------------------- Search (PS3.18 10.6)

    async def search(
        self, path: str, parameters: Parameters = (), *, page: int = PAGE, most: int = 0
    ) -> AsyncGenerator[list[Item], None]:
        """The results of `GET path` (such as `/studies`), page by page, at most `most` when that is given. `parameters`
        are not percent-encoded. A page that cannot be had raises: a short answer is never taken for the whole."""
        async with aclosing(self._pages(path, parameters, page, most, _read_results)) as pages:
            async for results in pages:
                yield results

    async def search_texts(
        self, path: str, parameters: Parameters = (), *, page: int = PAGE
    ) -> AsyncGenerator[list[bytes], None]:
        """As `search`, each result as the text of its JSON object: whoever knows it already need not parse it."""
        read = _split_results if self.ours else _dump_results
        async with aclosing(self._pages(path, parameters, page, 0, read)) as pages:
            async for results in pages:
                yield results

    async def _pages(
        self, path: str, parameters: Parameters, page: int, most: int, read: Callable[[bytes], list[_Result]]
    ) -> AsyncGenerator[list[_Result], None]:
        seen = 0
        query = _query([*parameters, ("limit", str(page))])
        first: list[_Result] = []
        while True:
            answer = await self._get(f"{path}?{query}", JSON, _LONGEST_PAGE)
            results = read(await self._found(answer))
            if results and results[:1] == first and not self.ours:
                raise ArchiveUnreachable("the archive gives the same page again")
            if results:
                yield results[: most - seen] if most else results
            seen += len(results)
            link = _next_query(answer.headers)
            if (most and seen >= most) or not (link or (not self.ours and _may_go_on(answer, len(results), page))):
                return
            first = results[:1]
            query = link or _query([*parameters, ("limit", str(page)), ("offset", str(seen))])

    async def _found(self, answer: Answer) -> bytes:
        body = await answer.read(_LONGEST_PAGE)
        if answer.status == 204:
            return b"[]"
        if answer.status not in (200, 206):
            raise error_of(answer.status, answer.headers, body)
        return body

    async def get_json(self, path: str, parameters: Parameters = (), accept: str = "application/json") -> Any:
        """The document at `path` below the DICOMweb root, parsed; None for 204. `NotFound` when there is none."""
        query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
        document = await self._document(path + query, accept, "")
        return document and document[1]

    async def get_changed(self, path: str, etag: str) -> tuple[str, Any] | None:
        """ETag and document at `path`; None when it is still the one that `etag` (empty: none) names."""
        return await self._document(path, "application/json", f"If-None-Match: {etag}\r\n" if etag else "")

    async def _document(self, target: str, accept: str, lines: str) -> tuple[str, Any] | None:
        answer = await self._get(target, accept, _LONGEST_PAGE, lines)
        body = await answer.read(_LONGEST_PAGE)
        if answer.status in (204, 304):
            return None
        if answer.status != 200:
            raise error_of(answer.status, answer.headers, body)
        return answer.headers.get(b"etag", b"").decode("latin-1"), _parsed(body)

    async def post_json(self, path: str, value: object) -> Any:
        """POST of a JSON document at `path` beside or below the root; the answer's document, None for 204."""
        _, document = await self.post(path, orjson.dumps(value), "application/json")
        return document

    # ---------------------------------------------------------------- other services (PS3.18 13, 15)

    async def post(self, path: str, content: bytes, content_type: str = JSON) -> tuple[int, Any]:
        """Status and parsed document (None when there is none) of the answer to `POST path`, when it is a success. The
        request is not sent again after its connection broke in the middle."""
        lines = f"Accept: {JSON}, application/json\r\nContent-Type: {content_type}\r\n"
        head = self._head("POST", path, lines) + b"Content-Length: %d\r\n\r\n" % len(content)
        answer = await self._pool.send(head, (content,), _LONGEST_PAGE)
        body = await answer.read(_LONGEST_PAGE)
        if not 200 <= answer.status < 300:
            raise error_of(answer.status, answer.headers, body)
        return answer.status, _parsed(body) if body else None

    async def get_status(self, path: str) -> tuple[int, Any]:
        """As `post`, for `GET path` of one data set."""
        answer = await self._get(path, f"{JSON}, application/json", _LONGEST_PAGE)
        body = await answer.read(_LONGEST_PAGE)
        if not 200 <= answer.status < 300:
            raise error_of(answer.status, answer.headers, body)
        return answer.status, _parsed(body) if body else None

    # ---------------------------------------------------------------- Retrieve (PS3.18 10.4)

    async def retrieve(self, path: str, accept: str, parameters: Parameters = ()) -> AsyncGenerator[Part, None]:
        """The parts of `GET path` as they come, each to be read before the next; one that is not read is passed over.
        An answer that is not multipart is one part. Close the generator (`aclosing`) when you stop early."""
        query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
        answer = await self._get(path + query, accept, 0)
        if answer.status not in (200, 206):
            raise error_of(answer.status, answer.headers, await answer.read(LONGEST_PROBLEM))
        parts = parts_of(answer)
        try:
            async for part in parts:
                yield part
        finally:
            await parts.aclose()
            answer.close()

    # ---------------------------------------------------------------- requests

    def _head(self, method: str, target: str, lines: str) -> bytes:
        """A request's head without its end."""
        start = f"{method} {self._path}{target} HTTP/1.1\r\n".encode("ascii")
        return start + self._lines + lines.encode("latin-1")

    async def _get(self, target: str, accept: str, gather: int, lines: str = "") -> Answer:
        return await self._pool.send(self._head("GET", target, f"Accept: {accept}\r\n{lines}\r\n"), (), gather)


def _read_results(body: bytes) -> list[Item]:
    results = _parsed(body)
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise ArchiveUnreachable(_JUNK)
    return results


def _dump_results(body: bytes) -> list[bytes]:
    return [orjson.dumps(result) for result in _read_results(body)]


def _split_results(body: bytes) -> list[bytes]:
    """The objects of an array that has a line for each, as a Fileroom's: no text inside can hold the end of a line."""
    if body.startswith(b"[\n{") and body.endswith(b"}\n]"):
        return body[2:-2].split(b",\n")
    return _dump_results(body)


def _may_go_on(answer: Answer, results: int, page: int) -> bool:
    """Whether a server that gives no links may have more results: the page is full, or it warns of them (PS3.18
    8.3.4.4), since it may allow less than what was asked for."""
    return results >= page or (results > 0 and b"299" in answer.headers.get(b"warning", b""))


def _query(parameters: Parameters) -> str:
    """The query string of a search. Signs that keys often hold, and that browsers do not encode either, stay: some
    servers match them as they come."""
    return urlencode(parameters, safe="*?,^", quote_via=quote)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ArchiveUnreachable(_JUNK) from error


def _next_query(headers: Mapping[bytes, bytes]) -> str:
    """The query string of `Link: <...>; rel="next"` (RFC 8288); empty when there is none. Its host and path are not
    followed: they may be those that other clients see."""
    for link in headers.get(b"link", b"").decode("latin-1").split(", <"):
        address, _, attributes = link.partition(">")
        if 'rel="next"' in attributes or "rel=next" in attributes:
            query = urlsplit(address.lstrip("<")).query
            return query if parse_qsl(query) else ""
    return ""


def _read_receipts(document: Any) -> list[Receipt]:
    """The items of a Store Instances Response (PS3.18 Table 10.5.3-1)."""
    try:
        return [
            *(_receipt(item, stored=True) for item in _items(document, _REFERENCED)),
            *(_receipt(item, stored=False) for item in _items(document, _FAILED)),
            *(_receipt(item, stored=False) for item in _items(document, _OTHER_FAILURES)),
        ]
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        raise ArchiveUnreachable(_JUNK) from error


def _items(document: Any, tag: str) -> list[Any]:
    items: list[Any] = document.get(tag, {}).get("Value") or []
    return items


def _receipt(item: Any, *, stored: bool) -> Receipt:
    reason = _first(item, _WARNING if stored else _FAILURE)
    comment = _first(item, _COMMENT) or _first(_first(item, _COMMENTS) or {}, _COMMENT)
    return Receipt(
        stored,
        str(_first(item, _CLASS) or ""),
        str(_first(item, _INSTANCE) or ""),
        reason if isinstance(reason, int) else 0,
        comment if isinstance(comment, str) else "",
    )


def _first(item: Any, tag: str) -> Any:
    """The first value of an attribute, None when it has none."""
    values = item.get(tag, {}).get("Value")
    return values[0] if values else None
