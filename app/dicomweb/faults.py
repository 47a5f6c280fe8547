"""Exceptions → problem+json (RFC 9457), by the status table."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from fastapi import Request, Response
from starlette.exceptions import HTTPException

from app.dicom.status import STATUSES, Outcome, outcome_of
from app.errors import FileroomError

RETRY_AFTER_SECONDS = "5"
CHALLENGES = ("Bearer", 'Basic realm="Fileroom: the token is the password"')
"""In lines of their own, since browsers read the first scheme of a line only. They ask people for Basic credentials and
add them by themselves from then on: `app.security.cross_site` stands against pages that would use that."""


_NAMED = frozenset(
    (Outcome.DUPLICATE_INSTANCE, Outcome.MISSING_ATTRIBUTE, Outcome.INVALID_ATTRIBUTE, Outcome.STEP_ENDED)
)
"""What a bridge tells apart that asks for a performed procedure step or a commitment."""


def problem(error: BaseException) -> Response:
    """The answer to a request that failed with `error`."""
    outcome = outcome_of(error)
    status = STATUSES[outcome]
    body: dict[str, object] = {"type": "about:blank", "title": status.title, "status": status.http}
    if isinstance(error, FileroomError):
        body["detail"] = error.detail
        if outcome in _NAMED:
            body["reason"] = f"{status.reason:04X}"
        body.update(error.extra)
    answer = Response(orjson.dumps(body), status.http, media_type="application/problem+json")
    if status.retry and outcome is not Outcome.BUG:
        answer.headers["Retry-After"] = RETRY_AFTER_SECONDS
    if outcome is Outcome.NOT_AUTHENTICATED:
        for challenge in CHALLENGES:
            answer.headers.append("WWW-Authenticate", challenge)
    return answer


async def answer_router(request: Request, error: Exception) -> Response:
    """Exception handler for what the router says: no such path, or not by this method."""
    assert isinstance(error, HTTPException)
    body = {"type": "about:blank", "title": HTTPStatus(error.status_code).phrase, "status": error.status_code}
    return Response(orjson.dumps(body), error.status_code, error.headers, "application/problem+json")


async def answer_fault(request: Request, error: Exception) -> Response:
    """Exception handler for `FileroomError`, and for what is our bug."""
    return problem(error)
