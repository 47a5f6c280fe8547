"""`make faults`: the tests of this folder, and bad days of a whole department, with the figures of a larger tier:
nightly unless FILEROOM_TIER names one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BAD_DAYS = HERE.parent / "e2e" / "day" / "test_bad_day.py"


def main() -> int:
    """Runs them; pytest's exit status."""
    os.environ.setdefault("FILEROOM_TIER", "nightly")
    return pytest.main(["-v", "-s", "--timeout=0", str(HERE), str(BAD_DAYS), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
