"""Every C-FIND status of the lists is answered to the peer that expects it; what a peer never gets it never gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from pynetdicom.association import Association

from tests.dimse.find.asking import ask, associated
from tests.dimse.find.conftest import Bridge
from tests.dimse.find.encoding import STUDY_ROOT, identifier
from tests.dimse.find.test_find import raw_query
from tests.requirements.instances import encode, make, rows, store
from tests.support.archive import free_port

PATIENT_ID = "FIND-STATUS"
SERVICES = {"C-FIND", "C-FIND Study Root", "C-FIND SCP"}
ELSEWHERE = {"MWL C-FIND", "C-FIND SCU"}


@dataclass
class World:
    """Associations of one peer: before the archive, and before one that is gone."""

    peer: Association
    lonely: Association

    def statuses(self, **keys: str | None) -> list[int]:
        reply = ask(self.peer, identifier(PatientID=PATIENT_ID, **keys))
        return [*reply.pending, reply.status]

    def cancelled(self) -> list[int]:
        responses = self.peer.send_c_find(identifier(PatientID=PATIENT_ID), STUDY_ROOT, msg_id=3)
        self.peer.send_c_cancel(3, query_model=STUDY_ROOT)
        return [int(status.Status) for status, _ in responses]


PROVOKED: dict[str, Callable[[World], list[int]]] = {
    "FF00": lambda world: world.statuses(StudyDescription=None),
    "0000": lambda world: world.statuses(StudyDescription="NOBODY HAS IT"),
    "FF01": lambda world: world.statuses(Rows=None),
    "A700": lambda world: [ask(world.lonely, identifier(PatientID=PATIENT_ID)).status],
    "A900": lambda world: [ask(world.peer, identifier("WARD")).status],
    "C000": lambda world: [raw_query(world.peer, b"\x08\0\x52\0\xff\xff\xff\x7fSTUDY")],
    "Cxxx": lambda world: world.statuses(StudyDate="today"),
    "FE00": World.cancelled,
}
ROWS = [(row["seed"], row["code"], row["when"]) for row in rows("status_codes.csv") if row["service"] in SERVICES]


def test_no_row_is_forgotten() -> None:
    services = {row["service"] for row in rows("status_codes.csv") if "FIND" in row["service"]}
    assert services == SERVICES | ELSEWHERE
    assert len(ROWS) == 15
    assert {code for _, code, _ in ROWS} == set(PROVOKED)


@pytest.fixture(scope="module")
def lonely() -> Iterator[Bridge]:
    """A bridge whose archive is gone."""
    bridge = Bridge(f"http://127.0.0.1:{free_port()}/dicom-web")
    yield bridge
    bridge.stop()


@pytest.fixture(scope="module", autouse=True)
def stored(client: httpx.Client) -> None:
    """As many studies as are worth a cancel."""
    files = [encode(make(f"7306.{number}", 1, PatientID=PATIENT_ID)) for number in range(200)]
    assert store(client, files).status_code == 200


def is_code(status: int, code: str) -> bool:
    return f"{status:04X}".startswith(code.rstrip("x"))


@pytest.mark.parametrize(("seed", "code", "when"), ROWS)
def test_the_status_is_answered_as_listed(bridge: Bridge, lonely: Bridge, seed: str, code: str, when: str) -> None:
    with associated(bridge, seed.upper()) as peer, associated(lonely, seed.upper()) as alone:
        statuses = PROVOKED[code](World(peer, alone))
    if when == "never sent":
        assert not any(is_code(status, code) for status in statuses)
    else:
        assert any(is_code(status, code) for status in statuses)
