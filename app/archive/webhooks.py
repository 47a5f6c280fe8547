"""Webhooks: events of the change feed, brought to an address by HTTP in their order, each at least once. A message is
repeated until it is taken; the next one waits for that. It names UIDs, and nothing else of patients."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from app.archive import changes as feed
from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.archive.signed_post import Answer, Sender, key_of, make_secret
from app.catalog import changes, webhooks
from app.catalog.changes import KINDS, Change
from app.catalog.webhooks import ACTIVE, PAUSED, STATES, Known, Lease
from app.dicom.destination import http_address, plain_name, wrong
from app.errors import BadRequest, NotFound

log = logging.getLogger("fileroom.webhooks")

MOST_EVENTS = 100
"""Events of one message."""
_PAGE = 500
_MARGIN_SECONDS = 2.0
_LEAST_SECONDS = 0.02
_LONGEST_PAUSE = 3600.0
_MOST_DOUBLINGS = 20
_GONE = 410
_LARGEST = (1 << 63) - 1
_MEMBERS = frozenset({"url", "kinds", "secret", "after", "enabled"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """What an administrator wants. `kinds` empty: every kind; `secret` and `after` None: not said."""

    name: str
    url: str
    kinds: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
    after: int | None = None
    enabled: bool = True

    @classmethod
    def from_json(cls, name: str, value: object) -> Webhook:
        """The webhook that a JSON object describes; raises `BadRequest`."""
        if not isinstance(value, dict) or not _MEMBERS.issuperset(value):
            raise BadRequest(f"a webhook is a JSON object with the members {', '.join(sorted(_MEMBERS))}")
        kinds, secret, after = value.get("kinds", []), value.get("secret"), value.get("after")
        if not isinstance(kinds, list) or not all(kind in KINDS for kind in kinds):
            raise wrong("kinds", f"a list of {', '.join(KINDS)} is needed")
        if secret is not None:
            key_of(secret)
        if after is not None and (isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= _LARGEST):
            raise wrong("after", "the id of an event is needed; 0: before the first one")
        enabled = value.get("enabled", True)
        if not isinstance(enabled, bool):
            raise wrong("enabled", "true or false is needed")
        address = http_address("url", value.get("url"))
        return cls(plain_name(name), address, tuple(dict.fromkeys(kinds)), secret, after, enabled)


# ---------------------------------------------------------------- the registry


async def registered(context: Context) -> dict[str, dict[str, Any]]:
    """Every webhook by name, as it is told."""
    newest = await feed.newest(context)
    return {one.name: _described(one, newest) for one in await webhooks.listed(context.catalog)}


async def one(context: Context, name: str) -> dict[str, Any]:
    """One webhook as it is told; raises `NotFound`."""
    found = await webhooks.listed(context.catalog, _known(name))
    if not found:
        raise NotFound("no such webhook")
    return _described(found[0], await feed.newest(context))


async def put(context: Context, principal: str, given: Webhook) -> tuple[bool, str]:
    """Adds a webhook, or replaces it; whether it is new, and the secret when one was made for it. Raises
    `BadRequest`."""
    if given.after is not None and given.after > await feed.newest(context):
        raise wrong("after", "this is beyond the end of the feed")
    await context.audit(AuditEvent("put-webhook", principal))
    made = make_secret()
    state = ACTIVE if given.enabled else PAUSED
    is_new = await webhooks.put(
        context.catalog, given.name, given.url, list(given.kinds), state, given.secret, made, given.after
    )
    return is_new, made if is_new and given.secret is None else ""


async def remove(context: Context, principal: str, name: str) -> None:
    """Removes a webhook; raises `NotFound`."""
    await context.audit(AuditEvent("remove-webhook", principal))
    if not await webhooks.delete(context.catalog, _known(name)):
        raise NotFound("no such webhook")


async def resume(context: Context, principal: str, name: str) -> dict[str, Any]:
    """Lets a webhook go on, at once, where it stopped, and gives it; raises `NotFound`."""
    await context.audit(AuditEvent("resume-webhook", principal))
    if not await webhooks.resume(context.catalog, _known(name)):
        raise NotFound("no such webhook")
    return await one(context, name)


async def ping(context: Context, principal: str, name: str) -> Answer:
    """Sends a message that is about nothing, whatever state the webhook is in; raises `NotFound`."""
    found = await webhooks.address(context.catalog, _known(name))
    if found is None:
        raise NotFound("no such webhook")
    await context.audit(AuditEvent("ping-webhook", principal))
    sender = Sender(context.webhooks.seconds)
    try:
        body = _body("ping", datetime.now(UTC), {})
        return await sender.post(*found, _message(), body)
    finally:
        await sender.close()


def _known(name: str) -> str:
    """A name that can be looked up; raises `NotFound`."""
    try:
        return plain_name(name)
    except BadRequest as error:
        raise NotFound("no such webhook") from error


def _described(known: Known, newest: int) -> dict[str, Any]:
    is_due = known.state == ACTIVE and known.position < newest
    last = {"at": known.last_at.isoformat(), "status": known.last_status} if known.last_at else None
    return {
        "url": known.url,
        "kinds": known.kinds,
        "state": STATES[known.state],
        "position": known.position,
        "newest": newest,
        "under_way": known.under_way,
        "next": known.due_at.isoformat() if is_due else None,
        "last": last | ({"reason": known.last_reason} if known.last_reason else {}) if last else None,
        "failures": known.failures,
        "failing_since": known.failing_since.isoformat() if known.failing_since else None,
    }


# ---------------------------------------------------------------- the job process


async def claim(context: Context) -> Lease | None:
    """The right to deliver for a webhook that is due. It lasts longer than a delivery may."""
    token = secrets.token_urlsafe(24)
    return await webhooks.claim(context.catalog, token, context.webhooks.seconds + _MARGIN_SECONDS)


async def seconds_left(context: Context, most: float) -> float:
    """Seconds until a webhook is due, at most `most`."""
    seconds = await webhooks.wait(context.catalog)
    return most if seconds is None else min(max(seconds, _LEAST_SECONDS), most)


async def deliver(context: Context, sender: Sender, lease: Lease) -> None:
    """Sends the next message of a webhook, and ends the lease."""
    catalog = context.catalog
    events, end = await _next(context, lease)
    if not events:
        await webhooks.pass_over(catalog, lease.token, end)
        return
    message = lease.batch or _message()
    if not lease.batch and not await webhooks.begin(catalog, lease.token, message, end):
        return
    told = {"changes": [feed.described(one) for one in events], "next": end}
    answer = await sender.post(lease.url, lease.secret, message, _body("changes", events[-1].at, told))
    if answer.reason:
        await _put_off(context, lease, answer)
    else:
        await webhooks.delivered(catalog, lease.token, end, answer.status)


async def release(context: Context, lease: Lease) -> None:
    """Gives a lease back: another process may go on at once."""
    await webhooks.release(context.catalog, lease.token)


async def _next(context: Context, lease: Lease) -> tuple[Sequence[Change], int]:
    """The events of the next message, and the position behind it; those of a message that was sent before are the same
    again, as far as they are kept."""
    limit = lease.batch_end or await changes.horizon(context.catalog)
    page = await changes.page(context.catalog, lease.position, _PAGE)
    known = [one for one in page if one.id <= limit]
    wanted = [one for one in known if not lease.kinds or one.kind in lease.kinds][:MOST_EVENTS]
    if len(wanted) == MOST_EVENTS:
        return wanted, wanted[-1].id
    return wanted, known[-1].id if len(known) == _PAGE else limit


async def _put_off(context: Context, lease: Lease, answer: Answer) -> None:
    rules = context.webhooks
    pause = min(rules.pause_seconds * 2.0 ** min(lease.failures, _MOST_DOUBLINGS), _LONGEST_PAUSE)
    state = await webhooks.failed(
        context.catalog,
        lease.token,
        answer.status,
        answer.reason,
        max(pause, answer.pause),
        rules.days,
        gone=answer.status == _GONE,
    )
    if state is None:
        return
    if state == ACTIVE:
        log.warning("webhook %s was not delivered: %s", lease.name, answer.reason)
    else:
        log.error("webhook %s is %s and waits to be resumed: %s", lease.name, STATES[state], answer.reason)


def _message() -> str:
    return "msg_" + secrets.token_hex(16)


def _body(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "timestamp": at.isoformat(), "data": data})
