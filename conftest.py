"""Plugins of the whole suite: the corpus, and the rule that a skipped test must be listed."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("other", print_blob=True)
# A change is judged by the same examples as the last one; `make test EXAMPLES=other` looks for new ones.
settings.load_profile(os.environ.get("EXAMPLES", "same"))

pytest_plugins = ["tests.testdata.fixtures", "tests.style.skips"]
