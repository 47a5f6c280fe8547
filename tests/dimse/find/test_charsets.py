"""A name is found by asking in each listed character set, and answered in it; in another one it is answered in what can
carry it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from app.dicom.status import Progress
from tests.dimse.find.asking import ask, associated
from tests.dimse.find.conftest import Bridge
from tests.dimse.find.encoding import identifier
from tests.dimse.find.test_repertoires import MULTI_BYTE, NAMES
from tests.requirements.instances import encode, make, rows, store

TERMS = sorted({row["defined_term"] for row in rows("charsets.csv")})
UTF_8 = "ISO_IR 192"


def number_of(term: str) -> str:
    found = re.search(r"IR (\d+)", term.replace("_", " "))
    assert found is not None
    return found[1]


def patient_of(number: str) -> str:
    return f"CHARSET-{number}"


@pytest.fixture(scope="module", autouse=True)
def stored(client: httpx.Client) -> None:
    """A study for each name, as UTF-8."""
    files = []
    for at, (number, name) in enumerate(NAMES.items()):
        ds = make(f"7303.{at}", 1, SpecificCharacterSet=UTF_8, PatientName=name, PatientID=patient_of(number))
        files.append(encode(ds))
    assert store(client, files).status_code == 200


@pytest.fixture(scope="module")
def peer(bridge: Bridge) -> Iterator[Association]:
    with associated(bridge) as association:
        yield association


def found(peer: Association, term: str | list[str], pattern: str, patient: str) -> Dataset:
    keys = identifier(SpecificCharacterSet=term, PatientName=pattern, PatientID=patient)
    reply = ask(peer, keys)
    assert (reply.status, len(reply.identifiers)) == (Progress.DONE, 1)
    return reply.identifiers[0]


@pytest.mark.parametrize("term", TERMS)
def test_a_name_is_asked_for_and_answered_in_it(peer: Association, term: str) -> None:
    number = number_of(term)
    terms: str | list[str] = ["", term] if number in MULTI_BYTE else "" if "default" in term else term
    name = NAMES[number]
    for pattern in (name, name[:3] + "*", name.split("=")[-1]):
        answer = found(peer, terms, pattern, patient_of(number))
        assert str(answer.PatientName) == name
        assert answer.SpecificCharacterSet == terms


@pytest.mark.parametrize("number", [number for number in NAMES if number not in ("6", "100")])
def test_what_the_set_that_was_asked_for_cannot_carry_is_answered_in_utf_8(peer: Association, number: str) -> None:
    for terms in ("ISO_IR 100", "", "ISO_IR 999"):
        answer = found(peer, terms, "*", patient_of(number))
        assert str(answer.PatientName) == NAMES[number]
        assert answer.SpecificCharacterSet == UTF_8


def test_code_extensions_of_several_sets(peer: Association) -> None:
    terms = ["ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 149", "ISO 2022 IR 126"]
    for number in ("6", "13", "87", "149", "126"):
        answer = found(peer, terms, NAMES[number], patient_of(number))
        assert str(answer.PatientName) == NAMES[number]
        assert list(answer.SpecificCharacterSet) == terms


def test_a_peer_has_a_set_for_when_it_names_none(bridge: Bridge) -> None:
    keys = identifier(PatientName=None, PatientID=patient_of("126"))
    with associated(bridge, "GREEK") as association:
        (greek,) = ask(association, keys).identifiers
        keys.PatientID = patient_of("144")
        (cyrillic,) = ask(association, keys).identifiers
        keys.PatientID = patient_of("6")
        (plain,) = ask(association, keys).identifiers
    assert (greek.SpecificCharacterSet, str(greek.PatientName)) == ("ISO_IR 126", NAMES["126"])
    assert (cyrillic.SpecificCharacterSet, str(cyrillic.PatientName)) == (UTF_8, NAMES["144"])
    assert "SpecificCharacterSet" not in plain
