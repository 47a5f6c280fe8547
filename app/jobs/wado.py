"""Another DICOMweb server as the source of priors (`app.archive.prefetch.Source`): Search (PS3.18 10.6), then Retrieve
of each instance (10.4), which is stored while it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import httpx
import orjson

from app.archive.context import Context
from app.archive.prefetch import SourceAway
from app.archive.prefetch_rules import DataSet
from app.archive.store import Storekeeper
from app.catalog.prefetch import Named
from app.dicom.destination import Destination
from app.dicom.worklist import text_of
from app.errors import FileroomError, PeerFailed, PeerSilent, Unavailable
from app.jobs.stow import client_of

_JSON = "application/dicom+json"
_INSTANCE = 'multipart/related; type="application/dicom"; transfer-syntax=*, application/dicom; transfer-syntax=*'
_PAGE = 1000
_MOST_FOUND = 50_000
_LONGEST_PAGE = 64 << 20
_LONGEST_HEAD = 8 << 10
_AT_ONCE = 4
_SOP_INSTANCE = "00080018"
_AWAY = frozenset({401, 403, 429, 502, 503, 504})


class WebSource:
    """One server, for as long as a lease lasts."""

    def __init__(self, context: Context, destination: Destination) -> None:
        self._root = destination.url
        self._client = client_of(destination)
        self._keeper = Storekeeper(context)

    async def close(self) -> None:
        """Ends what is under way."""
        await self._client.aclose()
        await self._keeper.drain()

    async def echo(self) -> None:
        """Asks for one study; raises `SourceAway`."""
        try:
            await self._page("/studies", [("limit", "1")])
        except (SourceAway, PeerFailed, PeerSilent) as error:
            raise SourceAway(f"no echo: {error}") from error

    async def studies(self, patient_id: str) -> list[DataSet]:
        """The studies of a Patient ID; the issuer is asked for, and not matched, since not every server knows it."""
        return await self._search("/studies", [("PatientID", patient_id), ("includefield", "IssuerOfPatientID")])

    async def series(self, study: str) -> list[DataSet]:
        """The series of a study."""
        return await self._search(f"/studies/{study}/series", [("includefield", "BodyPartExamined")])

    async def instances(self, study: str, series: str) -> list[str]:
        """SOP Instance UIDs of a series."""
        found = await self._search(f"/studies/{study}/series/{series}/instances", [])
        return [text_of(one, _SOP_INSTANCE) for one in found]

    async def fetch(self, study: str, missing: Sequence[Named], *, whole: bool) -> str:
        """Retrieves what is missing, some at a time."""
        waiting = iter(missing)
        problems: list[str] = []

        async def bring() -> None:
            for named in waiting:
                try:
                    await self._bring(named)
                except Unavailable:  # it is the archive that cannot
                    raise
                except FileroomError as error:
                    problems.append(error.detail)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(missing))):
                    group.create_task(bring())
        except* (SourceAway, Unavailable) as failures:
            raise failures.exceptions[0] from None
        return problems[-1] if problems else ""

    async def _search(self, path: str, asked: list[tuple[str, str]]) -> list[DataSet]:
        """All pages of a search. A server that does not know `offset` gives the first one again, which ends it."""
        found: list[DataSet] = []
        while len(found) < _MOST_FOUND:
            page = await self._page(path, [*asked, ("limit", str(_PAGE)), ("offset", str(len(found)))])
            if not page or page[0] in found[:1]:
                break
            found += page
        return found

    async def _page(self, path: str, asked: Sequence[tuple[str, str]]) -> list[DataSet]:
        headers = {"accept": _JSON}
        body = bytearray()
        try:
            async with self._client.stream("GET", self._root + path, params=dict(asked), headers=headers) as answer:
                _check(answer.status_code)
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _LONGEST_PAGE:
                        raise PeerFailed("the server's answer is too long")
            page: object = orjson.loads(body or b"[]")
        except orjson.JSONDecodeError as error:
            raise PeerFailed("the server's answer is no JSON") from error
        except httpx.HTTPError as error:
            raise _failure(error) from error
        if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
            raise PeerFailed("the server's answer is no list")
        return page

    async def _bring(self, named: Named) -> None:
        """Stores one instance. Raises what the store says, `PeerFailed`, `PeerSilent` or `SourceAway`."""
        study, series, sop = named
        address = f"{self._root}/studies/{study}/series/{series}/instances/{sop}"
        self._keeper.admit()
        reception = await self._keeper.receive(study)
        try:
            async with self._client.stream("GET", address, headers={"accept": _INSTANCE}) as answer:
                _check(answer.status_code)
                async with aclosing(_lone_part(answer)) as pieces:
                    async for piece in pieces:
                        await reception.write(piece)
        except BaseException as error:
            await reception.abandon()
            if isinstance(error, httpx.HTTPError):
                raise _failure(error) from error
            raise
        receipt = await reception.finish()
        if not receipt.stored:
            raise PeerFailed(f"an instance of the server cannot be stored: {receipt.comment or receipt.outcome.value}")


def _check(status: int) -> None:
    if status in _AWAY:
        raise SourceAway(f"the server answers {status}")
    if status not in (200, 204):
        raise PeerFailed(f"the server answers {status}")


def _failure(error: httpx.HTTPError) -> Exception:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return SourceAway(f"no connection: {type(error).__name__}")
    if isinstance(error, httpx.TimeoutException):
        return PeerSilent("the server did not answer in time")
    return PeerFailed(f"the connection broke: {type(error).__name__}")


async def _lone_part(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The content of an answer that is one DICOM file, or a multipart body with one part (RFC 2046 5.1); as long as the
    closing delimiter may still come, its length is held back."""
    kind = answer.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/"):
        if not {"content-length", "transfer-encoding"} & set(answer.headers):
            raise PeerFailed("the server's answer does not tell its length, so that it may be cut off")
        async for piece in answer.aiter_bytes():
            yield piece
        return
    name = kind.partition("boundary=")[2].strip()
    boundary = name[1:].partition('"')[0] if name.startswith('"') else name.partition(";")[0].strip()
    closing = b"\r\n--" + boundary.encode("latin-1", "replace")
    held, in_head = b"\r\n", True
    async for piece in answer.aiter_bytes():
        held += piece
        if in_head:
            start = held.find(b"\r\n\r\n", max(held.find(closing), 0))
            if start < 0:
                if len(held) > _LONGEST_HEAD:
                    raise PeerFailed("the server's multipart answer cannot be read")
                continue
            held, in_head = held[start + 4 :], False
        end = held.find(closing)
        if end >= 0:
            yield held[:end]
            return
        if len(held) > len(closing):
            yield held[: -len(closing)]
        held = held[-len(closing) :]
    raise PeerFailed("the server's multipart answer is cut off")
