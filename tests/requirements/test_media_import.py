"""The files of a disc are imported in every listed transfer syntax, without its directory, and under the names of the
disc, which have no suffix (PS3.10 8.2)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pydicom.dataset import Dataset

from tests.requirements.dimse_rows import IMPORTED
from tests.requirements.instances import CT, ROOT, encode, make, rows
from tests.style.measure import ROOT as REPOSITORY

STUDY = "7430"
DIRECTORY = "1.2.840.10008.1.3.10"


def directory() -> Dataset:
    """A DICOMDIR has no study and no series."""
    ds = make(STUDY, 99, DIRECTORY)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "PixelData", "SOPClassUID", "SOPInstanceUID"):
        delattr(ds, keyword)
    return ds


def test_a_disc_is_imported(tmp_path: Path, database_url: str) -> None:
    syntaxes = [row["uid"] for row in rows("transfer_syntaxes.csv") if row["service"] == IMPORTED]
    assert len(syntaxes) == 4
    disc, data = tmp_path / "disc", tmp_path / "data"
    (disc / "IMAGES").mkdir(parents=True)
    files = {f"IM{at:06}": encode(make(STUDY, at, CT, syntax)) for at, syntax in enumerate(syntaxes)}
    for name, file in files.items():
        (disc / "IMAGES" / name).write_bytes(file)
    (disc / "DICOMDIR").write_bytes(encode(directory()))
    environment = {**os.environ, "FILEROOM_DATA": str(data), "FILEROOM_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "app.cli", "import", str(disc)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "5 files" in done.stdout
    assert "4 stored (0 with warnings), 1 left out, 0 failed" in done.stdout
    assert "DICOMDIR" in done.stderr
    stored = [path.read_bytes() for path in data.rglob("*.dcm") if ROOT in path.name]
    assert sorted(stored) == sorted(files.values())
