"""Worklist queries over DIMSE: statuses, SOP class and transfer syntaxes of the lists, cancel, character sets, what a
peer may see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association

from app.dicom.status import Progress
from dimse_bridge.association.abstract_syntaxes import MODALITY_WORKLIST_FIND
from tests.dimse.find.encoding import STUDY_ROOT
from tests.dimse.find.test_find import raw_query
from tests.dimse.worklist.conftest import CALLED, ask, associated, keys, settle_peers
from tests.requirements.instances import rows
from tests.support.archive import free_port
from tests.support.bridge import RunningBridge, run_dcmtk, start_bridge
from tests.support.worklist import RESOURCE, item

MANY = 300
CLASSES = [row for row in rows("sop_classes.csv") if "orklist" in row["name"]]
SYNTAXES = [row for row in rows("transfer_syntaxes.csv") if row["service"].startswith("MWL")]
STATUSES = [row for row in rows("status_codes.csv") if row["service"] == "MWL C-FIND"]


@contextmanager
def items(client: httpx.Client, *made: dict[str, object]) -> Iterator[None]:
    """Some items on the worklist for a while."""
    addresses = []
    for one in made:
        answer = client.post(RESOURCE, json=one)
        assert answer.status_code == 201, answer.text
        addresses.append(answer.headers["Location"])
    try:
        yield
    finally:
        for address in addresses:
            assert client.delete(address).status_code == 204


@pytest.fixture(scope="module")
def many(client: httpx.Client) -> Iterator[None]:
    """As many items as are worth a cancel."""
    made = [item(PatientID="WL-MANY", PatientName=f"Many^{number:03}") for number in range(MANY)]
    with items(client, *made):
        yield


def cancelled(association: Association) -> int:
    responses = association.send_c_find(keys(PatientID="WL-MANY"), MODALITY_WORKLIST_FIND, msg_id=3)
    association.send_c_cancel(3, query_model=MODALITY_WORKLIST_FIND)
    *_, last = [int(status.Status) for status, _ in responses]
    return last


def raw(association: Association, data: bytes) -> int:
    return raw_query(association, data, MODALITY_WORKLIST_FIND)


PROVOKED: dict[str, Callable[[Association, Association], list[int]]] = {
    "FF00": lambda peer, lonely: ask(peer, keys(PatientID="WL-MANY")).pending,
    "FF01": lambda peer, lonely: ask(peer, keys(PatientID="WL-MANY", Rows=None)).pending,
    "0000": lambda peer, lonely: [ask(peer, keys(PatientID="WL-NOBODY")).status],
    "FE00": lambda peer, lonely: [cancelled(peer)],
    "A700": lambda peer, lonely: [ask(lonely, keys(PatientID="WL-MANY")).status],
    "C000": lambda peer, lonely: [raw(peer, b"\x10\0\x20\0\xff\xff\xff\x7fWL")],
}


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """A bridge whose archive is gone; its peers stand in a file."""
    folder = tmp_path_factory.mktemp("lonely")
    peers = folder / "peers.toml"
    peers.write_text('[XPACS]\nbehaviour = "xpacs"\n[DXSERVER]\nbehaviour = "dxserver"\n')
    running = start_bridge(
        folder, f"http://127.0.0.1:{free_port()}/dicom-web", FILEROOM_DIMSE_PEERS=str(peers), FILEROOM_DIMSE_WORKERS="1"
    )
    yield running
    running.stop()


@pytest.mark.parametrize("row", STATUSES, ids=lambda row: f"{row['seed']}-{row['code']}")
def test_the_status_is_answered_as_listed(
    bridge: RunningBridge, lonely: RunningBridge, many: None, row: dict[str, str]
) -> None:
    peer = row["seed"].upper()
    with associated(bridge.port, peer) as association, associated(lonely.port, peer) as alone:
        statuses = PROVOKED[row["code"]](association, alone)
    assert statuses
    assert {f"{status:04X}" for status in statuses} == {row["code"]}


def test_the_lists_are_whole() -> None:
    assert (len(STATUSES), len(CLASSES), len(SYNTAXES)) == (8, 2, 4)
    assert {row["code"] for row in STATUSES} == set(PROVOKED)


@pytest.mark.parametrize("row", CLASSES, ids=lambda row: row["seed"])
def test_the_class_is_there_as_provider_only(bridge: RunningBridge, row: dict[str, str]) -> None:
    ae = AE(ae_title=row["seed"].upper())
    ae.add_requested_context(row["uid"])
    association = ae.associate("127.0.0.1", bridge.port, ae_title=CALLED)
    assert [context.abstract_syntax for context in association.accepted_contexts] == [UID(row["uid"])]
    assert (row["scu"], row["scp"]) == ("no", "yes")
    association.release()


@pytest.mark.parametrize("row", SYNTAXES, ids=lambda row: f"{row['seed']}-{row['uid']}")
def test_the_transfer_syntax_is_spoken(bridge: RunningBridge, many: None, row: dict[str, str]) -> None:
    with associated(bridge.port, row["seed"].upper(), [row["uid"]]) as association:
        reply = ask(association, keys({"Modality": None}, PatientName="many^007", PatientID=None))
    assert [found.ScheduledProcedureStepSequence[0].Modality for found in reply.identifiers] == ["CT"]
    assert reply.values("PatientName") == ["Many^007"]


def test_all_answers_of_a_long_list_come(bridge: RunningBridge, many: None) -> None:
    with associated(bridge.port) as association:
        reply = ask(association, keys(PatientID="WL-MANY", PatientName=None))
    assert reply.status == Progress.DONE
    assert reply.values("PatientName") == [f"Many^{number:03}" for number in range(MANY)]


def test_who_does_not_obey_a_cancel_goes_on(bridge: RunningBridge, many: None) -> None:
    with associated(bridge.port, "DEAF") as association:
        assert cancelled(association) == Progress.DONE


def test_unknown_keys_come_back_empty_and_are_warned_of(bridge: RunningBridge, client: httpx.Client) -> None:
    with items(client, item(PatientID="WL-U")), associated(bridge.port, "DXSERVER") as association:
        asked = keys(PatientID="WL-U", Rows=None, SeriesInstanceUID=None, PatientName=None)
        asked.add_new(0x00991010, "UN", b"")
        reply = ask(association, asked)
    (found,) = reply.identifiers
    assert reply.pending == [Progress.PENDING_WITHOUT_OPTIONAL_KEYS]
    assert {one.tag for one in found if one.value in (None, "", b"")} == {0x00280010, 0x0020000E, 0x00991010}
    assert found.PatientName == "Work^List"


def test_a_step_that_is_asked_for_as_such_comes_whole(bridge: RunningBridge, client: httpx.Client) -> None:
    """PS3.4 K.2.2.1.2: a sequence without an item asks for all of it."""
    with items(client, item(PatientID="WL-W", step_ScheduledStationName="ONE")), associated(bridge.port) as association:
        for empty in (keys(PatientID="WL-W", ScheduledProcedureStepSequence=[]), keys({}, PatientID="WL-W")):
            (found,) = ask(association, empty).identifiers
            (step,) = found.ScheduledProcedureStepSequence
            assert (step.Modality, step.ScheduledStationName, step.PreMedication) == ("CT", "ONE", "")


@pytest.mark.parametrize(
    ("peer", "asked", "said"),
    [
        ("STANDARD", "ISO_IR 100", "ISO_IR 100"),
        ("STANDARD", "ISO_IR 192", "ISO_IR 192"),
        ("STANDARD", None, "ISO_IR 192"),
        ("STANDARD", "ISO_IR 144", "ISO_IR 192"),
    ],
)
def test_the_character_set_is_the_one_asked_for_when_it_can_say_it(
    bridge: RunningBridge, client: httpx.Client, peer: str, asked: str | None, said: str
) -> None:
    with items(client, item(PatientID="WL-C", PatientName="Äneas^Rüdiger")), associated(bridge.port, peer) as one:
        reply = ask(one, keys(PatientID="WL-C", PatientName=None, **({"SpecificCharacterSet": asked} if asked else {})))
    (found,) = reply.identifiers
    assert (found.SpecificCharacterSet, str(found.PatientName)) == (said, "Äneas^Rüdiger")


def test_the_character_set_of_a_peer_that_asks_for_none(bridge: RunningBridge, client: httpx.Client) -> None:
    with items(client, item(PatientID="WL-G", PatientName="Διονυσιος")), associated(bridge.port, "GREEK") as one:
        (found,) = ask(one, keys(PatientID="WL-G", PatientName=None)).identifiers
    assert (found.SpecificCharacterSet, str(found.PatientName)) == ("ISO_IR 126", "Διονυσιος")


def test_names_match_in_the_character_set_of_the_question(bridge: RunningBridge, client: httpx.Client) -> None:
    with items(client, item(PatientID="WL-N", PatientName="Äneas^Rüdiger")), associated(bridge.port) as one:
        for asked in ("Äneas*", "aneas^rudiger"):
            reply = ask(one, keys(PatientID="WL-N", PatientName=asked, SpecificCharacterSet="ISO_IR 100"))
            assert len(reply.identifiers) == 1, asked


def test_a_station_sees_its_own_when_its_behaviour_says_so(bridge: RunningBridge, client: httpx.Client) -> None:
    mine = item(PatientID="WL-S", PatientName="Mine", step_ScheduledStationAETitle="CT1")
    other = item(PatientID="WL-S", PatientName="Other", step_ScheduledStationAETitle="CT2")
    with items(client, mine, other):
        for peer, seen in (("CT1", ["Mine"]), ("STANDARD", ["Mine", "Other"])):
            with associated(bridge.port, peer) as association:
                assert ask(association, keys(PatientID="WL-S", PatientName=None)).values("PatientName") == seen


def test_times_without_dates_are_about_today_for_the_product(bridge: RunningBridge, client: httpx.Client) -> None:
    """The constraints of DxServer's broker: today without dates, no times with several days, open ends."""
    today, tomorrow = (f"{date.today() + timedelta(days):%Y%m%d}" for days in (0, 1))
    made = [
        item(
            PatientID="WL-T",
            PatientName=f"{name} {time}",
            step_ScheduledProcedureStepStartDate=day,
            step_ScheduledProcedureStepStartTime=time,
        )
        for name, day in (("Today", today), ("Tomorrow", tomorrow))
        for time in ("080000", "235959")
    ]

    def seen(peer: str, days: str | None, times: str) -> list[str]:
        step = {"ScheduledProcedureStepStartDate": days, "ScheduledProcedureStepStartTime": times}
        with associated(bridge.port, peer) as association:
            return ask(association, keys(step, PatientID="WL-T", PatientName=None)).values("PatientName")

    everything = sorted(one["00100010"]["Value"][0]["Alphabetic"] for one in made)
    with items(client, *made):
        assert seen("DXSERVER", None, "0900-") == ["Today 235959"]
        assert seen("DXSERVER", None, "-0900") == ["Today 080000"]
        assert seen("DXSERVER", f"{today}-{tomorrow}", "0900-1000") == everything
        assert seen("DXSERVER", f"{today}-{today}", "0900-") == ["Today 235959"]
        assert seen("STANDARD", None, "0900-") == ["Today 235959", "Tomorrow 235959"]
        assert seen("STANDARD", f"{today}-{tomorrow}", "0900-1000") == ["Today 235959", "Tomorrow 080000"]


def test_who_lacks_the_right_has_no_context(bridge: RunningBridge) -> None:
    ae = AE(ae_title="NOBODY")
    ae.add_requested_context(MODALITY_WORKLIST_FIND)
    ae.add_requested_context(STUDY_ROOT)
    association = ae.associate("127.0.0.1", bridge.port, ae_title=CALLED)
    assert [context.abstract_syntax for context in association.accepted_contexts] == [UID(STUDY_ROOT)]
    association.release()


def test_a_right_that_is_lost_is_lost_at_once(bridge: RunningBridge, client: httpx.Client) -> None:
    """The archive decides, whatever the bridge believes."""
    url = str(client.base_url).replace("/dicom-web/", "/peers/LOSER")
    with associated(bridge.port, "LOSER") as association:
        assert ask(association, keys(PatientID="WL-X")).status == Progress.DONE
        httpx.put(url, json={"may": ["echo"]})
        settle_peers()
        assert ask(association, keys(PatientID="WL-X")).status == 0x0124


def test_dcmtk_asks(bridge: RunningBridge, client: httpx.Client, tmp_path: Path) -> None:
    with items(client, item(PatientID="WL-D", PatientName="Doe^Dora", step_ScheduledStationAETitle="CT9")):
        status, said = run_dcmtk(
            "findscu", "-W", "-aec", CALLED, "-X", "-od", tmp_path, "-k", "PatientName=doe*", "-k", "PatientID",
            "-k", "ScheduledProcedureStepSequence[0].ScheduledStationAETitle=CT9", "127.0.0.1", bridge.port,
        )  # fmt: skip
    assert status == 0, said
    assert len(list(tmp_path.glob("rsp*.dcm"))) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x10\0\x20\0",
        b"\x40\0\x00\x01SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff",
        bytes(range(256)),
    ],
)
def test_identifiers_that_are_none_are_refused(bridge: RunningBridge, data: bytes) -> None:
    with associated(bridge.port) as association:
        status = raw(association, data)
        assert 0xC000 <= status < 0xD000
        assert ask(association, keys(PatientID="WL-NOBODY")).status == Progress.DONE
