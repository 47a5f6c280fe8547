"""Which studies of a patient are priors of a worklist item."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from app.archive.prefetch_rules import PrefetchRule, Wish, candidates, is_prior
from app.errors import BadRequest
from tests.support.worklist import element, item, step_of

WRONG: list[object] = [
    [],
    {},
    {"peer": "A", "server": "b"},
    {"peer": 5},
    {"peer": "A", "colour": "red"},
    {"peer": "A", "hours": -1},
    {"peer": "A", "hours": True},
    {"peer": "A", "hours": "soon"},
    {"peer": "A", "where": []},
    {"peer": "A", "where": {"Modality": 5}},
    {"peer": "A", "where": {"StudyDate": "yesterday"}},
    {"peer": "A", "modalities": "CT"},
    {"peer": "A", "modalities": [""]},
    {"peer": "A", "body_parts": [5]},
    {"peer": "A", "most": 0},
    {"peer": "A", "most": 101},
    {"peer": "A", "days": -1},
    {"peer": "A", "tries": True},
    {"peer": "A", "echo": 1},
    {"peer": "A", "enabled": None},
]
ANY = Wish("P", "", "1.2.9")


def data_set(**values: object) -> dict[str, Any]:
    return dict(element(name, value) for name, value in values.items())


def study(number: int, day: str = "20200101", **values: object) -> dict[str, Any]:
    return data_set(**({"StudyInstanceUID": f"1.2.{number}", "StudyDate": day, "PatientID": "P"} | values))


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_rule_is_refused(value: object) -> None:
    with pytest.raises(BadRequest):
        PrefetchRule.from_json("one", value)


def test_a_rule_is_read_as_it_is_told() -> None:
    rule = PrefetchRule.from_json("one", {"peer": "PACS", "modalities": ["same", "sr"], "hours": 12, "most": 3})
    assert PrefetchRule.from_json("one", rule.to_json()) == rule
    assert rule.modalities == ("same", "SR")


def test_the_newest_come_first_and_the_study_of_the_item_never() -> None:
    found = [study(1, "20190101"), study(9, "20240101"), study(2, "20220101"), study(3, ""), study(2, "20220101")]
    assert candidates(found, ANY) == ["1.2.2", "1.2.1", "1.2.3"]


def test_what_is_too_old_or_of_another_modality_is_left_out() -> None:
    found = [study(1, "20190101"), study(2, "20190102", ModalitiesInStudy=["CT", "SR"]), study(3, "")]
    found.append(study(4, "20200101", ModalitiesInStudy=["MR"]))
    assert candidates(found, Wish("P", "", "1.2.9", frozenset({"CT"}), oldest="20190102")) == ["1.2.2"]


def test_another_patient_is_never_fetched() -> None:
    found = [study(1, PatientID="P2"), study(2, PatientID="P "), study(3, PatientID="p")]
    found += [study(4, IssuerOfPatientID="B"), study(5, IssuerOfPatientID="A"), data_set(PatientID="P"), {}]
    found.append(study(6, StudyInstanceUID="no uid"))
    assert candidates(found, Wish("P", "A", "1.2.9")) == ["1.2.2", "1.2.5"]
    with pytest.raises(BadRequest, match="several issuers"):
        candidates(found, ANY)
    assert candidates([study(4, IssuerOfPatientID="B"), study(2)], ANY) == ["1.2.4", "1.2.2"]


def test_series_tell_modality_and_body_part() -> None:
    wish = Wish("P", "", "1.2.9", frozenset({"CT"}), frozenset({"KNEE"}))
    knee, head = data_set(Modality="CT", BodyPartExamined="knee"), data_set(Modality="CT", BodyPartExamined="HEAD")
    assert is_prior([head, knee], wish)
    assert not is_prior([head], wish)
    assert is_prior([data_set(Modality="CT")], wish)  # nobody says that it is another part
    assert not is_prior([data_set(Modality="MR", BodyPartExamined="KNEE")], wish)
    assert not is_prior([], wish)


def test_a_wish_is_made_of_an_item() -> None:
    rule = PrefetchRule.from_json(
        "one", {"peer": "PACS", "modalities": ["same", "SR"], "body_parts": ["same"], "days": 30, "most": 2}
    )
    one = item(PatientID="P ", IssuerOfPatientID="A", StudyInstanceUID="1.2.9", step_BodyPartExamined="Knee")
    wish = rule.wish(one, step_of(one), date(2024, 3, 1))
    assert wish == Wish("P", "A", "1.2.9", frozenset({"CT", "SR"}), frozenset({"KNEE"}), 2, "20240131")
    assert rule.wish(one, step_of(one), date(2024, 4, 1)).about == wish.about
    bare = item(PatientID="P", StudyInstanceUID="1.2.9")
    assert rule.wish(bare, step_of(bare), date(2024, 3, 1)).body_parts == frozenset()
    assert rule.wish(bare, step_of(bare), date(2024, 3, 1)).about != wish.about


def test_when_an_item_is_due() -> None:
    now = datetime(2024, 3, 1, 12, tzinfo=UTC)
    at_once, before = (PrefetchRule.from_json("one", {"peer": "A", "hours": hours}) for hours in (None, 4))
    start = now + timedelta(hours=10)
    assert (at_once.due_at(start, now), before.due_at(start, now)) == (now, now + timedelta(hours=6))
    assert before.due_at(now - timedelta(hours=5), now) == now - timedelta(hours=9)
    assert at_once.due_at(now - timedelta(hours=25), now) is None
