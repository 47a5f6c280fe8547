"""The Python that `make` takes is one that can serve the archive, whatever else is first on the path."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def chosen(path: str) -> str:
    """What .ci/python prints with this PATH."""
    ran = subprocess.run([".ci/python"], cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def version(python: str) -> tuple[int, ...]:
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, said.split()[1].split(".")[:2]))


def test_it_is_new_enough() -> None:
    assert version(chosen(os.environ["PATH"])) >= (3, 11)


def test_what_is_first_on_the_path_comes_after_the_distribution_s(tmp_path: Path) -> None:
    other = tmp_path / "python3.11"
    other.write_text("#!/bin/sh\necho Python 3.11.99\n")
    other.chmod(0o755)
    python = chosen(f"{tmp_path}:{os.environ['PATH']}")
    makes = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    usable = [
        path
        for path in ("/usr/bin/python3.11", "/usr/bin/python3")
        if Path(path).exists() and subprocess.run([path, "-c", makes], capture_output=True, check=False).returncode == 0
    ]
    assert python == (usable[0] if usable else str(other))
