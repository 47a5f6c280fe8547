"""Remote DIMSE peers, asked through a bridge: their answers as they come, and what they have of a patient as the source
of priors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

from app.archive.bridges import Bridges
from app.archive.prefetch import SourceAway
from app.archive.prefetch_rules import DataSet
from app.catalog.prefetch import WHOLE, Named
from app.dicom.status import OUTCOME_OF_ERROR, STATUSES, Outcome
from app.dicom.worklist import text_of
from app.errors import (
    BadRequest,
    BridgeUnreachable,
    FileroomError,
    LimitExceeded,
    NotCallable,
    NotFound,
    PeerFailed,
    PeerSilent,
)

_SOP_INSTANCE = "00080018"
_FOR_NOW = "A7"
"""Statuses of a peer that is out of resources (PS3.4 C.4.1.1.4) begin so."""
_LONGEST_PROBLEM = 64 * 1024
_LONGEST_ANSWER = 32 << 20
_MOST_FOUND = 50_000
_ERRORS: dict[int, type[FileroomError]] = {
    STATUSES[OUTCOME_OF_ERROR[kind]].http: kind for kind in (BadRequest, NotFound, NotCallable, PeerFailed, PeerSilent)
}
_TOO_LONG = STATUSES[Outcome.OVER_LIMIT].http


class PeerSource:
    """A remote peer as the source of priors (`app.archive.prefetch.Source`): by C-FIND, then C-MOVE to us or C-GET."""

    def __init__(self, bridges: Bridges, aet: str) -> None:
        self._bridges = bridges
        self._aet = aet

    async def echo(self) -> None:
        """Verification; raises `SourceAway`."""
        try:
            await _whole(await self._bridges.ask("POST", self._aet, "echo"), _LONGEST_PROBLEM)
        except (BridgeUnreachable, PeerFailed, PeerSilent) as error:
            raise SourceAway(f"no echo: {error}") from error

    async def studies(self, patient_id: str) -> list[DataSet]:
        """The studies of a Patient ID; the issuer is asked for, and not matched, since not every peer knows it."""
        return await self._search("studies", [("PatientID", patient_id), ("includefield", "IssuerOfPatientID")])

    async def series(self, study: str) -> list[DataSet]:
        """The series of a study."""
        return await self._search(f"studies/{study}/series", [("includefield", "BodyPartExamined")])

    async def instances(self, study: str, series: str) -> list[str]:
        """SOP Instance UIDs of a series; `WHOLE` when the peer refuses queries at IMAGE level."""
        try:
            found = await self._search(f"studies/{study}/series/{series}/instances", [])
        except PeerFailed as error:
            if str(error.extra.get("dimse_status", _FOR_NOW)).startswith(_FOR_NOW):
                raise
            return [WHOLE]
        return [text_of(one, _SOP_INSTANCE) for one in found]

    async def fetch(self, study: str, missing: Sequence[Named], *, whole: bool) -> str:
        """Retrieves a study, or of one that is here in part the series that are not whole."""
        problem = ""
        for series in [""] if whole else dict.fromkeys(named[1] for named in missing):
            problem = await self._retrieve({"study": study, "series": series}) or problem
        return problem

    async def close(self) -> None:
        """Nothing of ours stays open."""

    async def _search(self, resource: str, asked: list[tuple[str, str]]) -> list[DataSet]:
        query = urlencode([*asked, ("limit", str(_MOST_FOUND))]).encode()
        with _away():
            answer = await self._bridges.ask("GET", self._aet, resource, query=query)
            found: list[DataSet] = orjson.loads(await _whole(answer, _LONGEST_ANSWER) or b"[]")
        return found

    async def _retrieve(self, wish: dict[str, object]) -> str:
        last: dict[str, Any] = {}
        with _away():
            async for name, last in retrieve(self._bridges, self._aet, wish):
                if name == "failed":
                    return str(last.get("detail", "the peer failed"))
        failed = int(last.get("failed", 0))
        return f"the peer could not send {failed} instances" if failed else ""


@contextmanager
def _away() -> Iterator[None]:
    """A peer that cannot be called now, or not any more, is another thing than one that fails."""
    try:
        yield
    except NotFound as error:
        raise NotCallable("the peer is not registered any more") from error
    except BridgeUnreachable as error:
        raise SourceAway(error.detail) from error
    except PeerFailed as error:
        if error.extra.get("unreachable"):
            raise SourceAway(error.detail) from error
        raise


async def retrieve(
    bridges: Bridges, aet: str, wish: dict[str, object]
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """The events of a retrieve (`progress`, then `done` or `failed`) with their data. Raises `BridgeUnreachable`,
    `NotFound`, `NotCallable`, `PeerFailed` or `PeerSilent`."""
    answer = await bridges.ask("POST", aet, "retrieve", body=orjson.dumps(wish))
    try:
        if answer.status_code != 200:
            raise await error_of(answer)
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, orjson.loads(line.removeprefix("data: "))
    except httpx.HTTPError as error:
        raise BridgeUnreachable("the bridge's answer broke off") from error
    finally:
        await answer.aclose()
    if name not in ("done", "failed"):
        raise BridgeUnreachable("the bridge's answer broke off")


async def pieces(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body of an answer as it comes. Raises `BridgeUnreachable` when it breaks off."""
    try:
        async for piece in answer.aiter_raw():
            yield piece
    except httpx.HTTPError as error:
        raise BridgeUnreachable("the bridge's answer broke off") from error
    finally:
        await answer.aclose()


async def error_of(answer: httpx.Response) -> FileroomError:
    """The refusal of a bridge, or of the peer through it, as an error of ours."""
    body = await _whole(answer, _LONGEST_PROBLEM, check=False)
    problem: Any = None
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        try:
            problem = orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    kind = _ERRORS.get(answer.status_code)
    if answer.status_code == _TOO_LONG and isinstance(problem, dict):
        return LimitExceeded(str(problem.get("limit", "")), str(problem.get("detail", "")))
    if kind is None or not isinstance(problem, dict):
        return BridgeUnreachable(f"the bridge answered {answer.status_code}")
    extra = {name: value for name, value in problem.items() if name not in ("type", "title", "status", "detail")}
    return kind(str(problem.get("detail", "")), extra=extra)


async def _whole(answer: httpx.Response, most: int, *, check: bool = True) -> bytes:
    if check and answer.status_code not in (200, 204):
        raise await error_of(answer)
    body = bytearray()
    async for piece in pieces(answer):
        body += piece
        if len(body) > most:
            raise BridgeUnreachable("the bridge's answer is too long")
    return bytes(body)
