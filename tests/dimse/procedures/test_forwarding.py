"""Messages about performed procedure steps told on by N-CREATE and N-SET (D26), with pynetdicom on both sides: in their
order, with tries, all attributes, whatever is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.transport import ThreadedAssociationServer

from tests.support.archive import RunningArchive, free_port
from tests.support.bridge import CALLED, start_both
from tests.support.small_files import data_set
from tests.support.steps import beginning, ending

STEP = "1.2.840.10008.3.1.2.3.3"
BELIEVED = 1.1
"""Seconds after which the bridge has heard of a new peer."""
Message = tuple[str, str, Dataset]


class System:
    """An information system that takes steps. `statuses` are what it answers first."""

    def __init__(self, *statuses: int) -> None:
        self.taken: list[Message] = []
        self.steps: dict[str, Dataset] = {}
        self.refused = 0
        self._statuses = list(statuses)

    def create(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-CREATE."""
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        return self._take("create", uid, event.attribute_list, 0x0111 if uid in self.steps else 0)

    def set(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-SET."""
        uid = str(event.request.RequestedSOPInstanceUID)  # type: ignore[union-attr]
        return self._take("set", uid, event.modification_list, 0 if uid in self.steps else 0x0112)

    def _take(self, operation: str, uid: str, ds: Dataset, status: int) -> tuple[int, Dataset | None]:
        status = self._statuses.pop(0) if self._statuses else status
        if status:
            self.refused += 1
            return status, None
        self.taken.append((operation, uid, ds))
        self.steps.setdefault(uid, Dataset()).update(ds)
        return status, ds

    @contextmanager
    def listening(self, aet: str, port: int = 0) -> Iterator[int]:
        """Its port."""
        ae = AE(aet)
        ae.add_supported_context(STEP)
        ae.add_supported_context("1.2.840.10008.1.1")
        handlers: list[Any] = [(evt.EVT_N_CREATE, self.create), (evt.EVT_N_SET, self.set)]
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        assert isinstance(server, ThreadedAssociationServer)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


class Site:
    """An archive with its bridge, which tells steps on."""

    def __init__(self, archive: RunningArchive, port: int) -> None:
        self.archive = archive
        self.port = port

    def route(self, aet: str, port: int, **more: Any) -> None:
        """Tells all steps to one peer, and to no other."""
        peer = {"host": "127.0.0.1", "port": port, "character_set": "ISO_IR 100"}
        assert httpx.put(f"{self.archive.url}/peers/{aet}", json=peer).is_success
        route = {"event": "mpps-message", "peer": aet} | more
        assert httpx.put(f"{self.archive.url}/routes/steps", json=route).is_success
        time.sleep(BELIEVED)

    def tell(self, uid: str, *messages: Dataset) -> None:
        """What a modality says: the first message begins the step."""
        association = AE("CT1").associate("127.0.0.1", self.port, [build_context(STEP)], CALLED)
        assert association.is_established
        for at, ds in enumerate(messages):
            send = association.send_n_set if at else association.send_n_create
            status, _ = send(ds, STEP, uid)
            assert status.Status == 0
        association.release()

    def transfers(self, uid: str) -> list[dict[str, Any]]:
        """Those of a step, in their order."""
        found = httpx.get(f"{self.archive.url}/transfers?limit=1000").json()["transfers"]
        return [one for one in reversed(found) if one.get("performed_step") == uid]

    def until(self, uid: str, states: list[str], seconds: float = 60) -> list[dict[str, Any]]:
        """The transfers of a step as soon as they are in these states."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = self.transfers(uid)
            except (httpx.HTTPError, ValueError):
                found = []
            if [one["state"] for one in found] == states:
                return found
            assert time.monotonic() < deadline, f"{found}\n{self.archive.log[-4000:]}"
            time.sleep(0.05)


def change(text: str) -> Dataset:
    ds = Dataset()
    ds.PerformedProcedureStepDescription = text
    return ds


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    quick = {"FILEROOM_TRANSFER_PAUSE_SECONDS": "0.1", "FILEROOM_TRANSFER_LEASE_SECONDS": "2"}
    archive, port = start_both(tmp_path_factory.mktemp("forwarding") / "data", **quick)
    yield Site(archive, port)
    assert archive.stop() == 0


def test_D26_messages_are_told_on_whole_and_in_order(site: Site) -> None:
    uid, system = str(generate_uid()), System()
    begun = beginning(str(generate_uid()), SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Änne")
    begun.add_new(0x00091001, "LO", "kept too")
    image = data_set()
    with system.listening("RIS") as port:
        site.route("RIS", port)
        site.tell(uid, begun, change("Head"), change("Head and neck"), ending([image]))
        site.until(uid, ["succeeded"] * 4)
    assert [(operation, one) for operation, one, _ in system.taken] == [("create", uid), *[("set", uid)] * 3]
    first, second, third, last = (ds for _, _, ds in system.taken)
    assert (first.PatientName, first.SpecificCharacterSet) == ("Müller^Änne", "ISO_IR 100")
    assert first.ScheduledStepAttributesSequence[0].AccessionNumber == "ACC1"
    assert (0x0009, 0x1001) in first
    assert [second.PerformedProcedureStepDescription, third.PerformedProcedureStepDescription] == [
        "Head",
        "Head and neck",
    ]
    assert "PatientName" not in second
    assert last.PerformedProcedureStepStatus == "COMPLETED"
    (told,) = last.PerformedSeriesSequence[0].ReferencedImageSequence
    assert told.ReferencedSOPInstanceUID == image.SOPInstanceUID


def test_D26_what_fails_is_tried_again_and_nothing_overtakes_it(site: Site) -> None:
    uid, system = str(generate_uid()), System(0x0110, 0xC000, 0x0000, 0x0110)
    with system.listening("SLOWRIS") as port:
        site.route("SLOWRIS", port)
        site.tell(uid, beginning("1.2.3"), change("one"), ending([data_set()]))
        found = site.until(uid, ["succeeded"] * 3)
    assert [one["tries"] for one in found] == [3, 2, 1]
    assert [operation for operation, _, _ in system.taken] == ["create", "set", "set"]
    assert system.taken[-1][2].PerformedProcedureStepStatus == "COMPLETED"


def test_D26_a_message_is_set_aside_after_its_tries_and_holds_up_its_step_only(site: Site) -> None:
    uid, other, system = str(generate_uid()), str(generate_uid()), System(0xC000, 0xC000)
    with system.listening("BADRIS") as port:
        site.route("BADRIS", port, tries=2)
        site.tell(uid, beginning("1.2.3"), change("one"))
        first, _ = site.until(uid, ["failed", "waiting"])
        assert (first["tries"], first["reason"]) == (2, "the peer answered C000H")
        site.tell(other, beginning("1.2.4"), change("two"))
        site.until(other, ["succeeded"] * 2)
        assert [one for _, one, _ in system.taken] == [other, other]
        assert httpx.post(f"{site.archive.url}/transfers/{first['id']}/retry").is_success
        site.until(uid, ["succeeded"] * 2)
    assert [operation for operation, one, _ in system.taken if one == uid] == ["create", "set"]


def test_a_step_that_the_peer_has_already_counts_as_told(site: Site) -> None:
    uid, system = str(generate_uid()), System()
    system.steps[uid] = Dataset()
    with system.listening("HASIT") as port:
        site.route("HASIT", port)
        site.tell(uid, beginning("1.2.3"), change("one"))
        first, _ = site.until(uid, ["succeeded"] * 2)
    assert first["reason"] == "the peer has it already"


def test_G23_messages_survive_the_end_of_everything_while_the_peer_is_away(site: Site) -> None:
    uid, system, port = str(generate_uid()), System(), free_port()
    site.route("AWAY", port)
    site.tell(uid, beginning("1.2.3"), change("one"), ending([data_set()]))
    site.archive.kill()
    site.archive.start()
    site.archive.wait_ready()
    assert {one["state"] for one in site.transfers(uid)} <= {"waiting", "active"}
    with system.listening("AWAY", port):
        site.until(uid, ["succeeded"] * 3)
    assert [operation for operation, _, _ in system.taken] == ["create", "set", "set"]
