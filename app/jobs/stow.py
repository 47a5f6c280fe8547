"""Store as its user (PS3.18 10.5): instances of the archive to another DICOMweb server, one request each, while they
are read. An instance counts as arrived only when the server's receipt names it."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import orjson

from app.archive import files, retrieve
from app.archive.context import Context
from app.archive.files import Chosen
from app.archive.frames import PieceCache
from app.archive.transfers import GONE
from app.catalog.queue import ARRIVED, REFUSED, WAITING, Due, Told
from app.dicom.destination import Destination
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from app.errors import FileroomError, NotFound, Unavailable

_JSON = "application/dicom+json"
_NOT_OF_WEB = frozenset({IMPLICIT_LE, EXPLICIT_BE})
_TIMES = httpx.Timeout(60, connect=10)
_OF_THE_INSTANCE = frozenset({400, 409, 413, 415, 422})
_OF_THE_SERVER = frozenset({401, 403, 408, 429})
_FAULT = 500
_STORED, _FAILED = "00081199", "00081198"
_INSTANCE, _FAILURE, _WARNING = "00081155", "00081197", "00081196"
_PROCESSING_FAILURE = 0x0110
_LONGEST_RECEIPT = 1 << 20
_LONGEST_DATA_SET = 64 << 20


class Unreachable(Exception):
    """The server takes nothing now, whatever it is."""


def client_of(destination: Destination) -> httpx.AsyncClient:
    """An HTTP client of a server, with its token."""
    headers = {"accept": _JSON, "user-agent": "fileroom"}
    if destination.token:
        headers["authorization"] = f"Bearer {destination.token}"
    verify: ssl.SSLContext | bool = destination.url.startswith("https:") and ssl.create_default_context()
    return httpx.AsyncClient(headers=headers, timeout=_TIMES, verify=verify, trust_env=False, follow_redirects=False)


class Server:
    """One server, for as long as a lease lasts."""

    def __init__(self, context: Context, destination: Destination) -> None:
        self._context = context
        self._destination = destination
        self._cache = PieceCache(context.cache_bytes // 8)
        self._client = client_of(destination)

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()

    async def echo(self) -> None:
        """Asks for one study, to see that the server answers; raises `Unreachable`."""
        try:
            answer = await self._client.get(f"{self._destination.url}/studies", params={"limit": "1"})
        except httpx.HTTPError as error:
            raise Unreachable(f"it does not answer: {type(error).__name__}") from error
        if answer.status_code not in (200, 204):
            raise Unreachable(f"it answers a search with {answer.status_code}")

    async def ask(self, method: str, path: str, data_set: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer to a request of another service, with one data set (PS3.18 F.2.1 has an array
        around it). Raises `Unreachable`."""
        address = f"{self._destination.url}{path}"
        content = b"[" + data_set + b"]" if data_set else None
        headers = {"content-type": _JSON} if data_set else {}
        try:
            async with self._client.stream(method, address, content=content, headers=headers) as answer:
                status, body = answer.status_code, await _read(answer, _LONGEST_DATA_SET)
        except httpx.HTTPError as error:
            raise Unreachable(f"no answer: {type(error).__name__}") from error
        if status in _OF_THE_SERVER or status > _FAULT:
            raise Unreachable(f"the server answered {status}")
        return status, body

    async def send(self, due: Due) -> Told:
        """Sends one instance, and says what became of it; raises `Unreachable`, or `Unavailable` when it is the archive
        that cannot."""
        try:
            return await self._send(due)
        except NotFound:
            return due.at, REFUSED, 0, GONE
        except Unavailable:
            raise
        except FileroomError as error:
            return due.at, REFUSED, 0, error.detail
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unreachable(f"no connection: {type(error).__name__}") from error
        except httpx.HTTPError as error:
            return due.at, WAITING, 0, f"the connection broke: {type(error).__name__}"

    async def _send(self, due: Due) -> Told:
        instance = await retrieve.find_instance(self._context, due.study, due.series, due.sop)
        converts = instance.transfer_syntax in _NOT_OF_WEB and not self._destination.keeps_syntaxes
        chosen = Chosen(instance, EXPLICIT_LE if converts else instance.transfer_syntax)
        boundary = secrets.token_hex(16)
        opening = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        closing = f"\r\n--{boundary}--\r\n".encode()
        headers = {"content-type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        if not converts:
            headers["content-length"] = str(len(opening) + instance.length + len(closing))

        async def body() -> AsyncIterator[bytes]:
            yield opening
            async with aclosing(files.read_file(self._context, self._cache, chosen)) as pieces:
                async for piece in pieces:
                    yield bytes(piece)
            yield closing

        address = f"{self._destination.url}/studies"
        async with self._client.stream("POST", address, content=body(), headers=headers) as answer:
            return _judge(due, answer.status_code, await _read(answer))


async def _read(answer: httpx.Response, longest: int = _LONGEST_RECEIPT) -> bytes:
    received = bytearray()
    async for piece in answer.aiter_bytes():
        received += piece
        if len(received) > longest:
            return b""
    return bytes(received)


def _judge(due: Due, status: int, body: bytes) -> Told:
    """What the answer says of the instance."""
    try:
        receipt = orjson.loads(body)
    except orjson.JSONDecodeError:
        receipt = None
    if isinstance(receipt, dict):
        for tag, reason_tag in ((_STORED, _WARNING), (_FAILED, _FAILURE)):
            item = _item(receipt, tag, due.sop)
            if item is not None:
                return _named(due, _number(item, reason_tag), stored=tag == _STORED)
    if status in _OF_THE_INSTANCE:
        return due.at, REFUSED, 0, f"the server answered {status}"
    if status == _FAULT or status < 300:
        return due.at, WAITING, 0, f"the server answered {status} and no receipt that names the instance"
    raise Unreachable(f"the server answered {status}")


def _named(due: Due, reason: int, *, stored: bool) -> Told:
    if stored:
        return due.at, ARRIVED, reason, f"stored with warning {reason:04X}H" if reason else ""
    may_pass = reason == _PROCESSING_FAILURE or reason >> 8 == 0xA7
    return due.at, WAITING if may_pass else REFUSED, reason, f"the server gave failure reason {reason:04X}H"


def _item(receipt: dict[str, Any], tag: str, sop: str) -> dict[str, Any] | None:
    """The item of a sequence that names the instance."""
    element = receipt.get(tag)
    items = element.get("Value") if isinstance(element, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and _first(item, _INSTANCE) == sop:
            return item
    return None


def _first(item: dict[str, Any], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _number(item: dict[str, Any], tag: str) -> int:
    value = _first(item, tag)
    return value if isinstance(value, int) and 0 <= value <= 0xFFFF else 0
