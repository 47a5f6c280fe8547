"""Transfers to other DICOMweb servers: takes them from the queue, does what is due, and tells how it went. Whatever
kills this process, its leases run out and another one goes on with what has not arrived."""

from __future__ import annotations

import asyncio
import logging
import time

from app.archive import destinations, transfers
from app.archive.context import Context
from app.archive.transfers import Lease
from app.catalog.notices import Notices
from app.catalog.queue import STOW, WAITING, Told
from app.errors import DatabaseDown, FileroomError, NotFound, Unavailable
from app.jobs import requests
from app.jobs.stow import Server, Unreachable

log = logging.getLogger("fileroom.jobs")

_CLAIM_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
"""When it is the archive that cannot."""
_TELL_SECONDS = 1.0
_MOST_BREAKS = 3
"""Instances in a row that did not arrive, after which the rest of a transfer waits for another try."""


async def work(context: Context, notices: Notices) -> None:
    """One worker: one transfer after the other, until cancelled."""
    while True:
        try:
            lease = await transfers.await_claim(context, notices, STOW, _CLAIM_SECONDS)
            if lease is not None:
                await _work(context, lease)
        except FileroomError as error:
            log.warning("the queue cannot be worked on: %s", error.detail)
            await asyncio.sleep(_PAUSE_SECONDS)
        except Exception:  # whatever it is, the next transfer must be tried
            log.exception("the queue cannot be worked on by a fault of ours")
            await asyncio.sleep(_PAUSE_SECONDS)


class _Ledger:
    """What became of instances, told in portions."""

    def __init__(self, context: Context, lease: Lease) -> None:
        self._context = context
        self._lease = lease
        self._told: list[Told] = []
        self._flushed = time.monotonic()

    async def note(self, told: Told) -> None:
        """One more."""
        self._told.append(told)
        if time.monotonic() - self._flushed > _TELL_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Tells all; raises `NotFound` when the lease is gone."""
        told, self._told = self._told, []
        self._flushed = time.monotonic()
        await transfers.report(self._context, self._lease.token, told)


async def _work(context: Context, lease: Lease) -> None:
    ledger = _Ledger(context, lease)
    sending = asyncio.ensure_future(_send(context, lease, ledger))
    beat = context.transfers.lease_seconds / 4
    try:
        while not (await asyncio.wait({sending}, timeout=beat))[0]:
            try:
                await ledger.flush()
            except DatabaseDown:
                log.warning("a lease could not be renewed")
        outcome, reason = await sending
        await ledger.flush()
        state = await transfers.end(context, lease.token, outcome, reason)
        log.info("transfer %d is %s: %s", lease.job.id, state, reason or outcome)
    except NotFound:
        log.info("transfer %d is no longer ours", lease.job.id)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(context: Context, lease: Lease, ledger: _Ledger) -> tuple[str, str]:
    """Sends what is due; outcome and reason."""
    try:
        server = Server(context, await destinations.one(context, lease.job.destination))
    except NotFound:
        return "failed", "the destination is not registered any more"
    try:
        if lease.asking is not None:
            return await requests.commit(context, server, lease.asking)
        if lease.job.payload.get("echo"):
            await server.echo()
        if lease.message is not None:
            return await requests.tell(server, lease.job.step_uid, lease.message, lease.job.tries)
        return await _send_all(server, lease, ledger)
    except Unreachable as error:
        return "unreachable", str(error)
    except NotFound:
        raise
    except Unavailable as error:  # it costs no try; the lease is kept meanwhile, so that nobody else tries at once
        await asyncio.sleep(min(context.transfers.pause_seconds, _LONGEST_PAUSE_SECONDS))
        return "more", error.detail
    except Exception:  # a transfer that we cannot do must end no other
        log.exception("transfer %d failed by a fault of ours", lease.job.id)
        return "again", "a fault of the archive: see its log"
    finally:
        await server.close()


async def _send_all(server: Server, lease: Lease, ledger: _Ledger) -> tuple[str, str]:
    breaks, reason = 0, ""
    for due in lease.due:
        told = await server.send(due)
        await ledger.note(told)
        breaks = breaks + 1 if told[1] == WAITING else 0
        reason = told[3] if told[1] != 1 else reason
        if breaks == _MOST_BREAKS:
            return "again", reason
    is_all = len(lease.due) + lease.job.done + lease.job.failed >= lease.job.total
    return "ended" if is_all or reason else "more", reason
