"""import, export, verify and reindex as typed, on a data folder with its embedded PostgreSQL."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.archive import ROOT
from tests.support.small_files import data_set, encode


def fileroom(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs one command on the data folder `data`."""
    environment = {**os.environ, "FILEROOM_DATA": str(data)}
    command = [sys.executable, "-m", "app.cli", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three files, one that is cut, a ZIP archive of two more, and something that is no DICOM."""
    folder = tmp_path_factory.mktemp("pile")
    (folder / "deep").mkdir()
    for name in ("a", "b", "deep/c"):
        (folder / f"{name}.dcm").write_bytes(encode(data_set()))
    (folder / "cut.dcm").write_bytes(encode(data_set())[:-8])
    (folder / "notes.txt").write_text("no image")
    with zipfile.ZipFile(folder / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/1.dcm", encode(data_set()))
        archive.writestr("x/2.dcm", encode(data_set()))
    return folder


def contents(folder: Path) -> set[str]:
    """Digests of all DICOM files below `folder`."""
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*.dcm")}


def test_from_import_to_reindex(pile: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    imported = fileroom(data, "import", str(pile))
    assert all(words in imported.stdout for words in ("7 files", "6 stored (1 with warnings)", "1 left out"))
    assert "notes.txt: " in imported.stderr
    assert "cut.dcm: stored; the data set ends inside an element" in imported.stderr
    assert imported.returncode == 0
    again = fileroom(data, "import", "--quiet", str(pile))
    assert ("6 stored" in again.stdout, "notes.txt" in again.stderr) == (True, False)
    assert len(list(data.glob("blobs/*/*/*/*.dcm"))) == 6

    exported = fileroom(data, "export", str(out))
    assert (exported.returncode, len(contents(out))) == (0, 6), exported.stderr
    lines = (line.split("  ") for line in (out / "SHA256SUMS").read_text().splitlines())
    listed = {name: digest for digest, name in lines}
    assert {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in listed} == listed

    assert "6 files" in fileroom(data, "verify").stdout
    shutil.rmtree(data / "postgres")
    rebuilt = fileroom(data, "reindex")
    assert "6 studies, 6 versions rebuilt; 0 missing, 0 damaged" in rebuilt.stdout
    shutil.rmtree(out)
    fileroom(data, "export", str(out))
    assert len(contents(out)) == 6
    assert "clear it first" in fileroom(data, "reindex").stderr

    victim = next(data.glob("blobs/*/*/*/*.dcm"))
    damaged = bytearray(victim.read_bytes())
    damaged[-1] ^= 1
    victim.write_bytes(damaged)
    verified = fileroom(data, "verify")
    assert (verified.returncode, "1 damaged" in verified.stdout) == (1, True)
    assert "the bytes are not those that were stored" in verified.stderr
    cleared = fileroom(data, "reindex", "--clear")
    assert "5 versions rebuilt; 0 missing, 1 damaged" in cleared.stdout


def test_a_path_that_does_not_exist_is_told(tmp_path: Path) -> None:
    answer = fileroom(tmp_path / "data", "import", str(tmp_path / "nowhere"))
    assert (answer.returncode, "does not exist" in answer.stderr) == (2, True)
