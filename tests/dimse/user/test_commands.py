"""`fileroom dimse` as people type it, towards Orthanc."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.cli import main
from tests.dimse.retrieve.conftest import storescp
from tests.dimse.retrieve.test_dcmtk import expected, study_of, tokens
from tests.support.archive import ROOT, free_port
from tests.support.orthanc import Orthanc

Typed = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def dimse(capfd: pytest.CaptureFixture[str]) -> Typed:
    """Types a command: exit status, what was printed, and what was said besides."""

    async def typed(*words: str | Path) -> tuple[int, str, str]:
        try:
            status = await asyncio.to_thread(main, ["dimse", *map(str, words)])
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capfd.readouterr()

    return typed


async def test_as_a_process(orthanc: Orthanc) -> None:
    words = (sys.executable, "-m", "app.cli", "dimse", "echo", f"{orthanc.aet}@localhost:{orthanc.dimse}")
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=subprocess.PIPE)
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, printed) == (0, b"ORTHANC answers.\n")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


async def test_a_round_trip(dimse: Typed, orthanc: Orthanc, tmp_path: Path) -> None:
    samples = study_of(2, 2)
    peer = f"{orthanc.aet}@localhost:{orthanc.dimse}"
    key = f"StudyInstanceUID={samples[0].study}"
    folder = write(tmp_path / "out", {one.sop: one.encode() for one in samples})
    assert (await dimse("echo", peer))[:2] == (0, "ORTHANC answers.\n")
    status, printed, said = await dimse("store", peer, folder)
    assert (status, printed) == (0, "4 of 4 files were stored.\n"), said
    assert "sending" in said
    status, printed, _ = await dimse("find", peer, "--json", "-k", key, "-k", "PatientName", "-k", "ModalitiesInStudy")
    match = json.loads(printed)
    assert (status, match["PatientName"], match["ModalitiesInStudy"]) == (0, "Sample^" + samples[0].study[-6:], "OT")
    status, printed, _ = await dimse("find", peer, "--level", "SERIES", "-k", key, "-k", "SeriesInstanceUID")
    assert printed.count("SeriesInstanceUID: ") == 2
    status, printed, said = await dimse("get", peer, tmp_path / "in", "-k", key)
    assert status == 0, said
    assert printed.startswith("4 instances, 0.0 MB, are in ")
    assert tokens(tmp_path / "in") == expected(samples)
    async with storescp(tmp_path / "moved") as port:
        orthanc.know("dest", "DEST", port)
        status, printed, said = await dimse("move", peer, "--to", "DEST", "-k", key)
        assert (status, printed) == (0, "4 instances were sent to DEST.\n"), said
    assert tokens(tmp_path / "moved") == expected(samples)


async def test_what_goes_wrong_is_one_line(dimse: Typed, orthanc: Orthanc, tmp_path: Path) -> None:
    status, printed, said = await dimse("echo", f"NOBODY@127.0.0.1:{free_port()}")
    assert (status, printed) == (1, "")
    assert "fileroom dimse: NOBODY@127.0.0.1:" in said
    peer = f"{orthanc.aet}@127.0.0.1:{orthanc.dimse}"
    folder = write(tmp_path / "out", {"text.txt": b"nothing of DICOM" * 40})
    status, printed, said = await dimse("store", peer, folder)
    assert (status, printed) == (1, "0 of 1 files were stored.\n")
    assert "text.txt: " in said
    status, _, said = await dimse("move", peer, "--to", "UNKNOWN", "-k", "StudyInstanceUID=1.2.3")
    assert status == 1
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        ("echo", "no-peer"),
        ("echo", "A@b:99999"),
        ("echo", "TOO_LONG_A_TITLE_IS_THIS@b"),
        ("find", "A@b", "-k", "NoSuchKeyword=1"),
        ("move", "A@b", "-k", "StudyInstanceUID=1"),
        ("nothing",),
    ],
)
async def test_wrong_options(dimse: Typed, words: tuple[str, ...]) -> None:
    status, _, said = await dimse(*words)
    assert status == 2
    assert "usage: fileroom dimse" in said
