"""Plugins of the whole suite: the corpus, and the rule that a skipped test must be listed."""

from __future__ import annotations

import os
from importlib import import_module

from hypothesis import HealthCheck, settings

# How long an example takes is no result: the machine may be busy.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", _patient, derandomize=True)
settings.register_profile("other", _patient, print_blob=True)
# A change is judged by the same examples as the last one; `make test EXAMPLES=other` looks for new ones.
settings.load_profile(os.environ.get("EXAMPLES", "same"))

pytest_plugins = ["tests.testdata.fixtures", "tests.style.skips"]


def pytest_collection_finish() -> None:
    """Hypothesis imports these when a test wants them, and pytest compiles them then. CPython 3.11 fails in that
    (gh-106905) if it collects an unclosed socket at the moment, since the warning's traceback is compiled too."""
    for name in ("flatmapped", "random", "regex", "types"):
        import_module(f"hypothesis.strategies._internal.{name}")
