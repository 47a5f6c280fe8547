"""QIDO-RS parameters (PS3.18 8.3.4) → `Query`."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.attributes import Level
from app.dicom.limits import DEFAULT, Limits
from app.dicom.matching import AnyOf, Criterion, Fuzzy, Pattern, Range, Value, Wild
from app.dicom.query import Fields, Page, Query, level_of, read_path, read_query
from app.errors import BadRequest, LimitExceeded, Refused

PATIENT_NAME, PATIENT_ID, STUDY_DATE = 0x00100010, 0x00100020, 0x00080020


def ask(text: str, level: Level = "STUDY", limits: Limits = DEFAULT) -> Query:
    return read_query(level, parse_qsl(text, keep_blank_values=True), limits=limits)


@pytest.mark.parametrize(
    "name",
    ["RequestAttributesSequence.ScheduledProcedureStepID", "00400275.00400009", "requestattributessequence.00400009"],
)
def test_attributes_are_named_by_keyword_or_tag(name: str) -> None:
    assert ask(f"{name}=S1").criteria == (Criterion((0x00400275, 0x00400009), "text", Value("S1")),)


def test_the_request_of_a_viewer() -> None:
    query = ask(
        "limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060%2C00080090%2C00100030"
        "&PatientName=*x*&00100020=*x*&ModalitiesInStudy=CT%2CMR&StudyDate=20240101-20251231"
    )
    assert query.page == Page(limit=101, offset=0)
    assert query.fields.paths[:4] == ((0x00081030,), (0x00080060,), (0x00080090,), (0x00100030,))
    contains = Pattern((Wild.ANY, "x", Wild.ANY))
    assert query.criteria == (
        Criterion((PATIENT_NAME,), "name", Fuzzy(("x",), contains)),
        Criterion((PATIENT_ID,), "text", contains),
        Criterion((0x00080061,), "text", AnyOf((Value("CT"), Value("MR")))),
        Criterion((STUDY_DATE,), "date", Range("20240101", "20251231")),
    )
    assert query.ignored == ()


def test_fields_are_a_list_repeated_or_all() -> None:
    assert ask("includefield=PatientName,00100020&includefield=StudyDate").fields == Fields(
        False, ((PATIENT_NAME,), (PATIENT_ID,), (STUDY_DATE,))
    )
    assert ask("includefield=all").fields == Fields(True, ())
    assert ask("includefield=RequestAttributesSequence.ScheduledProcedureStepID").fields.paths == (
        (0x00400275, 0x00400009),
    )


def test_keys_that_match_everything_are_returned_fields() -> None:
    query = ask("PatientName=&PatientID=*&SpecificCharacterSet=ISO_IR+192")
    assert query.criteria == ()
    assert query.fields.paths == ((PATIENT_NAME,), (PATIENT_ID,), (0x00080005,))


def test_what_is_not_known_is_ignored_and_named() -> None:
    query = ask("foo=1&includedefaults=false&PatientID=P&accept=application/json&foo=2&a%0D%0Ab=1")
    assert query.ignored == ("foo", "includedefaults", "ab")
    assert len(query.criteria) == 1


def test_uids_that_come_one_by_one_are_a_list() -> None:
    (criterion,) = ask("StudyInstanceUID=1.2&StudyInstanceUID=1.3,1.2").criteria
    assert criterion.match == AnyOf((Value("1.2"), Value("1.3")))


def test_ranges_of_date_and_time_of_one_form_are_one_range() -> None:
    (criterion,) = ask("StudyTime=1000-1800&StudyDate=20060705-20060707").criteria
    assert criterion.time == 0x00080030
    assert criterion.match == Range("20060705100000.000000", "20060707180059.999999")
    (criterion,) = ask("StudyDate=20060705-&StudyTime=1000-").criteria
    assert criterion.match == Range("20060705100000.000000", "")


@pytest.mark.parametrize("text", ["StudyDate=20060705&StudyTime=1000-1800", "StudyDate=20060705-&StudyTime=1000-1800"])
def test_other_dates_and_times_stay_apart(text: str) -> None:
    assert [criterion.time for criterion in ask(text).criteria] == [0, 0]


@pytest.mark.parametrize(
    "text",
    [
        "limit=x",
        "limit=-1",
        "offset=1.5",
        "fuzzymatching=yes",
        "emptyvaluematching=1",
        "count=2",
        "includefield=Nonsense",
        "StudyDate=yesterday",
        "StudyInstanceUID=x",
        "RequestAttributesSequence=x",
        "includefield=" + ",".join(f"{tag:08X}" for tag in range(257)),
    ],
)
def test_a_bad_value_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        ask(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("&".join(f"000910{n:02X}=1" for n in range(33)), "query_criteria"),
        ("&".join(f"0009{n:04X}=" for n in range(257)), "query_criteria"),
        ("PatientID=" + "x" * 1025, "query_value"),
        ("StudyInstanceUID=" + ",".join(["1.2"] * 1001), "uid_list"),
        ("offset=100001", "query_offset"),
    ],
)
def test_G31_limits_are_named(text: str, limit: str) -> None:
    with pytest.raises(LimitExceeded) as refusal:
        ask(text)
    assert refusal.value.limit == limit


def test_within_the_limits_all_is_read() -> None:
    assert len(ask("&".join(f"000910{n:02X}=1" for n in range(32))).criteria) == 32
    assert len(ask("&".join(f"0009{n:04X}=" for n in range(256))).fields.paths) == 256
    assert len(ask("PatientID=" + "x" * 1024).criteria) == 1
    assert len(ask("StudyInstanceUID=" + ",".join(f"1.{n}" for n in range(1000))).criteria) == 1


def test_multiple_value_matching_is_for_attributes_that_may_have_several() -> None:
    several, single = ask("ModalitiesInStudy=CT,MR&Modality=CT,MR&multiplevaluematching=true").criteria
    assert type(several.match).__name__ == "AllOf"
    assert type(single.match).__name__ == "AnyOf"


def test_levels_of_attributes() -> None:
    assert level_of((PATIENT_ID,)) == "PATIENT"
    assert level_of((STUDY_DATE,)) == "STUDY"
    assert level_of((0x00400275, 0x00400009)) == "SERIES"
    assert level_of((0x00280010,)) == "IMAGE"
    assert level_of((0x00091001,)) == "IMAGE"


def test_paths_have_an_end() -> None:
    assert read_path(".".join(["00400275"] * 8)) is not None
    assert read_path(".".join(["00400275"] * 9)) is None


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=30)), max_size=6))
def test_any_parameters_are_a_query_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        query = read_query("STUDY", pairs)
    except Refused:
        return
    assert all(name.isascii() and name.isprintable() for name in query.ignored)
