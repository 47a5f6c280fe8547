"""Plugins of the whole suite: the corpus, and the rule that a skipped test must be listed."""

from __future__ import annotations

pytest_plugins = ["tests.testdata.fixtures", "tests.style.skips"]
