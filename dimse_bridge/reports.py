"""Results of storage commitment told to peers by N-EVENT-REPORT (PS3.4 J.3.3): on the association of the request while
it stands, else on one of our own, by which we are the SCP. The archive keeps what is to be told and to whom: a bridge
takes a report by a lease and says what became of it, so that whatever dies, another tells it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from app.dicom.commitment import has_failures, with_transaction
from app.dicom.peer import Peer
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from app.errors import FileroomError, NotFound
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.archive_client.connection import Times
from dimse_bridge.association.abstract_syntaxes import STORAGE_COMMITMENT
from dimse_bridge.association.association import Association, AssociationEnded
from dimse_bridge.association.commands import Command, event_report_rq
from dimse_bridge.association.context import Context, Proposed
from dimse_bridge.identifiers.answer import encode_whole
from dimse_bridge.settings import Settings
from dimse_bridge.user.commit import INSTANCE

log = logging.getLogger("fileroom.bridge.commitment")

RESOURCE = "/commitment-requests"
ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event Type ID (PS3.4 Table J.3-2)."""
_REPORTS = "/commitment-reports"
_LEASES = f"{_REPORTS}/leases"
_WAIT_SECONDS = 20
_PAUSE_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_DELIVERY_SECONDS = 50.0
"""A delivery ends before its lease does."""
_TRIES = 10
_PROPOSED = Proposed(STORAGE_COMMITMENT, (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE), scu_role=False, scp_role=True)


class Peers(Protocol):
    """How peers are called."""

    async def find(self, ae_title: str) -> Peer | None:
        """The registered peer with an address; None when there is none."""

    def connect(
        self, peer: Peer, calling: str, contexts: Sequence[Proposed]
    ) -> AbstractAsyncContextManager[Association]:
        """An association with it. Raises `AssociationEnded`."""


class Reports:
    """What one process of the bridge has to tell."""

    def __init__(self, settings: Settings, peers: Peers) -> None:
        self._peers = peers
        self._ours = settings.archive_kind == "fileroom"
        seconds = settings.archive_seconds
        beside = settings.archive_url.rstrip("/").rpartition("/")[0]
        self._desk = Archive(beside, settings.archive_token, times=Times(answer=seconds + _WAIT_SECONDS))
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: asyncio.Task[None] | None = None
        self._numbers = 0
        self._idle = True

    def start(self) -> None:
        """Delivers from now on what nobody else can, if the archive is one that says what that is."""
        if self._ours:
            self._deliveries = asyncio.get_running_loop().create_task(self._deliver())

    def end(self) -> set[asyncio.Task[None]]:
        """Begins nothing more; the delivery under way, to be waited for."""
        for task in self._tasks:
            task.cancel()
        if self._deliveries is None:
            return set()
        if self._idle:
            self._deliveries.cancel()
        running, self._deliveries = self._deliveries, None
        return {running}

    async def take(self, content: bytes) -> None:
        """Hands a report that a peer gave us to the archive, which knows who waits for it. Raises `NotFound` when
        nobody does, or whatever the archive refused with."""
        if not self._ours:
            raise NotFound("nobody asked for this commitment")
        await self._desk.post(_REPORTS, content)

    # ---------------------------------------------------------------- on the association of the request

    def watch(
        self, association: Association, context: Context, archive: Archive, uid: str, told: dict[str, Any] | None
    ) -> None:
        """Tells the peer on `association` as soon as there is a result; `told` is one that only this bridge knows."""
        task = asyncio.get_running_loop().create_task(self._watch(association, context, archive, uid, told))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(
        self, association: Association, context: Context, archive: Archive, uid: str, told: dict[str, Any] | None
    ) -> None:
        try:
            if told is not None:
                await self._ask(association, context, uid, told)
            elif not self._ours:
                await self._tell_unleased(association, context, archive, uid)
            elif await self._await_result(association, archive, uid):
                await self._tell_leased(association, context, uid)
        except AssociationEnded:
            log.info("the association ended before it was told of a commitment")
        except FileroomError as error:
            log.warning("a commitment report is left to others: %s", error.detail)

    async def _await_result(self, association: Association, archive: Archive, uid: str) -> dict[str, Any] | None:
        """The result as soon as it is there; None when the association ended before, unless nobody else would tell."""
        pause = _FIRST_PAUSE
        while association.ending is None or not self._ours:
            try:
                status, found = await archive.get_status(f"{RESOURCE}/{uid}")
                if status == 200:
                    return _lone(found)
            except FileroomError as error:
                log.debug("no result can be had: %s", error.detail)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None

    async def _tell_leased(self, association: Association, context: Context, uid: str) -> None:
        lease = await self._desk.post_json(f"{_LEASES}?transaction={uid}", {})
        if lease is None:
            return
        try:
            reason = _reason(await self._ask(association, context, uid, lease["result"]))
        except AssociationEnded as error:
            reason = str(error) or "the association was released"
        await self._settle(lease, reason)

    async def _tell_unleased(self, association: Association, context: Context, archive: Archive, uid: str) -> None:
        """For a server that knows of no reports: what this process does not tell, nobody tells."""
        found = await self._await_result(association, archive, uid) or {}
        for attempt in range(_TRIES):
            try:
                if association.ending is None:
                    reason = _reason(await self._ask(association, context, uid, found))
                else:
                    reason = await self._call(association.calling, association.called, uid, found)
            except AssociationEnded as error:
                reason = str(error) or "the association was released"
            if not reason:
                return
            await asyncio.sleep(2**attempt)

    async def _ask(self, association: Association, context: Context, uid: str, found: dict[str, Any]) -> Command:
        self._numbers = self._numbers % 0xFFFF + 1
        command, data_set = _report(self._numbers, context.transfer_syntax, uid, found)
        return await association.ask(context, self._numbers, command, data_set)

    # ---------------------------------------------------------------- on an association of our own

    async def _deliver(self) -> None:
        """Asks for what is due and delivers it, one by one."""
        try:
            while self._deliveries is not None:
                self._idle = True
                try:
                    lease = await self._desk.post_json(f"{_LEASES}?wait={_WAIT_SECONDS}", {})
                    self._idle = False
                    if lease is not None:
                        reason = await self._call(lease["peer"], lease["called"], lease["transaction"], lease["result"])
                        await self._settle(lease, reason)
                except FileroomError as error:
                    log.debug("no report can be had: %s", error.detail)
                    self._idle = True
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._desk.close()

    async def _call(self, ae_title: str, called: str, uid: str, found: dict[str, Any]) -> str:
        """Tells a peer; why that could not be done, "" when it was."""
        peer = await self._peers.find(ae_title)
        if peer is None:
            return "the peer is not registered with an address"
        try:
            async with (
                asyncio.timeout(_DELIVERY_SECONDS),
                self._peers.connect(peer, called, [_PROPOSED]) as association,
            ):
                context = next(iter(association.contexts.values()), None)
                if context is None:
                    return "the peer takes no reports"
                command, data_set = _report(1, context.transfer_syntax, uid, found)
                await association.send(context, command, data_set)
                return _reason((await association.receive()).command)
        except (AssociationEnded, TimeoutError) as error:
            return str(error) or "the peer did not answer in time"

    async def _settle(self, lease: dict[str, Any], reason: str) -> None:
        if reason:
            log.warning(
                "a peer could not be told of a commitment: %s", reason, extra={"fields": {"peer": lease["peer"]}}
            )
        else:
            log.info("a peer was told of a commitment", extra={"fields": {"peer": lease["peer"]}})
        await self._desk.post_json(f"{_LEASES}/{lease['lease']}", {"reason": reason})


def _report(number: int, syntax: str, uid: str, found: dict[str, Any]) -> tuple[bytes, bytes]:
    """Command and data set of an N-EVENT-REPORT."""
    event = FAILURES_EXIST if has_failures(found) else ALL_COMMITTED
    return event_report_rq(number, STORAGE_COMMITMENT, INSTANCE, event), encode_whole(
        with_transaction(found, uid), syntax
    )


def _reason(answer: Command) -> str:
    return f"the peer answered {answer.status:04X}" if answer.status else ""


def _lone(found: Any) -> dict[str, Any]:
    """The data set of an answer, which has an array around it (PS3.18 F.2.1)."""
    lone = found[0] if isinstance(found, list) and found else found
    return lone if isinstance(lone, dict) else {}
