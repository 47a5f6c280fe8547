"""Fails a run (option --strict-skips) in which a test was skipped that `tests/skips.txt` does not list."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

LIST = Path(__file__).parents[1] / "skips.txt"


def listed(text: str) -> dict[str, str]:
    """Pattern → reason, of the lines of `skips.txt`; ValueError for a line without a reason."""
    allowed = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, _, reason = line.partition("|")
            if not reason.strip():
                raise ValueError(f"no reason: {line}")
            allowed[pattern.strip()] = reason.strip()
    return allowed


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.addoption("--strict-skips", action="store_true", help="fail when a test is skipped that is not listed")


class SkipGuard:
    """Collects what was skipped, and turns the run red when it is not listed."""

    def __init__(self, allowed: dict[str, str]) -> None:
        self._allowed = allowed
        self.unlisted: list[str] = []

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        expected_to_fail = hasattr(report, "wasxfail")
        is_listed = any(fnmatchcase(report.nodeid, pattern) for pattern in self._allowed)
        if report.skipped and not expected_to_fail and not is_listed:
            self.unlisted.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that was skipped, in its set-up or in its call."""
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole module that was skipped."""
        self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Red when anything unlisted was skipped."""
        if self.unlisted and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Names them."""
        if self.unlisted:
            terminalreporter.section("skipped, but not listed in tests/skips.txt", red=True)
            for nodeid in self.unlisted:
                terminalreporter.line(nodeid)


def pytest_configure(config: pytest.Config) -> None:
    """Puts the guard in place when it was asked for."""
    if config.getoption("--strict-skips"):
        config.pluginmanager.register(SkipGuard(listed(LIST.read_text())), "skip-guard")
