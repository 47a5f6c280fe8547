"""Whatever is asked, SQL finds exactly what the pure matcher of `app.dicom.matching` finds (G30: rows equal)."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st

from app.archive.context import Context
from app.archive.search import Search
from app.blobs.memory import MemoryBlobStore
from app.catalog.engine import Catalog
from app.dicom.attributes import Level
from app.dicom.matching import matches_dataset
from app.dicom.query import read_query
from app.errors import BadRequest
from tests.support.catalog_rows import CT, EXPLICIT_LE, DataSet, data_set, element, store
from tests.support.database import DatabaseServer

EXAMPLES = int(os.environ.get("FILEROOM_ORACLE_EXAMPLES", "300"))
ROOT = "http://archive/dicom-web"

NAMES = (
    "Smith^John^A^^Dr",
    "Smith^Zoë",
    "SMITH",
    "Müller^Jürgen",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "=山田^花子",
    "O'Brien^Siobhán-Mary",
    "100%_a\\b^x",
    "A*B^?",
    "a.c[d](e)|f",
    "",
)
GROUPS = [group for name in NAMES if "=" in name for group in name.split("=") if group]
TEXTS = ("A", "a", "AB", "a%b", "a_b", "aXb", "Ä", "a b", "x'y\"z", "(a|b).*", "A1")
DATES = ("20240101", "20240102", "20240131", "20231231", "")
TIMES = ("", "10", "1030", "103000", "103000.5", "235959.999999")
UIDS = ("1.2.3", "1.2.3.4", "1.2.30")
MODALITIES = ("CT", "MR", "PT")
NUMBERS = (0, 1, 2, 10)

Key = tuple[str, str, tuple[Any, ...]]
STUDY_KEYS: tuple[Key, ...] = (
    ("PatientName", "PN", NAMES),
    ("PatientID", "LO", TEXTS),
    ("IssuerOfPatientID", "LO", ("", "H1", "H2")),
    ("PatientBirthDate", "DA", DATES),
    ("StudyDate", "DA", DATES),
    ("StudyTime", "TM", TIMES),
    ("AccessionNumber", "SH", (*TEXTS, "")),
    ("StudyDescription", "LO", (*TEXTS, "")),
    ("ReferringPhysicianName", "PN", NAMES),
    ("PatientAge", "AS", ("040Y", "")),
    ("PatientWeight", "DS", (70, 70.5, 3)),
    ("OtherPatientIDs", "LO", TEXTS),
    ("NameOfPhysiciansReadingStudy", "PN", NAMES),
)
SERIES_KEYS: tuple[Key, ...] = (
    ("Modality", "CS", MODALITIES),
    ("SeriesNumber", "IS", NUMBERS),
    ("SeriesDescription", "LO", (*TEXTS, "")),
    ("PerformedProcedureStepStartDate", "DA", DATES),
    ("PerformedProcedureStepStartTime", "TM", TIMES),
    ("ProtocolName", "LO", (*TEXTS, "")),
    ("SeriesDate", "DA", DATES),
    ("SeriesTime", "TM", TIMES),
    ("PerformingPhysicianName", "PN", NAMES),
    ("BodyPartExamined", "CS", ("HEAD", "CHEST", "")),
)
INSTANCE_KEYS: tuple[Key, ...] = (
    ("InstanceNumber", "IS", NUMBERS),
    ("Rows", "US", (64, 512)),
    ("ContentDate", "DA", DATES),
    ("ContentTime", "TM", TIMES),
    ("ImageType", "CS", ("ORIGINAL", "PRIMARY", "AXIAL")),
    ("ImageComments", "LT", TEXTS),
    ("AcquisitionDateTime", "DT", ("20240101103000", "202401", "20240101103000.5+0100")),
)
ITEM_KEYS: tuple[Key, ...] = (
    ("ScheduledProcedureStepID", "SH", ("S1", "S2", "s1")),
    ("RequestedProcedureID", "SH", ("R1", "R2")),
)
TAGS = {
    "PatientName": "00100010", "PatientID": "00100020", "IssuerOfPatientID": "00100021", "PatientBirthDate": "00100030",
    "StudyDate": "00080020", "StudyTime": "00080030", "AccessionNumber": "00080050", "StudyDescription": "00081030",
    "ReferringPhysicianName": "00080090", "PatientAge": "00101010", "PatientWeight": "00101030",
    "OtherPatientIDs": "00101000", "NameOfPhysiciansReadingStudy": "00081060", "Modality": "00080060",
    "SeriesNumber": "00200011", "SeriesDescription": "0008103E", "PerformedProcedureStepStartDate": "00400244",
    "PerformedProcedureStepStartTime": "00400245", "ProtocolName": "00181030", "SeriesDate": "00080021",
    "SeriesTime": "00080031", "PerformingPhysicianName": "00081050", "BodyPartExamined": "00180015",
    "InstanceNumber": "00200013", "Rows": "00280010", "ContentDate": "00080023", "ContentTime": "00080033",
    "ImageType": "00080008", "ImageComments": "00204000", "AcquisitionDateTime": "0008002A",
    "ScheduledProcedureStepID": "00400009", "RequestedProcedureID": "00401001",
}  # fmt: skip
SEVERAL = ("OtherPatientIDs", "NameOfPhysiciansReadingStudy", "ImageType")


class World:
    """What is stored: data sets with their computed attributes, and how to ask."""

    def __init__(self, runner: asyncio.Runner, strict: Search, lenient: Search, instances: list[DataSet]) -> None:
        self.runner = runner
        self.strict = strict
        self.lenient = lenient
        self.instances = instances


def draw_elements(rng: random.Random, keys: tuple[Key, ...]) -> DataSet:
    elements: DataSet = {}
    for keyword, vr, values in keys:
        count = rng.randint(1, 2) if keyword in SEVERAL else 1
        chosen = [value for value in rng.sample(values, count) if value != ""]
        if chosen or rng.random() < 0.5:
            elements[TAGS[keyword]] = element(vr, *chosen)
    return elements


def draw_world() -> list[DataSet]:
    rng = random.Random(7)
    found = []
    for study in range(30):
        of_study = draw_elements(rng, STUDY_KEYS)
        for series in range(rng.randint(1, 3)):
            items = [draw_elements(rng, ITEM_KEYS) for _ in range(rng.randint(0, 2))]
            of_series = draw_elements(rng, SERIES_KEYS) | {"00400275": {"vr": "SQ", "Value": items}}
            for instance in range(rng.randint(1, 3)):
                elements = of_study | of_series | draw_elements(rng, INSTANCE_KEYS)
                uid = f"1.2.{study}.{series}"
                found.append(data_set(f"1.2.{study}", uid, f"{uid}.{instance}", elements))
    return found


def with_computed(instances: list[DataSet]) -> list[DataSet]:
    """The data sets with what the archive knows besides."""
    complete = []
    for each in instances:
        same_study = [other for other in instances if uid_of(other, "STUDY") == uid_of(each, "STUDY")]
        same_series = [other for other in same_study if uid_of(other, "SERIES") == uid_of(each, "SERIES")]
        modalities = sorted({value for other in same_study for value in other["00080060"]["Value"]})
        series = {uid_of(other, "SERIES") for other in same_study}
        complete.append(
            each
            | {
                "00080061": element("CS", *modalities),
                "00080062": element("UI", CT),
                "00080056": element("CS", "ONLINE"),
                "00083002": element("UI", EXPLICIT_LE),
                "00201206": element("IS", len(series)),
                "00201208": element("IS", len(same_study)),
                "00201209": element("IS", len(same_series)),
            }
        )
    return complete


UID_TAGS: dict[Level, str] = {"STUDY": "0020000D", "SERIES": "0020000E", "IMAGE": "00080018"}


def uid_of(data: DataSet, level: Level) -> str:
    uid: str = data[UID_TAGS[level]]["Value"][0]
    return uid


@pytest.fixture(scope="module")
def world(database_server: DatabaseServer) -> Iterator[World]:
    instances = draw_world()
    url = database_server.create()
    with asyncio.Runner() as runner:
        catalog = Catalog(url)
        runner.run(store(catalog, instances))
        strict = Search(Context(catalog, MemoryBlobStore()))
        lenient = Search(Context(catalog, MemoryBlobStore(), lenient_matching=True))
        yield World(runner, strict, lenient, with_computed(instances))
        runner.run(catalog.close())
    database_server.drop(url)


def texts_of(vr: str, values: tuple[Any, ...]) -> st.SearchStrategy[str]:
    """Texts of keys: stored values, and what can be made of them."""
    value = st.sampled_from([str(each) for each in values if each != ""] + (GROUPS if vr == "PN" else []))
    if vr in ("DA", "TM"):
        ends = st.tuples(st.one_of(st.just(""), value), st.one_of(st.just(""), value))
        return st.one_of(value, ends.filter(any).map("-".join))
    if vr == "DT":
        return st.one_of(value, st.tuples(value, value).map("-".join), st.sampled_from(["2024-", "-202401", "2024"]))
    if vr in ("IS", "DS", "US"):
        return st.one_of(value, value.map(lambda text: text + ".0"), st.just("99999999999999999999"))
    cut = st.tuples(value, st.integers(0, 6), st.integers(0, 6), st.sampled_from(["*", "?", "**", "?*"]))
    wild = cut.map(lambda c: c[0][: c[1]] + c[3] + c[0][c[1] + c[2] :])
    around = st.tuples(value, st.integers(0, 3), st.integers(1, 4)).map(lambda c: f"*{c[0][c[1] : c[1] + c[2]]}*")
    odd = st.text("aA%_\\*?^=.|()[]+$ü山'\" 1", min_size=1, max_size=6)
    forms = [value, value.map(str.swapcase), wild, around, odd, st.text(max_size=20)]
    if vr == "CS":
        forms.append(st.lists(value, min_size=2, max_size=3).map(",".join))
    return st.one_of(*forms)


def pairs_of(keys: tuple[Key, ...], prefix: str = "") -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(keys).flatmap(
        lambda key: st.tuples(
            st.just(prefix + key[0]), st.one_of(texts_of(key[1], key[2]), st.sampled_from(["", '""']))
        )
    )


COMPUTED: tuple[Key, ...] = (
    ("ModalitiesInStudy", "CS", MODALITIES),
    ("InstanceAvailability", "CS", ("ONLINE", "OFFLINE")),
    ("NumberOfStudyRelatedSeries", "IS", (1, 2)),
    ("NumberOfSeriesRelatedInstances", "IS", (1, 2)),
)
RULES = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")
PAIRS = st.one_of(
    pairs_of(STUDY_KEYS),
    pairs_of(STUDY_KEYS[:6]),
    pairs_of(SERIES_KEYS),
    pairs_of(INSTANCE_KEYS),
    pairs_of(COMPUTED),
    pairs_of(ITEM_KEYS, "RequestAttributesSequence."),
    st.sampled_from(
        [("StudyInstanceUID", "1.2.3,1.2.4,1.2.9"), ("SeriesInstanceUID", "1.2.5.0"), ("StudyInstanceUID", "9")]
    ),
)
LEVELS: tuple[Level, ...] = ("STUDY", "SERIES", "IMAGE")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    level=st.sampled_from(LEVELS),
    pairs=st.lists(PAIRS, min_size=1, max_size=4, unique_by=lambda pair: pair[0]),
    rules=st.sets(st.sampled_from(RULES)),
    scope=st.sampled_from(["", "", "1.2.3", "1.2.7"]),
    lenient=st.booleans(),
)
def test_G30_sql_finds_what_the_matcher_finds(
    world: World, level: Level, pairs: list[tuple[str, str]], rules: set[str], scope: str, lenient: bool
) -> None:
    scope = scope if level != "STUDY" else ""
    parameters = [*pairs, *((rule, "true") for rule in rules)]
    try:
        query = read_query(level, parameters, study=scope)
        answer = world.runner.run((world.lenient if lenient else world.strict).answer(query, ROOT))
    except BadRequest:
        event("refused")
        reject()
    found = [uid_of(orjson.loads(result), level) for result in answer.results]
    inside = [each for each in world.instances if scope in ("", uid_of(each, "STUDY"))]
    expected = {uid_of(e, level) for e in inside if matches_dataset(query.criteria, e, lenient=lenient)}
    event(f"{min(len(expected), 3)} or more found")
    assert sorted(found) == sorted(expected)


def variants_of(value: str) -> list[str]:
    """The patterns that are near a value."""
    cuts = [f"{value[:at]}*" for at in range(1, len(value))] + [f"*{value[at:]}" for at in range(1, len(value))]
    ones = [f"{value[:at]}?{value[at + 1 :]}" for at in range(len(value))]
    return [value, value.swapcase(), f"*{value}*", f"{value}*", f"*{value}", f"{value}^*", *cuts, *ones]


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyDescription", "AccessionNumber"])
def test_G30_every_pattern_near_a_stored_value_finds_what_the_matcher_finds(world: World, keyword: str) -> None:
    values = [*NAMES, *GROUPS] if keyword == "PatientName" else TEXTS
    asked = [text for value in values if value for text in variants_of(value)]
    assert len(asked) > 60
    for text in dict.fromkeys(asked):
        assert_same(world, "STUDY", keyword, text, "")


@pytest.mark.parametrize(
    "keyword", ["NameOfPhysiciansReadingStudy", "PerformingPhysicianName", "OtherPatientIDs", "ProtocolName"]
)
def test_G30_attributes_without_a_column_are_found_by_every_stored_value(world: World, keyword: str) -> None:
    values = [
        value
        for value in ([*NAMES, *GROUPS] if "Physician" in keyword else TEXTS)
        if value and "*" not in value and "?" not in value
    ]
    for value in values:
        assert_same(world, "STUDY", keyword, value, "")
        for text in variants_of(value):
            assert_same(world, "SERIES", keyword, text, "1.2.3")


def test_G30_what_was_requested_is_found_in_the_items_that_say_it(world: World) -> None:
    for value in ("R1", "R2", "R3"):
        assert_same(world, "STUDY", "RequestedProcedureID", value, "")
        for text in variants_of(value):
            assert_same(world, "SERIES", "RequestedProcedureID", text, "1.2.3")


def assert_same(world: World, level: Level, keyword: str, text: str, scope: str) -> None:
    query = read_query(level, [(keyword, text)], study=scope)
    answer = world.runner.run(world.strict.answer(query, ROOT))
    found = {uid_of(orjson.loads(result), level) for result in answer.results}
    inside = [each for each in world.instances if scope in ("", uid_of(each, "STUDY"))]
    assert found == {uid_of(each, level) for each in inside if matches_dataset(query.criteria, each)}, text


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", [1, 7])
def test_pages_by_cursor_and_by_offset_hold_everything_once_in_order(world: World, level: Level, size: int) -> None:
    whole = world.runner.run(world.strict.answer(read_query(level, [("count", "true")]), ROOT))
    assert whole.total == len(whole.results)
    by_cursor: list[bytes] = []
    cursor = ""
    while True:
        parameters = [("limit", str(size)), *([("cursor", cursor)] if cursor else [])]
        page = world.runner.run(world.strict.answer(read_query(level, parameters), ROOT))
        by_cursor += page.results
        cursor = page.cursor
        if not cursor:
            break
    assert by_cursor == list(whole.results)
    skipped = world.runner.run(world.strict.answer(read_query(level, [("offset", str(size))]), ROOT))
    assert list(skipped.results) == list(whole.results)[size:]
