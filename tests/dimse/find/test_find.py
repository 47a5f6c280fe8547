"""C-FIND over the wire: levels, statuses and what peers differ in (PS3.4 C.4.1; the statuses of the lists)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND

from app.dicom.status import STATUSES, Outcome, Progress
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.dimse.find.asking import ask, associated
from tests.dimse.find.conftest import CALLED, Bridge
from tests.dimse.find.encoding import PATIENT_ROOT, STUDY_ROOT, identifier
from tests.requirements.instances import ROOT, encode, make, store

MISMATCH = STATUSES[Outcome.IDENTIFIER_MISMATCH].dimse
NEGOTIATED = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)
UNABLE = range(0xC000, 0xD000)
STUDY = "7302"
PATIENT_ID = "FIND-1"
UID = f"{ROOT}.{STUDY}"


@pytest.fixture(scope="module", autouse=True)
def stored(client: httpx.Client) -> None:
    """Two series of two instances, the second with a request."""
    requested = Dataset()
    requested.RequestedProcedureID, requested.RequestedProcedureDescription = "RP-7302", "KNEE"
    requested.ScheduledProcedureStepID = "SPS-1"
    files = []
    for series in (1, 2):
        for number in (1, 2):
            ds = make(STUDY, series * 10 + number, PatientID=PATIENT_ID, StudyDescription="Knee", SeriesNumber=series)
            ds.Modality = ("CT", "MR")[series - 1]
            ds.SeriesInstanceUID = f"{UID}.{series}"
            ds.InstanceNumber = number
            if series == 2:
                ds.RequestAttributesSequence = [requested]
            files.append(encode(ds))
    assert store(client, files).status_code == 200


@pytest.fixture(scope="module")
def peer(bridge: Bridge) -> Iterator[Association]:
    with associated(bridge) as association:
        yield association


@pytest.mark.parametrize("syntax", NEGOTIATED)
@pytest.mark.parametrize("model", [STUDY_ROOT, PATIENT_ROOT])
def test_every_level_in_every_syntax(bridge: Bridge, model: str, syntax: str) -> None:
    with associated(bridge, syntaxes=[syntax]) as association:
        assert {context.transfer_syntax[0] for context in association.accepted_contexts} == {syntax}
        for level, unique, number in (("STUDY", "StudyInstanceUID", 1), ("SERIES", "SeriesInstanceUID", 2)):
            reply = ask(association, identifier(level, PatientID=PATIENT_ID, **{unique: None}), model)
            assert (reply.status, len(reply.identifiers)) == (Progress.DONE, number)
            assert reply.pending == [Progress.PENDING] * number
        images = ask(association, identifier("IMAGE", StudyInstanceUID=UID, SOPInstanceUID=None), model)
        assert images.values("SOPInstanceUID") == sorted(f"{UID}.1.{n}" for n in (11, 12, 21, 22))


def test_an_answer_has_what_was_asked_for_and_what_the_standard_adds(peer: Association) -> None:
    keys = identifier(PatientID=PATIENT_ID, StudyDescription=None, StudyTime=None, ModalitiesInStudy=None)
    (answer,) = ask(peer, keys).identifiers
    assert {element.keyword: element.value for element in answer} == {
        "QueryRetrieveLevel": "STUDY",
        "RetrieveAETitle": CALLED,
        "InstanceAvailability": "ONLINE",
        "PatientID": PATIENT_ID,
        "StudyDescription": "Knee",
        "StudyTime": "",
        "ModalitiesInStudy": ["CT", "MR"],
    }


def test_what_is_not_supported_comes_back_with_zero_length_and_a_warning(bridge: Bridge) -> None:
    keys = identifier(PatientID=PATIENT_ID, Rows=None, StudyDescription=None)
    keys.add_new(0x00091001, "LO", "anything")
    for name, status in (("STANDARD", Progress.PENDING_WITHOUT_OPTIONAL_KEYS), ("ONEPACS", Progress.PENDING)):
        with associated(bridge, name) as association:
            reply = ask(association, keys)
        assert reply.pending == [status]
        assert reply.identifiers[0]["Rows"].is_empty
        assert reply.identifiers[0][0x00091001].is_empty


def test_sequences_are_matched_and_answered_by_their_items(peer: Association) -> None:
    def asked(level: str, **inner: str | None) -> list[Dataset]:
        item = Dataset()
        for keyword, value in inner.items():
            setattr(item, keyword, value)
        keys = identifier(level, PatientID=PATIENT_ID, SeriesNumber=None, RequestAttributesSequence=[item])
        return ask(peer, keys).identifiers

    (answer,) = asked("SERIES", RequestedProcedureID="RP-7302")
    assert answer.SeriesNumber == 2
    assert [element.keyword for element in answer.RequestAttributesSequence[0]] == ["RequestedProcedureID"]
    assert asked("SERIES", RequestedProcedureID="RP-7302", ScheduledProcedureStepID="SPS-2") == []
    assert len(asked("SERIES", RequestedProcedureID=None)) == 2
    whole = next(found for found in asked("SERIES") if found.SeriesNumber == 2)
    assert whole.RequestAttributesSequence[0].ScheduledProcedureStepID == "SPS-1"
    assert len(asked("STUDY", RequestedProcedureID="RP-*")) == 1


def test_what_was_requested_is_found_in_the_items_that_say_it(peer: Association) -> None:
    keys = identifier(PatientID=PATIENT_ID, RequestedProcedureID="RP-*", RequestedProcedureDescription=None)
    (answer,) = ask(peer, keys).identifiers
    assert (answer.RequestedProcedureID, answer.RequestedProcedureDescription) == ("RP-7302", "KNEE")


def test_a_list_of_uids_may_be_longer_than_an_address(peer: Association) -> None:
    wanted = [f"{UID}.1.{number}" for number in (11, 12, 21, 22)]
    others = [f"{ROOT}.99999999999999999999999999.{number}" for number in range(900)]
    keys = identifier("IMAGE", StudyInstanceUID=UID, SOPInstanceUID=[*wanted[:2], *others, *wanted[2:], wanted[0]])
    assert ask(peer, keys).values("SOPInstanceUID") == wanted


@pytest.mark.parametrize(
    ("keys", "model", "offending"),
    [
        (identifier("PATIENT"), STUDY_ROOT, 0x00080052),
        (identifier("WARD"), PATIENT_ROOT, 0x00080052),
        (identifier(""), PATIENT_ROOT, 0x00080052),
    ],
    ids=["level of the other root", "unknown level", "no level"],
)
def test_an_identifier_that_does_not_fit_is_a900(peer: Association, keys: Dataset, model: str, offending: int) -> None:
    reply = ask(peer, keys, model)
    assert reply.status == MISMATCH
    assert reply.final.OffendingElement == offending
    assert "Level" in reply.final.ErrorComment


def test_unique_keys_above_are_required_where_the_peer_is_used_to_it(bridge: Bridge, peer: Association) -> None:
    keys = identifier("SERIES", SeriesInstanceUID=None, Modality="MR", PatientID=PATIENT_ID)
    assert len(ask(peer, keys).identifiers) == 1
    with associated(bridge, "DXSERVER") as strict:
        reply = ask(strict, keys)
        assert (reply.status, reply.final.OffendingElement) == (MISMATCH, 0x0020000D)
        keys.StudyInstanceUID = UID
        assert len(ask(strict, keys).identifiers) == 1
        del keys.PatientID
        assert ask(strict, keys, PATIENT_ROOT).final.OffendingElement == 0x00100020
        keys.PatientID, keys.StudyInstanceUID = PATIENT_ID, [UID, UID + ".1"]
        assert ask(strict, keys).final.OffendingElement == 0x0020000D


def test_levels_that_a_peer_does_not_expect_have_no_matches(bridge: Bridge) -> None:
    with associated(bridge, "ONEPACS") as association:
        for level in ("SERIES", "IMAGE"):
            reply = ask(association, identifier(level, StudyInstanceUID=UID))
            assert (reply.status, reply.identifiers) == (Progress.DONE, [])
        assert ask(association, identifier("WARD")).status in UNABLE
        assert ask(association, identifier(StudyDate="today")).status in UNABLE


@pytest.mark.parametrize(
    ("keys", "comment"),
    [
        ({"StudyDate": "today"}, "date"),
        ({"StudyInstanceUID": "1.2.x"}, "UID"),
        ({"ProtocolName": "A*"}, "wild cards"),
    ],
)
def test_what_cannot_be_answered_fails_with_its_reason(peer: Association, keys: dict[str, str], comment: str) -> None:
    reply = ask(peer, identifier(**keys))
    assert reply.status in UNABLE
    assert comment in reply.final.ErrorComment
    assert not reply.identifiers


def test_who_may_not_query_gets_no_answer(bridge: Bridge) -> None:
    """Its contexts would be refused; LATE lost the right after they were accepted."""
    with associated(bridge, "LATE") as association:
        assert ask(association, identifier(PatientID=PATIENT_ID)).status == STATUSES[Outcome.FORBIDDEN].dimse


@pytest.mark.parametrize("syntax", NEGOTIATED)
def test_an_identifier_that_cannot_be_read_is_cxxx_and_the_association_lives(bridge: Bridge, syntax: str) -> None:
    with associated(bridge, syntaxes=[syntax]) as association:
        for raw in (b"\x08\0\x52\0\xff\xff\xff\x7fSTUDY", b"\0", bytes(range(200))):
            assert raw_query(association, raw) in (*UNABLE, MISMATCH)
        assert ask(association, identifier(PatientID=PATIENT_ID)).status == Progress.DONE


def raw_query(association: Association, raw: bytes, model: str = STUDY_ROOT) -> int:
    """The status of a C-FIND whose identifier is these bytes."""
    request = C_FIND()
    request.MessageID, request.AffectedSOPClassUID, request.Priority = 1, model, 2
    request.Identifier = io.BytesIO(raw)
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == model)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id or 0)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert isinstance(response, C_FIND)
    return int(response.Status or 0)
