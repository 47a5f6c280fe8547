"""Remote DIMSE peers, asked through a bridge: their answers as they come, and the studies of one patient fetched from
one of them, which is what prefetching priors is made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

from app.archive.bridges import Bridges
from app.dicom.status import OUTCOME_OF_ERROR, STATUSES, Outcome
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

_PATIENT_ID, _ISSUER, _STUDY = "00100020", "00100021", "0020000D"
_LONGEST_PROBLEM = 64 * 1024
_LONGEST_ANSWER = 16 << 20
_ERRORS: dict[int, type[FileroomError]] = {
    STATUSES[OUTCOME_OF_ERROR[kind]].http: kind for kind in (BadRequest, NotFound, NotCallable, PeerFailed, PeerSilent)
}
_TOO_LONG = STATUSES[Outcome.OVER_LIMIT].http


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one study: how many instances the peer sent, how many it could not send, and why it failed as a
    whole, if it did."""

    study: str
    completed: int = 0
    failed: int = 0
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether every instance has come."""
        return not self.problem and not self.failed


async def fetch_studies(
    bridges: Bridges, aet: str, patient_id: str, studies: Sequence[str], *, issuer: str = ""
) -> AsyncGenerator[Fetched, None]:
    """Retrieves studies of a patient from a peer, one after the other in this order. One that the peer does not have
    under this patient is not retrieved: `problem` says so. Raises `BridgeUnreachable`, or what the search for them
    failed with: `NotFound`, `NotCallable`, `PeerFailed` or `PeerSilent`."""
    there = await studies_of_patient(bridges, aet, patient_id, issuer=issuer)
    for study in studies:
        if study not in there:
            yield Fetched(study, problem="the peer has no such study of this patient")
            continue
        try:
            yield await fetch_study(bridges, aet, study)
        except (NotFound, NotCallable, PeerFailed, PeerSilent) as error:
            yield Fetched(study, problem=error.detail)


async def studies_of_patient(
    bridges: Bridges, aet: str, patient_id: str, *, issuer: str = "", limit: int = 500
) -> dict[str, dict[str, Any]]:
    """The studies of a patient that a peer has, as DICOM JSON by Study Instance UID: at most `limit`. Peers that match
    otherwise than they should are not trusted: what names another patient, or another issuer, is left out."""
    asked = [("PatientID", patient_id), ("IssuerOfPatientID", issuer), ("includefield", "BodyPartExamined")]
    query = urlencode([*asked, ("limit", str(limit))]).encode()
    answer = await bridges.ask("GET", aet, "studies", query=query)
    found: dict[str, dict[str, Any]] = {}
    for item in orjson.loads(await _whole(answer, _LONGEST_ANSWER) or b"[]"):
        same_issuer = not issuer or _value(item, _ISSUER) in ("", issuer)
        if _value(item, _PATIENT_ID) == patient_id and same_issuer and (study := _value(item, _STUDY)):
            found[study] = item
    return found


async def fetch_study(bridges: Bridges, aet: str, study: str) -> Fetched:
    """Retrieves one study from a peer into this archive: what became of it, as the peer says. Raises as
    `fetch_studies`."""
    last: dict[str, Any] = {}
    async for name, last in retrieve(bridges, aet, {"study": study}):
        if name == "failed":
            return Fetched(study, problem=str(last.get("detail", "the peer failed")))
    return Fetched(study, int(last.get("completed", 0)) + int(last.get("warning", 0)), int(last.get("failed", 0)))


async def retrieve(
    bridges: Bridges, aet: str, wish: dict[str, object]
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """The events of a retrieve (`progress`, then `done` or `failed`) with their data. Raises as `fetch_studies`."""
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


def _value(item: dict[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])
