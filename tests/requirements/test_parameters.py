"""Each configurable parameter of the listed products has its counterpart, tried as it is meant."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from app.archive.routing import MESSAGES, Route
from app.archive.transfers import Request
from app.catalog.queue import NewJob
from app.dicom.peer import PRESETS, Peer, unregistered
from app.dicom.storage_classes import is_storage
from app.dicom.transfer_syntaxes import IMPLICIT_LE, TRANSFER_SYNTAXES
from app.main import make_context
from app.security.policy import rule_for
from app.settings import Settings as ArchiveSettings
from dimse_bridge.association.negotiation import transfer_syntaxes
from dimse_bridge.listening import bind
from dimse_bridge.reception import timeouts
from dimse_bridge.services.selection import Wanted
from dimse_bridge.services.storage_contexts import allowed_by, propose
from dimse_bridge.services.suboperations import NO_CONTEXT
from dimse_bridge.settings import Settings
from dimse_bridge.user.remote import Remote
from dimse_bridge.user.store import store
from tests.dimse.admission.test_admission import (
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    CT,
    SR,
    VERIFICATION,
    Registry,
    ask,
    listening,
    registry,
)
from tests.requirements.instances import encode, make, rows
from tests.support.archive import RunningArchive

__all__ = ["registry"]


class Site:
    """The running archive and its peers."""

    def __init__(self, archive: RunningArchive, peers: Registry) -> None:
        self.archive = archive
        self.peers = peers


async def hosts(site: Site) -> None:
    site.peers.put("HOST", addresses=["10.0.0.0/8"])
    async with listening(archive_url=site.archive.root) as (port,):
        assert (await ask(port, "HOST")).rejection == CALLING_UNKNOWN
        site.peers.put("HOST", addresses=["127.0.0.1"])
        await asyncio.sleep(1.1)
        assert (await ask(port, "HOST")).rejection is None


async def titles_for_each_ae(site: Site) -> None:
    site.peers.put("FORSECOND", called=["SECOND"])
    async with listening(archive_url=site.archive.root, aets=[{"aet": "SECOND"}]) as (port,):
        assert (await ask(port, "FORSECOND", "SECOND")).rejection is None
        assert (await ask(port, "FORSECOND", "FILEROOM")).rejection == CALLED_UNKNOWN


async def concurrent(site: Site) -> None:
    site.peers.put("MANY")

    def hold(port: int) -> None:
        ae = AE("MANY")
        ae.add_requested_context(VERIFICATION)
        held = [ae.associate("127.0.0.1", port, ae_title="FILEROOM") for _ in range(5)]
        assert all(one.is_established for one in held)
        assert all(one.send_c_echo().Status == 0 for one in held)
        for one in held:
            one.release()

    async with listening(archive_url=site.archive.root) as (port,):
        await asyncio.to_thread(hold, port)
    assert Settings(dimse_max_associations=0, dimse_max_peer_associations=0).dimse_max_associations == 0


async def idle(site: Site) -> None:
    site.peers.put("IDLE")

    def wait(port: int) -> bool:
        ae = AE("IDLE")
        ae.add_requested_context(VERIFICATION)
        association = ae.associate("127.0.0.1", port, ae_title="FILEROOM")
        assert association.is_established
        association.join(20)
        return bool(association.is_aborted)

    async with listening(archive_url=site.archive.root, dimse_idle_seconds=0.3) as (port,):
        assert await asyncio.to_thread(wait, port)


async def unregistered_titles(site: Site) -> None:
    for unknown, rejection in (("auto", CALLING_UNKNOWN), ("admit", None)):
        async with listening(archive_url=site.archive.root, unknown_peers=unknown) as (port,):
            assert (await ask(port, "STRANGER")).rejection == rejection


async def called_titles(site: Site) -> None:
    site.peers.put("WRONG")
    async with listening(archive_url=site.archive.root) as (port,):
        assert (await ask(port, "WRONG", "OTHER")).rejection == CALLED_UNKNOWN


async def window(site: Site) -> None:
    site.peers.put("WINDOW")

    def negotiate(port: int) -> tuple[int, int]:
        ae = AE("WINDOW")
        ae.add_requested_context(VERIFICATION)
        item = AsynchronousOperationsWindowNegotiation()
        item.maximum_number_operations_invoked = item.maximum_number_operations_performed = 5
        association = ae.associate("127.0.0.1", port, ae_title="FILEROOM", ext_neg=[item])
        found: tuple[int, int] = association.acceptor.asynchronous_operations
        association.release()
        return found

    async with listening(archive_url=site.archive.root) as (port,):
        assert await asyncio.to_thread(negotiate, port) == (1, 1)


def named(uid: str, version: str) -> Callable[[Site], Awaitable[None]]:
    async def check(site: Site) -> None:
        site.peers.put("ASKS")
        settings = {"dimse_implementation_class_uid": uid, "dimse_implementation_version_name": version}
        async with listening(archive_url=site.archive.root, **settings) as (port,):
            assert (await ask(port, "ASKS")).implementation == (uid, version)

    return check


async def tls(site: Site) -> None:
    settings = {"dimse_tls_port": 2762, "dimse_tls_certificate": "c.pem", "dimse_tls_authorities": "a.pem"}
    listeners = Settings.model_validate(settings).listeners
    assert [one.tls for one in listeners] == [False, True]
    assert [one.tls for one in Settings.model_validate(settings | {"dimse_plain": "never"}).listeners] == [True]


async def administrators(site: Site) -> None:
    rule = rule_for("PUT", "/peers/CT1")
    assert rule is not None
    assert rule.scope == "admin"


async def times(site: Site) -> None:
    given = timeouts(Settings(dimse_associate_seconds=36_000, dimse_message_seconds=10, dimse_connect_seconds=30))
    assert (given.acse, given.dimse, given.connect) == (36_000, 10, 30)
    none = timeouts(Settings(dimse_message_seconds=0, dimse_idle_seconds=0, dimse_response_seconds=0))
    assert (none.dimse, none.idle, none.response) == (None, None, None)


async def pdus(site: Site) -> None:
    site.peers.put("LONG")
    settings = {"dimse_max_pdu": 116794, "dimse_max_send_pdu": 116794}
    async with listening(archive_url=site.archive.root, **settings) as (port,):
        assert (await ask(port, "LONG")).max_pdu == 116794


async def classes(site: Site) -> None:
    """All, or those that are named: taken, and sent."""
    assert all(
        is_storage(row["uid"].replace("*", "999.1")) for row in rows("sop_classes.csv") if "5.1.4.1.1." in row["uid"]
    )
    site.peers.put("SOME", behaviour={"sop_classes": [CT]})
    async with listening(archive_url=site.archive.root) as (port,):
        contexts = [(uid, [IMPLICIT_LE]) for uid in (VERIFICATION, CT, SR)]
        answer = await ask(port, "SOME", contexts=contexts)
        assert (set(answer.contexts), answer.results) == ({VERIFICATION, CT}, {SR: 3})
    some = Peer.from_json("SOME", {"behaviour": {"sop_classes": [CT]}}).behaviour
    wanted = [Wanted("1", "2", str(at), uid, (IMPLICIT_LE,)) for at, uid in enumerate((CT, SR))]
    assert {one.abstract_syntax for one in propose(wanted, allowed_by(some))} == {CT}
    with tempfile.NamedTemporaryFile() as file:
        file.write(encode(make("7440", 1, SR)))
        file.flush()
        sent = [one async for one in store(Remote("NOBODY", "127.0.0.1", 1, behaviour=some), [Path(file.name)])]
        assert [(one.status, one.reason) for one in sent] == [(None, NO_CONTEXT)]


async def syntaxes(site: Site) -> None:
    assert transfer_syntaxes(CT, unregistered("ANY")) == set(TRANSFER_SYNTAXES)
    limited = Peer.from_json("ANY", {"behaviour": {"transfer_syntaxes": ["1.2.840.10008.1.2.5"]}})
    assert transfer_syntaxes(CT, limited) == {"1.2.840.10008.1.2.5", IMPLICIT_LE}


async def own_title(site: Site) -> None:
    site.peers.put("CALLER")
    async with listening(archive_url=site.archive.root, aet="OURS") as (port,):
        assert (await ask(port, "CALLER", "OURS")).rejection is None


async def remote_map(site: Site) -> None:
    """Host names too."""
    async with listening(archive_url=site.archive.root) as (port,):
        site.peers.put("REMOTE", host="localhost", port=port)
        site.peers.put("FILEROOM")
        from dimse_bridge.reception import Reception

        reception = Reception(Settings(archive_url=site.archive.root))
        peer = await reception.find("REMOTE")
        assert peer is not None
        assert (peer.host, peer.port) == ("localhost", port)
        assert await reception.find("FILEROOM") is None, "it has no address"
        reception.close()


async def overwrites(site: Site) -> None:
    assert PRESETS["onepacs"].duplicate_policy == "replace"


async def both_families(site: Site) -> None:
    for host in ("127.0.0.1", "::1"):
        (bound,) = bind(Settings.model_construct(**{**Settings().model_dump(), "dimse_host": host, "dimse_port": 0}))
        assert bound.socket.getsockname()[0] == host
        bound.socket.close()


async def commitment_waits(site: Site) -> None:
    """What has not come is looked for again after the one time, and given up after the other."""
    settings = ArchiveSettings(data=site.archive.data, commitment_seconds=7, commitment_timeout_seconds=70)
    context = make_context(settings, "postgresql://nowhere")
    assert (context.commitment.interval_seconds, context.commitment.timeout_seconds) == (7, 70)
    assert ArchiveSettings().commitment_seconds == 30, "the default that is listed"


async def step_completes(site: Site) -> None:
    """It can be switched off."""
    for switch in (True, False):
        context = make_context(
            ArchiveSettings(data=site.archive.data, mpps_completes_study=switch), "postgresql://nowhere"
        )
        assert context.steps_complete_studies is switch


def queued(site: Site, settings: dict[str, Any], **members: Any) -> list[NewJob]:
    """What a route, and a transfer by hand, with these members make of a study."""
    context = make_context(ArchiveSettings(data=site.archive.data, **settings), "postgresql://nowhere")
    to = {"server": "second"} | members
    route = Route.from_json("one", {"event": "study"} | to, context.quiet_seconds)
    return [route.job(context, "1.2.3"), Request.from_json({"study": "1.2.3"} | to).job(context, "somebody")]


async def echo_first(site: Site) -> None:
    """It can be switched off; what it does is tried by `tests/e2e/day`."""
    assert [job.payload["echo"] for job in queued(site, {}, echo=False)] == [False, False]
    assert [job.payload["echo"] for job in queued(site, {}, echo=True)] == [True, True]
    assert queued(site, {})[0].payload["echo"], "a route does so if it is not told otherwise"


async def commitment_after(site: Site) -> None:
    """Not if nobody wants it: most destinations cannot report to us; `tests/api/test_committing.py` tries it."""
    assert [job.payload["commit"] for job in queued(site, {}, commit=True)] == [True, True]
    assert [job.payload["commit"] for job in queued(site, {})] == [False, False]


async def tries(site: Site) -> None:
    """Of sending and commitment together."""
    assert [job.most_tries for job in queued(site, {"transfer_tries": 4})] == [4, 4]
    assert [job.most_tries for job in queued(site, {"transfer_tries": 4}, tries=7)] == [7, 7]


async def report_time(site: Site) -> None:
    """What follows is tried by `test_no_result_in_time_is_a_failure`."""
    settings = ArchiveSettings(data=site.archive.data, transfer_commitment_seconds=7)
    assert make_context(settings, "postgresql://nowhere").transfers.commitment_seconds == 7


async def forwards(site: Site) -> None:
    """It is optional, and has tries of its own."""
    route = Route.from_json("one", {"event": MESSAGES, "peer": "RIS", "tries": 3}, 60)
    assert (route.event, route.target.name, route.tries, route.enabled) == (MESSAGES, "RIS", 3, True)
    assert not Route.from_json("one", {"event": MESSAGES, "peer": "RIS", "enabled": False}, 60).enabled


async def nothing(site: Site) -> None:
    """The product states that there is none, and so there is nothing to be had."""


CHECKS: dict[str, Callable[[Site], Awaitable[None]]] = {
    "Accept only associations from configured hosts (IP address), per AE (storage, worklist, query/retrieve)": hosts,
    "Accept only associations with configured AE titles, per AE": titles_for_each_ae,
    "Concurrent associations per AE": concurrent,
    "Settings list at the end of the document": nothing,
    "Idle timeout after which an association without messages is closed": idle,
    "Reject unregistered calling AE titles": unregistered_titles,
    "Reject a wrong called AE title": called_titles,
    "C-ECHO before a routing/prefetch C-STORE": echo_first,
    "Storage commitment request after a routing C-STORE": commitment_after,
    "Routing retries (C-STORE + storage commitment)": tries,
    "Storage commitment report timeout as SCU (no report = failed)": report_time,
    "Storage commitment SCP check interval while the association lives": commitment_waits,
    "Storage commitment SCP final timeout (then report committed and uncommitted lists)": commitment_waits,
    "MPPS forwarding to a remote system": forwards,
    "MPPS forward retries": forwards,
    "MPPS COMPLETED sets study status COMPLETED when all referenced images are received": step_completes,
    "Basic TLS Secure Transport": tls,
    "Concurrent associations": concurrent,
    "Asynchronous operations window": window,
    "Implementation Class UID (both AEs)": named("1.2.250.1.38.1.3.1.1.1", "DXS2_0"),
    "Implementation Version Name (DxServer)": named("1.2.250.1.38.1.3.1.1.1", "DXS2_0"),
    "Implementation Version Name (DxBroker)": named("1.2.250.1.38.1.3.1.1.1", "DXWORK1_1"),
    "Administrator authentication for the user interface": administrators,
    "PDU size (general)": pdus,
    "Time-out for A-ASSOCIATE response (application level)": times,
    "General DIMSE level time-out": times,
    "Time-out for TCP connect()": times,
    "Time-out for acceptance of a TCP/IP message (low level)": times,
    "Time-out for data between TCP/IP packets": times,
    "Changes to default TCP/IP settings": nothing,
    "Maximum object size": nothing,
    "Maximum PDU size the AE can receive": pdus,
    "Maximum PDU size the AE can send": pdus,
    "AE specific DIMSE level time-outs": nothing,
    "Number of simultaneous associations by service/SOP Class": nothing,
    "SOP Class support": classes,
    "Transfer Syntax support": syntaxes,
    "Other parameters": nothing,
    "Local AE title (shared by all AEs)": own_title,
    "Remote AE map: logical name -> called AE title + host/IP + port": remote_map,
    "Called AE title check": called_titles,
    "Calling AE title / IP check": unregistered_titles,
    "Maximum simultaneous associations as SCP": concurrent,
    "Maximum simultaneous associations as ECHO-SCU / FIND-SCU": nothing,
    "Maximum simultaneous associations as STORAGE-SCU / MOVE-SCU": nothing,
    "Duplicate instance policy": overwrites,
    "IPv4 and IPv6": both_families,
    "Host names in AE addresses": remote_map,
    "Implementation Class UID": named("1.2.276.0.7230010.3.0.3.5.4", "OFFIS_DCMTK_354"),
    "Implementation Version Name": named("1.2.276.0.7230010.3.0.3.5.4", "OFFIS_DCMTK_354"),
}


def test_every_parameter_of_the_list_is_judged() -> None:
    listed = {row["parameter"] for row in rows("parameters.csv")}
    assert listed == set(CHECKS)


@pytest.mark.parametrize("check", dict.fromkeys(CHECKS.values()), ids=lambda check: check.__name__)
async def test_parameters_do_what_they_say(check: Any, archive: RunningArchive, registry: Registry) -> None:
    await check(Site(archive, registry))
