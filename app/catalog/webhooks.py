"""Webhooks: who is told of changes by HTTP, how far, and how it went. A lease lets one process of all nodes deliver for
one webhook at a time; what it is about to send is noted first, so that it is the same message when it is sent again."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from app.catalog.engine import Catalog

STATES = ("active", "paused", "set-aside", "gone")
ACTIVE, PAUSED, SET_ASIDE, GONE = range(4)

_LIST = """
SELECT name, url, kinds, state, position, lease <> '' AS under_way, due_at, failures, failing_since, last_at,
       last_status, last_reason
  FROM webhook WHERE $1 IN ('', name) ORDER BY name
"""
_ADDRESS = "SELECT url, secret FROM webhook WHERE name = $1"
_PUT = """
WITH put AS (
    INSERT INTO webhook AS w (name, url, kinds, state, secret, position)
    VALUES ($1, $2, $3, $4, coalesce($5, $6), coalesce($7, (SELECT id FROM change_cursor WHERE name = 'horizon')))
        ON CONFLICT (name) DO UPDATE
           SET url = excluded.url, kinds = excluded.kinds, state = excluded.state, secret = coalesce($5, w.secret),
               position = coalesce($7, w.position), due_at = now(), lease = '', batch = '', batch_end = 0,
               failures = 0, failing_since = NULL, updated_at = now()
    RETURNING xmax = 0 AS is_new
)
SELECT is_new, pg_notify('fileroom_changes', '') FROM put
"""
_RESUME = """
WITH resumed AS (
    UPDATE webhook SET state = 0, due_at = now(), lease = '', failures = 0, failing_since = NULL, updated_at = now()
     WHERE name = $1 RETURNING name
)
SELECT name, pg_notify('fileroom_changes', '') FROM resumed
"""
_DELETE = "DELETE FROM webhook WHERE name = $1 RETURNING name"
_CLAIM = """
UPDATE webhook SET lease = $1, due_at = now() + make_interval(secs => $2)
 WHERE name = (SELECT name FROM webhook
                WHERE state = 0 AND due_at <= now()
                  AND position < (SELECT id FROM change_cursor WHERE name = 'horizon')
                ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING lease, name, url, kinds, secret, position, batch, batch_end, failures
"""
_WAIT = """
SELECT extract(epoch FROM min(due_at) - now())::double precision FROM webhook
 WHERE state = 0 AND position < (SELECT id FROM change_cursor WHERE name = 'horizon')
"""
_BEGIN = "UPDATE webhook SET batch = $2, batch_end = $3 WHERE lease = $1 RETURNING name"
_PASS = "UPDATE webhook SET position = $2, batch = '', batch_end = 0, lease = '', due_at = now() WHERE lease = $1"
_DELIVERED = """
UPDATE webhook SET position = $2, batch = '', batch_end = 0, lease = '', due_at = now(), failures = 0,
       failing_since = NULL, last_at = now(), last_status = $3, last_reason = ''
 WHERE lease = $1
"""
_FAILED = """
UPDATE webhook SET lease = '', due_at = now() + make_interval(secs => $4), failures = failures + 1,
       failing_since = coalesce(failing_since, now()), last_at = now(), last_status = $2, last_reason = $3,
       state = CASE WHEN $6 THEN 3 WHEN failing_since < now() - make_interval(secs => $5 * 86400) THEN 2 ELSE 0 END
 WHERE lease = $1 RETURNING state
"""
_RELEASE = "UPDATE webhook SET lease = '', due_at = now() WHERE lease = $1"


class Known(NamedTuple):
    """A webhook as it may be told: without its secret."""

    name: str
    url: str
    kinds: list[str]
    state: int
    position: int
    under_way: bool
    due_at: datetime
    failures: int
    failing_since: datetime | None
    last_at: datetime | None
    last_status: int
    last_reason: str


class Lease(NamedTuple):
    """The right to deliver for a webhook, and what that takes. `batch` is empty when no message is under way."""

    token: str
    name: str
    url: str
    kinds: list[str]
    secret: str
    position: int
    batch: str
    batch_end: int
    failures: int


async def listed(catalog: Catalog, name: str = "") -> list[Known]:
    """The webhook of this name, or every one by name."""
    return [Known._make(row) for row in await catalog.fetch(_LIST, name)]


async def address(catalog: Catalog, name: str) -> tuple[str, str] | None:
    """Where a webhook's messages go, and its secret."""
    row = await catalog.fetchrow(_ADDRESS, name)
    return None if row is None else (row["url"], row["secret"])


async def put(
    catalog: Catalog,
    name: str,
    url: str,
    kinds: list[str],
    state: int,
    secret: str | None,
    made: str,
    after: int | None,
) -> bool:
    """Adds a webhook, or replaces it, with no failures; whether it is new. `secret` None: it keeps what it has, a new
    one gets `made`. `after` None: it goes on where it is, a new one behind all that has happened."""
    row = await catalog.fetchrow(_PUT, name, url, kinds, state, secret, made, after)
    return row is not None and bool(row["is_new"])


async def resume(catalog: Catalog, name: str) -> bool:
    """Lets a webhook that was set aside, or waits for its next try, be tried at once; False when there is none."""
    return await catalog.fetchval(_RESUME, name) is not None


async def delete(catalog: Catalog, name: str) -> bool:
    """Removes a webhook; False when there is none."""
    return await catalog.fetchval(_DELETE, name) is not None


async def claim(catalog: Catalog, token: str, seconds: float) -> Lease | None:
    """The right to deliver for `seconds` for a webhook that is due and has events before it."""
    row = await catalog.fetchrow(_CLAIM, token, seconds)
    return None if row is None else Lease._make(row)


async def wait(catalog: Catalog) -> float | None:
    """Seconds until the next webhook with events before it is due; None when nobody has any."""
    seconds: float | None = await catalog.fetchval(_WAIT)
    return seconds


async def begin(catalog: Catalog, token: str, batch: str, end: int) -> bool:
    """Notes the message that is about to be sent; False when the lease is gone."""
    return await catalog.fetchval(_BEGIN, token, batch, end) is not None


async def pass_over(catalog: Catalog, token: str, position: int) -> None:
    """Ends a lease: up to `position` there was nothing to tell."""
    await catalog.execute(_PASS, token, position)


async def delivered(catalog: Catalog, token: str, position: int, status: int) -> None:
    """Ends a lease: everything up to `position` was taken."""
    await catalog.execute(_DELIVERED, token, position, status)


async def failed(
    catalog: Catalog, token: str, status: int, reason: str, pause: float, days: float, *, gone: bool
) -> int | None:
    """Ends a lease: to be tried again after `pause` seconds, unless it has failed for `days` or is `gone`. The state;
    None when the lease is gone."""
    state: int | None = await catalog.fetchval(_FAILED, token, status, reason, pause, days, gone)
    return state


async def release(catalog: Catalog, token: str) -> None:
    """Gives a lease back unused."""
    await catalog.execute(_RELEASE, token)
