"""Failpoints do what the environment says, in the process that hits them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app import failpoints
from app.failpoints import Failpoint, hit, parse

_HITS = """
from app.errors import BlobStoreFailed
from app.failpoints import Failpoint, hit
for number in range(1, 5):
    try:
        hit(Failpoint.STORE_SYNCED)
        print(number)
    except BlobStoreFailed:
        print("failed")
"""


def run(plan: str) -> subprocess.CompletedProcess[str]:
    """Four hits of `store.synced` in a process with this plan."""
    environment = os.environ | {"FILEROOM_FAILPOINTS": plan}
    command = [sys.executable, "-u", "-c", _HITS]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_nothing_happens_without_a_plan() -> None:
    hit(Failpoint.STORE_COMMITTED)
    assert run("").stdout.split() == ["1", "2", "3", "4"]
    assert run("store.committed=kill").stdout.split() == ["1", "2", "3", "4"]


def test_the_third_hit_kills() -> None:
    done = run("store.committed=raise,store.synced=kill@3")
    assert (done.stdout.split(), done.returncode) == (["1", "2"], -signal.SIGKILL)


def test_every_hit_raises_or_waits() -> None:
    assert run("store.synced=raise").stdout.split() == ["failed"] * 4
    assert run("store.synced=sleep:1").stdout.split() == ["1", "2", "3", "4"]


def test_a_file_is_obeyed_once(tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.write_text("store.committed=kill")
    assert run(f"@{plan}").stdout.split() == ["1", "2", "3", "4"]
    assert plan.exists()
    plan.write_text("store.synced=raise")
    assert run(f"@{plan}").stdout.split() == ["failed", "2", "3", "4"]
    assert not plan.exists()


@pytest.mark.parametrize("text", ["nowhere=kill", "store.synced=explode", "store.synced", "store.synced=kill@x"])
def test_a_plan_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_names_are_told_apart() -> None:
    assert len({point.value for point in Failpoint}) == len(Failpoint)
    assert failpoints.parse(" store.synced=kill , ,") == {Failpoint.STORE_SYNCED: failpoints.Plan("kill")}
