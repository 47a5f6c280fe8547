"""The day when everything goes wrong: all of the archive is killed at random moments, destinations are away, and wrong
worklist entries are chosen. Nothing is lost, nothing comes twice, every state is told, every transfer ends."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.e2e.day.bad_day import Day
from tests.e2e.day.changes import Follower
from tests.e2e.day.department import at_work
from tests.e2e.day.destinations import assert_nothing_came_twice
from tests.e2e.day.havoc import Havoc, new_seed
from tests.reliability.conftest import tier
from tests.support.faults import planted
from tests.support.receiver import in_order

DAYS = tier(1, 100, 500)
ROUNDS, PATIENTS = tier(1, 3, 3), tier(1, 6, 6)
"""How often each deed is done in a day, and how many patients of each kind there are."""


@pytest.mark.parametrize("number", range(DAYS))
def test_G22_G23_a_bad_day_loses_nothing(number: int, tmp_path: Path) -> None:
    seed = new_seed()
    with at_work(tmp_path, **planted(tmp_path / "plants", "quick_restarts")) as department:
        day, havoc = Day(department, tmp_path, random.Random(seed)), Havoc(department, seed)
        with Follower(department.archive.url) as follower:
            with havoc.raging(ROUNDS):
                day.play(PATIENTS)
            day.assert_all_is_well()
            assert_nothing_came_twice(department, {sop for exam in day.undone for sop in exam.sops})
            whole = department.changes()
            follower.wait_for(whole[-1]["id"])
            department.until("/webhooks/ris", lambda hook: hook["position"] >= whole[-1]["id"])
        assert "a request failed" not in department.archive.log
        assert in_order(department.receiver.events)[: len(whole)] == whole, "the webhook tells the same"
        assert follower.told[: len(whole)] == whole, "whoever follows the feed misses nothing and is told nothing twice"
