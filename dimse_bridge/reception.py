"""What one process of the bridge does with associations: who may have one, which services answer, what is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import MappingProxyType

from app.dicom.peer import Peer
from app.dicom.status import UNRECOGNIZED_OPERATION
from app.errors import Unavailable
from app.telemetry.logging import association_id
from app.telemetry.metrics import Metrics
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.archive_client.connection import Times
from dimse_bridge.association.abstract_syntaxes import has_operation
from dimse_bridge.association.associate_pdus import AssociateRequest
from dimse_bridge.association.association import Association, AssociationEnded, Message
from dimse_bridge.association.commands import C_GET_RQ, C_MOVE_RQ, N_ACTION_RQ, N_EVENT_REPORT_RQ, response
from dimse_bridge.association.context import Proposed, Timeouts
from dimse_bridge.association.negotiation import (
    CONGESTION,
    Acceptance,
    Caller,
    LocalAE,
    Policy,
    Rejection,
    policy,
)
from dimse_bridge.association.requestor import connect
from dimse_bridge.counts import SERVICES as NAMES
from dimse_bridge.counts import UNREGISTERED, Account, Counts
from dimse_bridge.peers import Fetch, Registry, ask
from dimse_bridge.remote.called import Called
from dimse_bridge.reports import Reports
from dimse_bridge.services import SERVICES, Service, commitment, get, move
from dimse_bridge.settings import Listener, OurAE, Settings
from dimse_bridge.tls import ClientContexts

log = logging.getLogger("fileroom.bridge")


class Reception:
    """Made in the process that serves."""

    def __init__(
        self,
        settings: Settings,
        *,
        fetch: Fetch | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._tls = ClientContexts(settings)
        self._counts = Counts(metrics or Metrics())
        self._beside = Archive(settings.archive_url.rstrip("/").rpartition("/")[0], settings.archive_token)
        self.registry = Registry(settings, fetch or ask(self._beside))
        self.timeouts = timeouts(settings)
        self._calling_timeouts = replace(self.timeouts, idle=settings.dimse_response_seconds or None)
        self._archive = Archive(
            settings.archive_url,
            settings.archive_token,
            ours=settings.archive_kind == "fileroom",
            times=Times(answer=settings.archive_seconds, stall=settings.archive_seconds),
        )
        self.reports = Reports(settings, self)
        self._services: Mapping[int, Service] = MappingProxyType(
            {
                **SERVICES,
                C_GET_RQ: get.serve,
                C_MOVE_RQ: move.service(self),
                N_ACTION_RQ: commitment.service(self.reports),
                N_EVENT_REPORT_RQ: commitment.taking(self.reports),
            }
        )

    def close(self) -> None:
        """Closes the connections to the archive."""
        self._archive.close()
        self._beside.close()

    async def is_ready(self) -> bool:
        """Whether the archive answers."""
        return await self.registry.reaches_archive()

    @property
    def archive(self) -> Archive:
        """The archive, asked in the bridge's own name."""
        return self._archive

    async def called(self, aet: str, *, patience: bool) -> Called | None:
        """The registered peer of this AE title, to be called in the name of our main one. With `patience` a response
        may take any time, if no setting says otherwise: sub-operations may come before it."""
        peer = await self.registry.called(aet)
        if peer is None:
            return None
        settings = self._settings
        seconds = settings.dimse_response_seconds or None
        if not patience:
            seconds = min(settings.dimse_remote_seconds, seconds or settings.dimse_remote_seconds)
        ours = local_ae(settings, settings.aes[0])
        return Called(
            aet, peer.host, peer.port, ours, None, patience=seconds, behaviour=peer.behaviour, peer=peer,
            open=self.connect,
        )  # fmt: skip

    def policy(self, listener: Listener) -> Policy:
        """Who may associate on the port of `listener`."""
        local = {ae.aet: local_ae(self._settings, ae) for ae in listener.aes}
        judge = policy(local, self.registry.find)

        async def decide(request: AssociateRequest, caller: Caller) -> Acceptance | Rejection:
            try:
                answer = await judge(request, caller)
            except Unavailable:
                answer = CONGESTION  # who may call is not known: let them try again
            if isinstance(answer, Rejection):
                self._counts.rejected()
            return answer

        return decide

    async def serve(self, association: Association) -> None:
        """Answers one association's messages until it ends. Raises what ended it."""
        association_id.set(association.identity)
        peer = association.calling if self.registry.is_registered(association.calling) else UNREGISTERED
        account = Account(self._counts, peer)
        self._counts.opened(peer)
        log.info("association accepted", extra={"fields": _who(association)})
        try:
            await self._serve(association, account)
        except AssociationEnded as ending:
            log.info("association ended: %s", ending or "released", extra={"fields": account.fields()})
            raise
        finally:
            self._counts.closed()

    async def _serve(self, association: Association, account: Account) -> None:
        archive = self._archive.on_behalf(
            calling=association.calling, called=association.called, association=association.identity
        )
        received = sent = 0
        while True:
            message = await association.request()
            started = time.perf_counter()
            service: Service = _refuse
            if has_operation(message.context, message.command.field):
                service = self._services.get(message.command.field, _refuse)
            try:
                await service(association, message, archive)
            finally:
                name = NAMES.get(message.command.field, "other")
                seconds = time.perf_counter() - started
                account.note(name, seconds, association.received - received, association.sent - sent)
                received, sent = association.received, association.sent

    async def find(self, ae_title: str) -> Peer | None:
        """A destination of C-MOVE: a registered peer with an address; None when there is none."""
        return await self.registry.destination(ae_title)

    def connect(
        self, peer: Peer, calling: str, contexts: Sequence[Proposed], opened: move.Opened | None = None
    ) -> AbstractAsyncContextManager[Association]:
        """An association with a destination, in the name of one of our AE titles."""
        ours = next((ae for ae in self._settings.aes if ae.aet == calling), self._settings.aes[0])
        return connect(
            peer.host,
            peer.port,
            calling=local_ae(self._settings, ours),
            called=peer.ae_title,
            contexts=contexts,
            tls=self._tls.of(peer) if peer.tls else None,
            certificate=peer.certificate,
            timeouts=self._calling_timeouts,
            max_length=peer.behaviour.max_pdu,
            peer=peer,
            opened=opened,
        )


def local_ae(settings: Settings, ae: OurAE) -> LocalAE:
    """An AE title of ours as the upper layer knows it."""
    return LocalAE(
        ae.aet,
        settings.dimse_max_pdu,
        settings.dimse_max_send_pdu,
        ae.implementation_class_uid,
        ae.implementation_version_name,
    )


def timeouts(settings: Settings) -> Timeouts:
    """The settings' time limits; 0 means none."""
    return Timeouts(
        artim=settings.dimse_acse_seconds,
        acse=settings.dimse_associate_seconds,
        dimse=settings.dimse_message_seconds or None,
        idle=settings.dimse_idle_seconds or None,
        response=settings.dimse_response_seconds or None,
        connect=settings.dimse_connect_seconds,
    )


def _who(association: Association) -> dict[str, object]:
    return {
        "peer": association.calling,
        "called": association.called,
        "address": association.address,
        "count": len(association.contexts),
    }


async def _refuse(association: Association, message: Message, archive: Archive) -> None:
    await message.drain()
    await association.send(message.context, response(message.command, UNRECOGNIZED_OPERATION))
