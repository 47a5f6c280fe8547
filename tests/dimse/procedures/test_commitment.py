"""Storage commitment by DIMSE, with pynetdicom as the modality: requests, and reports on its association or on ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import ThreadedAssociationServer

from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.support.archive import RunningArchive, free_port
from tests.support.bridge import CALLED, RunningBridge, start_both, start_bridge
from tests.support.commitment import Pair, pairs
from tests.support.small_files import data_set, encode, multipart
from tests.support.steps import reference

PUSH, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
AET = "MODALITY"
ALL, SOME = 1, 2
BELIEVED = 1.1
"""Seconds after which the bridge has heard of a new peer."""


class Site:
    """An archive that waits seconds only, and its bridge."""

    def __init__(self, archive: RunningArchive, port: int) -> None:
        self.archive = archive
        self.port = port

    def store(self, *images: Dataset) -> None:
        body, headers = multipart([encode(image) for image in images])
        assert httpx.post(f"{self.archive.root}/studies", content=body, headers=headers).status_code == 200

    def register(self, aet: str, port: int) -> None:
        peer = {"host": "127.0.0.1", "port": port}
        assert httpx.put(f"{self.archive.url}/peers/{aet}", json=peer).is_success
        time.sleep(BELIEVED)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("commitment") / "data"
    settings = {"FILEROOM_COMMITMENT_SECONDS": "0.3", "FILEROOM_COMMITMENT_TIMEOUT_SECONDS": "2"}
    archive, port = start_both(folder, **settings)
    yield Site(archive, port)
    assert archive.stop() == 0


class Reports:
    """What a modality is told, on whatever association."""

    def __init__(self, *statuses: int) -> None:
        self.told: list[tuple[int, Dataset]] = []
        self.roles: list[str] = []
        self._statuses = list(statuses)
        self._unanswered = 0
        self._news = threading.Condition()

    def take(self, event: evt.Event) -> tuple[int, None]:
        """Notes one; answers the next of the given statuses, then success."""
        with self._news:
            self.told.append((event.event_type or 0, event.event_information))
            self.roles.append("acceptor" if event.assoc.is_acceptor else "requestor")
            self._unanswered += 1
            self._news.notify_all()
        return self._statuses.pop(0) if self._statuses else 0, None

    def _sent(self, event: evt.Event) -> None:
        with self._news:
            if isinstance(event.pdu, P_DATA_TF) and self._unanswered:
                self._unanswered -= 1
                self._news.notify_all()

    def settle(self) -> None:
        """Waits until what was taken is answered: pynetdicom releases in the middle of that, and falls over it."""
        with self._news:
            self._news.wait_for(lambda: not self._unanswered, 5)

    @property
    def handlers(self) -> list[Any]:
        """For pynetdicom."""
        return [(evt.EVT_N_EVENT_REPORT, self.take), (evt.EVT_PDU_SENT, self._sent)]

    def wait(self, count: int = 1, seconds: float = 20) -> tuple[int, Dataset]:
        """The last of `count` reports."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.told) >= count, seconds), self.told
        return self.told[count - 1]


@contextmanager
def calling(site: Site, reports: Reports, syntax: str = IMPLICIT_LE, aet: str = AET) -> Iterator[Association]:
    association = AE(aet).associate(
        "127.0.0.1", site.port, [build_context(PUSH, syntax)], CALLED, evt_handlers=reports.handlers
    )
    assert association.is_established
    try:
        yield association
    finally:
        reports.settle()
        association.release()


@contextmanager
def listening(reports: Reports, aet: str, port: int = 0) -> Iterator[int]:
    """A modality that takes reports on associations of the archive's."""
    ae = AE(aet)
    ae.add_supported_context(PUSH, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=reports.handlers)
    assert isinstance(server, ThreadedAssociationServer)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def request(images: list[Dataset], uid: str = "") -> Dataset:
    ds = Dataset()
    ds.TransactionUID = uid or generate_uid()
    ds.ReferencedSOPSequence = Sequence([reference(image) for image in images])
    return ds


def act(association: Association, ds: Dataset | None, action: int = 1, instance: str = INSTANCE) -> Dataset:
    """The command set that answers an N-ACTION."""
    status, _ = association.send_n_action(ds, action, PUSH, instance)
    return status


def listed(ds: Dataset, keyword: str) -> list[Pair]:
    items = ds.get(keyword, [])
    return [(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in items]


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_the_report_comes_on_the_same_association(site: Site, syntax: str) -> None:
    images, reports = [data_set(), data_set()], Reports()
    site.store(*images)
    asked = request(images)
    with calling(site, reports, syntax) as association:
        assert act(association, asked).Status == 0
        event, told = reports.wait()
    assert (event, told.TransactionUID, reports.roles) == (ALL, asked.TransactionUID, ["requestor"])
    assert listed(told, "ReferencedSOPSequence") == pairs(*images)
    assert len(told) == 2  # D21: nothing else is told


def test_operations_go_on_while_a_report_is_awaited(site: Site) -> None:
    """D20: what comes in the meantime is committed; the association serves other requests before and after."""
    images, reports = [data_set(), data_set()], Reports()
    site.store(images[0])
    with calling(site, reports) as association:
        assert act(association, request(images)).Status == 0
        early = request(images[:1])
        assert act(association, early).Status == 0
        assert reports.wait(1)[1].TransactionUID == early.TransactionUID
        site.store(images[1])
        event, told = reports.wait(2)
        assert act(association, request(images)).Status == 0
        assert reports.wait(3)[0] == ALL
    assert (event, listed(told, "ReferencedSOPSequence")) == (ALL, pairs(*images))


def test_what_never_comes_is_reported_after_the_time_for_it(site: Site) -> None:
    here, never, reports = data_set(), data_set(), Reports()
    site.store(here)
    with calling(site, reports) as association:
        assert act(association, request([here, never])).Status == 0
        event, told = reports.wait()
    assert (event, listed(told, "ReferencedSOPSequence")) == (SOME, pairs(here))
    assert listed(told, "FailedSOPSequence") == pairs(never)
    assert told.FailedSOPSequence[0].FailureReason == 0x0112


def test_G25_the_report_comes_on_a_new_association_when_the_first_has_ended(site: Site) -> None:
    """By role selection, for the modality takes the request as SCU; a modality that refuses is asked again."""
    image, reports, aet = data_set(), Reports(0x0110), "GONE"
    with listening(reports, aet) as port:
        site.register(aet, port)
        with calling(site, Reports(), aet=aet) as association:
            assert act(association, request([image])).Status == 0
        site.store(image)
        event, told = reports.wait(2)
    assert (event, listed(told, "ReferencedSOPSequence")) == (ALL, pairs(image))
    assert reports.roles == ["acceptor", "acceptor"]


def test_G25_a_request_survives_the_end_of_archive_and_bridge(site: Site) -> None:
    image, reports, aet = data_set(), Reports(), "LATER"
    port = free_port()
    site.register(aet, port)
    with calling(site, Reports(), aet=aet) as association:
        assert act(association, request([image, image])).Status == 0
        site.archive.kill()
    site.archive.start()
    site.archive.wait_ready()
    with listening(reports, aet, port):
        event, told = reports.wait(seconds=40)
    assert (event, listed(told, "FailedSOPSequence")) == (SOME, pairs(image))


def test_a_transaction_uid_in_use_fails_all_instances(site: Site) -> None:
    image, reports = data_set(), Reports()
    site.store(image)
    asked = request([image])
    with calling(site, reports) as association:
        assert act(association, asked).Status == 0
        reports.wait(1)
    with calling(site, reports, aet="ANOTHER") as association:
        assert act(association, asked).Status == 0
        event, told = reports.wait(2)
    assert (event, listed(told, "FailedSOPSequence")) == (SOME, pairs(image))
    assert told.FailedSOPSequence[0].FailureReason == 0x0131
    with calling(site, reports) as association:  # who asked first may ask again
        assert act(association, asked).Status == 0
        assert reports.wait(3)[0] == ALL


def test_requests_that_cannot_be_taken(site: Site) -> None:
    image = data_set()
    empty, nameless = request([]), request([image])
    del nameless.TransactionUID
    with calling(site, Reports()) as association:
        found = {
            "action": act(association, request([image]), 2),
            "instance": act(association, request([image]), 1, "1.2.3"),
            "no references": act(association, empty),
            "no transaction": act(association, nameless),
            "nothing": act(association, None),
        }
    assert {name: answer.Status for name, answer in found.items()} == {
        "action": 0x0123,
        "instance": 0x0112,
        "no references": 0x0115,
        "no transaction": 0x0115,
        "nothing": 0x0115,
    }
    assert all(answer.ErrorComment for answer in found.values())


def test_another_bridge_delivers_when_the_first_is_gone(site: Site, tmp_path: Path) -> None:
    """The bridge keeps nothing: what one began, another ends."""
    first: RunningBridge = start_bridge(tmp_path, site.archive.root)
    image, reports, aet = data_set(), Reports(), "CRASH"
    with listening(reports, aet) as port:
        site.register(aet, port)
        with calling(Site(site.archive, first.port), Reports(), aet=aet) as association:
            assert act(association, request([image])).Status == 0
            first.kill()
        site.store(image)
        assert reports.wait()[0] == ALL
    first.stop()
