"""The rule about skipped tests, on small runs of pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.style.skips import LIST, listed

SUITE = """
import pytest
@pytest.mark.skip(reason="why not")
def test_marked(): pass
def test_called(): pytest.skip("why not")
def test_passes(): pass
@pytest.mark.xfail(strict=True)
def test_expected(): assert False
"""


def run(folder: Path, allowed: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "conftest.py").write_text(
        "from pathlib import Path\n"
        "from tests.style import skips\n"
        "from tests.style.skips import pytest_addoption, pytest_configure\n"
        f"skips.LIST = Path({str(folder / 'skips.txt')!r})\n"
    )
    (folder / "skips.txt").write_text(allowed)
    command = [sys.executable, "-m", "pytest", "--strict-skips", "-c", "/dev/null", "--rootdir", str(folder), "-q", "."]
    root = str(Path(__file__).parents[2])
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": root}, check=False)


def test_unlisted_skips_fail_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, "test_suite.py::test_marked | has a reason\n")
    assert done.returncode == 1, done.stdout
    assert "test_suite.py::test_called" in done.stdout
    assert "test_suite.py::test_marked" not in done.stdout.split("not listed")[1]


def test_listed_skips_pass_and_the_summary_is_last(tmp_path: Path) -> None:
    done = run(tmp_path, "test_suite.py::test_* | has a reason\n")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 passed, 2 skipped, 1 xfailed")


def test_a_listed_skip_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="no reason"):
        listed("tests/x.py::test_y |  \n")


def test_the_list_is_well_formed() -> None:
    listed(LIST.read_text())
