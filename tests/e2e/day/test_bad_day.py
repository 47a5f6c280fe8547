"""The day when everything goes wrong: all of the archive is killed at random moments, destinations are away, and wrong
worklist entries are chosen. Nothing is lost, nothing comes twice, every state is told, every transfer ends."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.day.bad_day import Day
from tests.e2e.day.changes import Follower
from tests.e2e.day.department import at_work
from tests.e2e.day.destinations import assert_nothing_came_twice
from tests.e2e.day.havoc import Havoc, new_seed
from tests.support.faults import planted
from tests.support.receiver import in_order


def play_bad_day(folder: Path, seed: int, *, rounds: int, patients: int) -> None:
    """One bad day: `patients` of each kind while every deed is done `rounds` times."""
    with at_work(folder, **planted(folder / "plants", "quick_restarts")) as department:
        day, havoc = Day(department, folder), Havoc(department, seed)
        with Follower(department.archive.url) as follower:
            with havoc.raging(rounds):
                day.play(patients)
            day.assert_all_is_well()
            assert_nothing_came_twice(department, {sop for exam in day.undone for sop in exam.sops})
            whole = department.changes()
            follower.wait_for(whole[-1]["id"])
            department.until("/webhooks/ris", lambda hook: hook["position"] >= whole[-1]["id"])
        assert "a request failed" not in department.archive.log
        assert in_order(department.receiver.events)[: len(whole)] == whole, "the webhook tells the same"
        assert follower.told[: len(whole)] == whole, "whoever follows the feed misses nothing and is told nothing twice"


def test_G22_G23_a_bad_day_loses_nothing(tmp_path: Path) -> None:
    play_bad_day(tmp_path, new_seed(), rounds=1, patients=1)
