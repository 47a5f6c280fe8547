"""Transfers to DIMSE peers (PS3.4 B, F and J, as their user): each process of the bridge takes them from the archive's
queue by leases, does what is due, and tells what became of it. It keeps nothing: when it dies, the lease runs out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from app.dicom.performed_step import ended_by
from app.dicom.status import STATUSES, Outcome, Progress, is_warning
from app.errors import ArchiveUnreachable, FileroomError, NotFound
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.archive_client.connection import Times
from dimse_bridge.association.endings import AssociationEnded, Rejected, Unreachable
from dimse_bridge.reception import Reception
from dimse_bridge.remote.called import Called
from dimse_bridge.services.selection import Wanted
from dimse_bridge.services.storage_contexts import allowed_by, propose
from dimse_bridge.services.suboperations import NO_CONTEXT, Sender, Tally, plan, run
from dimse_bridge.services.supply import Supply
from dimse_bridge.settings import Settings
from dimse_bridge.user import mpps
from dimse_bridge.user.commit import commit
from dimse_bridge.user.echo import echo
from dimse_bridge.user.remote import Remote

log = logging.getLogger("fileroom.bridge.transfers")

_WAIT_SECONDS = 20
"""How long the archive may keep our question for a transfer."""
_PAUSE_SECONDS = 1.0
_TELL_SECONDS = 1.0
_MOST_BREAKS = 3
"""Instances on which the association was lost again and again, after which the rest waits for another try."""
_WAITING, _ARRIVED, _REFUSED = 0, 1, 2
_PROCESSING_FAILURE = 0x0110
_DUPLICATE = STATUSES[Outcome.DUPLICATE_INSTANCE].dimse
_ENDED = STATUSES[Outcome.STEP_ENDED].dimse


class Transfers:
    """What one process of the bridge sends."""

    def __init__(self, settings: Settings, reception: Reception) -> None:
        self._settings = settings
        self._reception = reception
        self._is_ending = False
        self._task: asyncio.Task[None] | None = None
        self._idle = True

    @property
    def _beside(self) -> str:
        """The address beside the archive's DICOMweb root, where our control resources are."""
        return self._settings.archive_url.rstrip("/").rpartition("/")[0]

    def start(self) -> None:
        """Asks for transfers from now on, if the archive is one that has them."""
        if self._settings.archive_kind == "fileroom":
            self._task = asyncio.get_running_loop().create_task(self._run())

    def end(self) -> set[asyncio.Task[None]]:
        """Takes no more; what is under way still ends its instance. The tasks to wait for."""
        self._is_ending = True
        if self._task is None:
            return set()
        if self._idle:
            self._task.cancel()
        return {self._task}

    async def _run(self) -> None:
        seconds = self._settings.archive_seconds
        desk = Archive(self._beside, self._settings.archive_token, times=Times(answer=seconds + _WAIT_SECONDS))
        try:
            while not self._is_ending:
                await self._next(desk)
        finally:
            desk.close()

    async def _next(self, desk: Archive) -> None:
        self._idle = True
        try:
            lease = await desk.post_json(f"/transfers/leases?wait={_WAIT_SECONDS}", {})
            self._idle = False
            if lease is not None:
                await self._work(desk, lease)
        except FileroomError as error:
            log.debug("no transfer can be had: %s", error.detail)
            self._idle = True
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _work(self, desk: Archive, lease: dict[str, Any]) -> None:
        ledger = _Ledger(desk, lease)
        sending = asyncio.ensure_future(self._send(lease, ledger))
        number = lease["transfer"]
        try:
            while not (await asyncio.wait({sending}, timeout=min(_TELL_SECONDS, ledger.seconds / 4)))[0]:
                await ledger.beat()
            outcome, reason = await sending
            state = await ledger.flush(outcome, reason)
            log.info("transfer %d is %s: %s", number, state, reason or outcome)
        except NotFound:
            log.info("transfer %d is no longer ours", number)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, lease: dict[str, Any], ledger: _Ledger) -> tuple[str, str]:
        """Sends what is due; outcome and reason."""
        try:
            peer = await self._reception.called(lease["peer"], patience=True)
            if peer is None or not peer.host:
                return "failed", "the peer is not registered with an address"
            if lease["echo"] and "commitment" not in lease:
                await echo(peer)
        except ArchiveUnreachable as error:
            return "more", error.detail
        except (AssociationEnded, FileroomError) as error:
            return "unreachable", f"no echo: {error}"
        archive = Archive(f"{self._beside}/transfers/leases/{lease['lease']}", self._settings.archive_token)
        try:
            if "commitment" in lease:
                return await self._commit(peer, lease["commitment"])
            if "step" in lease:
                return await _tell(peer, lease["step"])
            return await self._send_all(peer, archive, lease, ledger)
        except (Rejected, Unreachable) as error:
            return "unreachable", str(error)
        except (AssociationEnded, FileroomError) as error:
            return "again", str(error) or "the association was released"
        except Exception:  # a transfer that we cannot do must end no other
            log.exception("transfer %d failed by a fault of ours", lease["transfer"])
            return "again", "a fault of the bridge: see its log"
        finally:
            archive.close()

    async def _commit(self, peer: Called, wanted: dict[str, Any]) -> tuple[str, str]:
        """Asks for storage commitment. A report that comes meanwhile ends the lease; others come to any process of any
        bridge, which hands them over as this one does."""
        references = [(one[0], one[1]) for one in wanted["references"]]
        take = self._reception.reports.take
        await commit(peer, wanted["transaction"], references, take, peer.behaviour.commitment_seconds)
        return "asked", ""

    async def _send_all(
        self, peer: Remote, archive: Archive, lease: dict[str, Any], ledger: _Ledger
    ) -> tuple[str, str]:
        numbers = {Wanted(one[1], one[2], one[3], one[4], (one[5],)): one[0] for one in lease["instances"]}
        left, failures, breaks = list(numbers), 0, 0
        while left and not self._is_ending:
            tally = _Tally(left, numbers, ledger)
            try:
                await self._send_some(peer, archive, left, tally)
            except (Rejected, Unreachable) as error:
                return "unreachable", str(error)
            except AssociationEnded as error:
                failures = failures + 1 if tally.remaining == len(left) else 1
                if failures >= peer.behaviour.attempts and tally.open:
                    failures, breaks = 0, breaks + 1
                    tally.fail(tally.open[0], f"the association was lost: {error}")
            left = tally.open
            if breaks == _MOST_BREAKS:
                return "again", ledger.reason
        if left or lease["more"]:
            return "more", ledger.reason
        return "ended", ledger.reason

    async def _send_some(self, peer: Remote, archive: Archive, wanted: list[Wanted], tally: _Tally) -> None:
        async with peer.connect(propose(wanted, allowed_by(peer.behaviour))) as association:
            sender = Sender(association, peer.behaviour)
            async with Supply(archive, plan(wanted, "IMAGE", sender.contexts, tally, ours=True)) as supply:
                await run(supply, sender, tally, self._goes_on)

    async def _goes_on(self) -> bool:
        return not self._is_ending


async def _tell(peer: Called, step: dict[str, Any]) -> tuple[str, str]:
    """Tells a message about a performed procedure step; outcome and reason. What an earlier try may have brought counts
    as told: the answer to it may have been lost."""
    is_new, attributes = step["operation"] == "create", step["attributes"]
    operation = mpps.create if is_new else mpps.update
    answer = await operation(peer, step["uid"], attributes, peer.peer.character_set)
    status = answer.status or 0
    if status == Progress.DONE or is_warning(status):
        return "ended", ""
    if is_new and status == _DUPLICATE:
        return "ended", "the peer has it already"
    if not is_new and status == _ENDED and step["tries"] > 1 and ended_by(attributes):
        return "ended", "the step had ended already"
    return "again", f"the peer answered {status:04X}H"


class _Ledger:
    """What became of instances, told to the archive in portions."""

    def __init__(self, desk: Archive, lease: dict[str, Any]) -> None:
        self._desk = desk
        self._path = f"/transfers/leases/{lease['lease']}"
        self._told: list[tuple[int, int, int, str]] = []
        self._flushed = time.monotonic()
        self.seconds: float = lease["seconds"]
        self.reason = ""
        """Why the last one that did not arrive did not."""

    def note(self, at: int, state: int, status: int, reason: str) -> None:
        """One more."""
        self._told.append((at, state, status, reason))
        self.reason = self.reason if state == _ARRIVED else reason

    async def beat(self) -> None:
        """Renews the lease when it is time, or tells what there is to tell. Raises `NotFound` when it is gone."""
        if self._told or time.monotonic() - self._flushed > self.seconds / 4:
            try:
                await self.flush()
            except ArchiveUnreachable as error:
                log.warning("a lease could not be renewed: %s", error.detail)

    async def flush(self, outcome: str = "", reason: str = "") -> str:
        """Tells all, and with `outcome` ends the lease; the transfer's state then. Raises `NotFound` when the lease is
        gone."""
        body: dict[str, Any] = {"instances": self._told}
        if outcome:
            body |= {"outcome": outcome, "reason": reason}
        answer = await self._desk.post_json(self._path, body)
        self._told = self._told[len(body["instances"]) :]
        self._flushed = time.monotonic()
        return str(answer.get("state", "")) if isinstance(answer, dict) else ""


class _Tally(Tally):
    """Counts, and notes each instance in the ledger. A status that may pass leaves an instance for another try."""

    def __init__(self, wanted: list[Wanted], numbers: Mapping[Wanted, int], ledger: _Ledger) -> None:
        super().__init__(wanted)
        self._numbers = numbers
        self._ledger = ledger
        self._status = 0

    @property
    def open(self) -> list[Wanted]:
        """What was not tried, or not to the end."""
        return list(self._open)

    def count(self, wanted: Wanted, status: int) -> None:
        """One more that was answered with `status`."""
        self._status = status
        if status == Progress.DONE or is_warning(status):
            self._ledger.note(self._numbers[wanted], _ARRIVED, status, "")
        super().count(wanted, status)
        self._status = 0

    def fail(self, wanted: Wanted, reason: str) -> None:
        """One more that failed."""
        status = self._status
        may_pass = status >> 8 == 0xA7 or status == _PROCESSING_FAILURE if status else reason != NO_CONTEXT
        self._ledger.note(self._numbers[wanted], _WAITING if may_pass else _REFUSED, status, reason)
        super().fail(wanted, reason)
