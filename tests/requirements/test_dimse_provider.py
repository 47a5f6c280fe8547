"""As provider: pynetdicom calls the running bridge as a peer with the preset of each product, and uses what that
product offers, in every SOP class and transfer syntax of the lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from app.dicom.status import STATUSES, Outcome
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from tests.dimse.store.conftest import sent_of
from tests.requirements.dimse_rows import (
    ELSEWHERE_CLASSES,
    ELSEWHERE_SERVICES,
    IMPORTED,
    OPERATIONS,
    SEEDS,
    SUBOPERATION,
    Pair,
    Row,
    in_groups,
    operations,
    pairs,
    storage_classes,
)
from tests.requirements.instances import CT, ROOT, encode, make, read_back, rows, store
from tests.requirements.test_storage import STORAGE_ROOT, UNKNOWN_CLASS, listed_syntaxes
from tests.support.archive import RunningArchive
from tests.support.bridge import CALLED, RunningBridge

MOST_CONTEXTS = 128
DESTINATION = "SEEDS"
SUCCESS = 0
CONFLICT = STATUSES[Outcome.CONFLICT].dimse
BELIEVED = 1.1
"""Seconds after which the bridge has heard of a new peer."""
STUDY = "7400"


@pytest.fixture(scope="module")
def destination(archive: RunningArchive, bridge_process: RunningBridge) -> Iterator[Destination]:
    """A peer for each product, and one that takes what is moved."""
    there = Destination()
    members: dict[str, dict[str, object]] = {seed.upper(): {"behaviour": seed} for seed in SEEDS}
    members[DESTINATION] = {"host": "127.0.0.1", "port": there.port}
    for aet, peer in members.items():
        assert httpx.put(f"{archive.url}/peers/{aet}", json=peer).is_success
    time.sleep(BELIEVED)
    yield there
    there.stop()
    for aet in members:
        httpx.delete(f"{archive.url}/peers/{aet}")


class Destination:
    """pynetdicom as the SCP of C-STORE."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        ae = AE(DESTINATION)
        ae.add_supported_context(CT, listed_syntaxes())
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.take)])
        assert server is not None
        self.port: int = server.server_address[1]
        self.stop = server.shutdown

    def take(self, event: evt.Event) -> int:
        """Notes one instance."""
        request = event.request
        assert isinstance(request, C_STORE)
        self.received.append((str(request.AffectedSOPInstanceUID), str(event.context.transfer_syntax)))
        return SUCCESS


@contextmanager
def calling(
    bridge: RunningBridge, seed: str, contexts: list[PresentationContext], **more: Any
) -> Iterator[Association]:
    """An association as the product's peer."""
    association = AE(seed.upper()).associate("127.0.0.1", bridge.port, contexts, CALLED, **more)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def agreed(association: Association) -> list[Pair]:
    return [Pair(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts]


@pytest.mark.usefixtures("destination")
@pytest.mark.parametrize("seed", SEEDS)
def test_every_storage_class_is_taken_in_every_syntax(
    bridge_process: RunningBridge, client: httpx.Client, seed: str
) -> None:
    """All are negotiated; each class, and each syntax many times over, is stored."""
    everything = pairs(seed, "SCP")
    turn = {uid: at for at, uid in enumerate(storage_classes(seed, "SCP"))}
    wrong = []
    stored = set()
    for group in in_groups(everything, MOST_CONTEXTS):
        with calling(bridge_process, seed, [build_context(*pair) for pair in group]) as association:
            assert agreed(association) == list(group)
            for pair in group:
                syntaxes = [one.syntax for one in everything if one.sop_class == pair.sop_class]
                if syntaxes[turn[pair.sop_class] % len(syntaxes)] == pair.syntax:
                    stored.add(pair)
                    ds = make(f"{STUDY}.{SEEDS.index(seed)}", turn[pair.sop_class], *pair)
                    status = association.send_c_store(ds).Status
                    if status != SUCCESS or not read_back(client, ds).endswith(sent_of(encode(ds)).data_set):
                        wrong.append((pair, status))
    assert wrong == []
    assert {pair.sop_class for pair in stored} == set(turn)
    assert {pair.syntax for pair in stored} == {pair.syntax for pair in everything}


@pytest.mark.usefixtures("destination")
def test_dxserver_classes_without_images_are_refused_in_other_syntaxes(bridge_process: RunningBridge) -> None:
    listed = set(pairs("dxserver", "SCP"))
    plain = sorted({one.sop_class for one in listed} - {one.sop_class for one in listed if "1.2.4." in one.syntax})
    others = [Pair(uid, syntax) for uid in plain for syntax in listed_syntaxes() if Pair(uid, syntax) not in listed]
    assert len(plain) > 20
    for group in in_groups(others, MOST_CONTEXTS - 1):
        contexts = [build_context(*pair) for pair in (*group, Pair(CT, EXPLICIT_LE))]
        with calling(bridge_process, "dxserver", contexts) as association:
            assert agreed(association) == [(CT, EXPLICIT_LE)]


@dataclass
class Site:
    """What an operation needs."""

    bridge: RunningBridge
    destination: Destination
    row: Row

    @property
    def model(self) -> str:
        """The SOP class of the request."""
        return OPERATIONS[self.row.service]

    @property
    def identifier(self) -> Dataset:
        """Asks for the one study that was stored in the row's syntax."""
        ds = Dataset()
        ds.QueryRetrieveLevel = "STUDY"
        ds.StudyInstanceUID = f"{ROOT}.{study_in(self.row.syntax)}"
        if ".1.2.1." in self.model:
            ds.PatientID = f"REQ-{study_in(self.row.syntax)}"
        return ds

    @contextmanager
    def associated(self) -> Iterator[Association]:
        with calling(self.bridge, self.row.seed, [build_context(self.model, self.row.syntax)]) as association:
            assert agreed(association) == [(self.model, self.row.syntax)]
            yield association


def study_in(syntax: str) -> str:
    return f"{STUDY}.{10 + listed_syntaxes().index(syntax)}"


@pytest.fixture(scope="module", autouse=True)
def stored(client: httpx.Client) -> None:
    """A study for each transfer syntax."""
    for syntax in listed_syntaxes():
        assert store(client, [encode(make(study_in(syntax), 1, CT, syntax))]).status_code == 200


def echoed(site: Site) -> None:
    with site.associated() as association:
        assert association.send_c_echo().Status == SUCCESS


def found(site: Site) -> None:
    with site.associated() as association:
        responses = list(association.send_c_find(site.identifier, site.model))
    assert [status.Status for status, _ in responses] == [0xFF00, SUCCESS]
    match = responses[0][1]
    assert match is not None
    assert match.StudyInstanceUID == site.identifier.StudyInstanceUID


def got(site: Site) -> None:
    """The sub-operation goes in the syntax in which it was stored."""
    before = len(site.destination.received)
    wanted = site.row.syntax
    asked = EXPLICIT_LE if site.row.service == SUBOPERATION else wanted
    contexts = [build_context(site.model, asked), build_context(CT, wanted)]
    more = {"ext_neg": [build_role(CT, scp_role=True)], "evt_handlers": [(evt.EVT_C_STORE, site.destination.take)]}
    with calling(site.bridge, site.row.seed, contexts, **more) as association:
        assert agreed(association) == [(site.model, asked), (CT, wanted)]
        *_, (last, _) = association.send_c_get(site.identifier, site.model)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, 1)
    assert site.destination.received[before:] == [(f"{ROOT}.{study_in(wanted)}.1.1", wanted)]


def moved(site: Site) -> None:
    before = len(site.destination.received)
    with site.associated() as association:
        *_, (last, _) = association.send_c_move(site.identifier, DESTINATION, site.model)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, 1)
    assert [uid for uid, _ in site.destination.received[before:]] == [f"{ROOT}.{study_in(site.row.syntax)}.1.1"]


TRIED: dict[str, Callable[[Site], None]] = {"C-ECHO": echoed, "C-FIND": found, "C-GET": got, "C-MOVE": moved}


@pytest.mark.parametrize("row", operations("SCP"), ids="-".join)
def test_every_operation_works_in_its_syntax(bridge_process: RunningBridge, destination: Destination, row: Row) -> None:
    TRIED[row.service.split(" ")[0]](Site(bridge_process, destination, row))


def test_a_duplicate_overwrites_as_the_product_does(
    bridge_process: RunningBridge, client: httpx.Client, archive: RunningArchive, destination: Destination
) -> None:
    """OnePacs overwrites; another peer may have a policy of its own."""
    assert httpx.put(f"{archive.url}/peers/STRICT", json={"behaviour": {"duplicate_policy": "reject"}}).is_success
    time.sleep(BELIEVED)
    context = [build_context(CT, EXPLICIT_LE)]
    kept = None
    for peer, comment, status in (("onepacs", "one", 0), ("onepacs", "two", 0), ("strict", "three", CONFLICT)):
        ds = make(f"{STUDY}.90", 1, ImageComments=comment)
        with calling(bridge_process, peer, context) as association:
            assert association.send_c_store(ds).Status == status
        kept = ds if status == SUCCESS else kept
        assert kept is not None
        assert read_back(client, ds).endswith(sent_of(encode(kept)).data_set)
    httpx.delete(f"{archive.url}/peers/STRICT")


def test_no_row_is_forgotten() -> None:
    """Each is tried here, elsewhere or as user, or is about files."""
    syntaxes = rows("transfer_syntaxes.csv")
    services = {row["service"] for row in syntaxes if not row["service"].startswith("C-STORE")}
    assert services == set(OPERATIONS) | ELSEWHERE_SERVICES | {IMPORTED}
    classes = {row["uid"] for row in rows("sop_classes.csv") if not row["uid"].startswith(STORAGE_ROOT)}
    assert classes == set(OPERATIONS.values()) | ELSEWHERE_CLASSES
    assert (len(operations("SCP")), len(operations("SCU"))) == (48, 11)
    assert [len(storage_classes(seed, "SCP")) for seed in SEEDS] == [79, 76, 53]
    assert [len(storage_classes(seed, "SCU")) for seed in SEEDS] == [0, 76, 53]
    assert UNKNOWN_CLASS in storage_classes("xpacs", "SCP")
