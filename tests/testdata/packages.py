"""Downloads packages with their own clients: pip, npm, apt-get. A client that is missing is a reason, not an error."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.testdata.sources import Source

SECONDS = 600


def download(source: Source, downloads: Path) -> tuple[list[Path], str]:
    """The files of the package, kept under `downloads`; or none and the reason."""
    folder = downloads / source.client / source.requirement.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    if files := _files(folder):
        return files, ""
    command = _command(source, folder)
    if not shutil.which(command[0]):
        return [], f"no {command[0]}"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    files = _files(folder)
    lines = (done.stderr or done.stdout).strip().splitlines()
    return files, "" if files else f"{command[0]}: {lines[-1] if lines else done.returncode}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _command(source: Source, folder: Path) -> list[str]:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "-d", str(folder)]
    match source.client:
        case "pip":
            return [*pip, source.requirement]
        case "pip-sdist":
            return [*pip, "--no-binary", source.package, source.requirement]
        case "npm":
            return ["npm", "pack", "--silent", source.requirement]
        case "apt":
            return ["apt-get", "download", "-q", source.requirement]
