"""Messages to webhooks, signed as the Standard Webhooks specification says: HMAC-SHA256 over the message's id, the time
and the body, by a secret of 24 to 64 bytes. Of the answer only the status counts; its body is read so that the
connection can be used again, up to a limit, and kept nowhere."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
import ssl
import time
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple

import httpx

from app.dicom.destination import wrong

_PREFIX = "whsec_"
_SHORTEST, _MADE, _LONGEST = 24, 32, 64
_MOST_READ = 64 << 10
_LONGEST_PAUSE = 3600
_SUCCESS, _REDIRECT = 2, 3
"""Hundreds of a status."""


class Answer(NamedTuple):
    """What came of a message: the HTTP status (0: none), why it counts as not taken (empty: it was taken), and for how
    many seconds the receiver wants to be left alone."""

    status: int
    reason: str = ""
    pause: float = 0


def make_secret() -> str:
    """A new secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_MADE)).decode()


def key_of(secret: object) -> bytes:
    """The key that a secret stands for; raises `BadRequest`."""
    try:
        key = base64.b64decode(str(secret).removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not isinstance(secret, str) or not secret.startswith(_PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise wrong("secret", f"`{_PREFIX}` and the Base64 of {_SHORTEST} to {_LONGEST} bytes are needed")
    return key


def sign(secret: str, message: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`; `timestamp` in seconds since 1970."""
    digest = hmac.digest(key_of(secret), f"{message}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


class Sender:
    """Posts messages; one that has not been taken after `seconds` counts as not taken. Redirects are not followed, no
    cookie is kept, certificates are verified."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        """Made when the first message is sent: reading the system's authorities takes a while."""
        return httpx.AsyncClient(
            headers={"user-agent": "fileroom", "accept-encoding": "identity"},
            timeout=self._seconds,
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def close(self) -> None:
        """Closes the connections."""
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def post(self, url: str, secret: str, message: str, body: bytes) -> Answer:
        """Sends one message, whose id is `message`; never raises for what the receiver does."""
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, message, timestamp, body),
        }
        answer = Answer(0, f"no answer within {self._seconds:g} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                try:
                    async with self._client.stream("POST", url, content=body, headers=headers) as response:
                        answer = _judge(response)
                        await _drain(response)
                except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: names of hosts
                    answer = answer if answer.status else Answer(0, _why(error))
        return answer


def _judge(response: httpx.Response) -> Answer:
    status = response.status_code
    if status // 100 == _SUCCESS:
        return Answer(status)
    wish = response.headers.get("retry-after", "")
    pause = min(int(wish), _LONGEST_PAUSE) if wish.isascii() and wish.isdigit() and len(wish) < 10 else 0
    note = ", and redirects are not followed" if status // 100 == _REDIRECT else ""
    return Answer(status, f"it answered {status}{note}", pause)


async def _drain(response: httpx.Response) -> None:
    received = 0
    async for piece in response.aiter_raw():
        received += len(piece)
        if received > _MOST_READ:
            return


def _why(error: BaseException) -> str:
    """A reason without what the receiver sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return f"it could not be reached: {type(error).__name__}"
