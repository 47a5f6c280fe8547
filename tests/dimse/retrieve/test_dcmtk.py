"""C-GET and C-MOVE by DCMTK's tools: what comes out is what was stored."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.dicom.peer import Peer
from tests.dimse.retrieve.conftest import Bridge, files_in, run, store, storescp
from tests.support.samples import Sample, new_token, new_uid


def study_of(series: int, instances: int) -> list[Sample]:
    """Samples of one study."""
    study = new_uid()
    places = [new_uid() for _ in range(series) for _ in range(instances)]
    return [Sample(study, places[at // instances], new_uid(), new_token()) for at in range(series * instances)]


def tokens(folder: Path) -> dict[str, str]:
    """SOP Instance UID → what stands in the file."""
    return {uid: one.ImageComments for uid, one in files_in(folder).items()}


def expected(samples: list[Sample]) -> dict[str, str]:
    """The same of what was stored."""
    return {one.sop: one.token for one in samples}


async def getscu(bridge: Bridge, folder: Path, *options: str, keys: tuple[str, ...], root: str = "-S") -> str:
    """Retrieves by C-GET; what the tool said."""
    named = [word for key in keys for word in ("-k", key)]
    address = ("127.0.0.1", bridge.port)
    status, said = await run("getscu", "-v", root, *options, "-aec", "FILEROOM", *named, "-od", folder, *address)
    assert status == 0, said
    return said


async def movescu(bridge: Bridge, destination: str, *options: str, keys: tuple[str, ...], root: str = "-S") -> str:
    """Retrieves by C-MOVE; what the tool said."""
    named = [word for key in keys for word in ("-k", key)]
    address = ("127.0.0.1", bridge.port)
    _, said = await run("movescu", "-v", root, *options, "-aec", "FILEROOM", "-aem", destination, *named, *address)
    return said


def keys_of(level: str, sample: Sample, sops: list[str]) -> tuple[str, ...]:
    """An identifier down to `level`."""
    keys = (
        ("PatientID", f"S{sample.study[-6:]}"),
        ("StudyInstanceUID", sample.study),
        ("SeriesInstanceUID", sample.series),
        ("SOPInstanceUID", "\\".join(sops)),
    )
    depth = ("PATIENT", "STUDY", "SERIES", "IMAGE").index(level)
    return (f"QueryRetrieveLevel={level}", *(f"{name}={value}" for name, value in keys[: depth + 1]))


@pytest.mark.parametrize(
    ("root", "level"),
    [
        ("-P", "PATIENT"),
        ("-P", "STUDY"),
        ("-P", "SERIES"),
        ("-P", "IMAGE"),
        ("-S", "STUDY"),
        ("-S", "SERIES"),
        ("-S", "IMAGE"),
    ],
)
async def test_every_level_by_c_get(
    bridge: Bridge, client: httpx.Client, tmp_path: Path, level: str, root: str
) -> None:
    samples = study_of(2, 3)
    store(client, *(sample.encode() for sample in samples))
    wanted = {"SERIES": [one for one in samples if one.series == samples[0].series], "IMAGE": samples[:2]}.get(level)
    keys = keys_of(level, samples[0], [one.sop for one in samples[:2]])
    if root == "-S":
        keys = tuple(key for key in keys if not key.startswith("PatientID"))
    await getscu(bridge, tmp_path, keys=keys, root=root)
    assert tokens(tmp_path) == expected(samples if wanted is None else wanted)


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
async def test_every_level_by_c_move(bridge: Bridge, client: httpx.Client, tmp_path: Path, level: str) -> None:
    samples = study_of(2, 3)
    store(client, *(sample.encode() for sample in samples))
    wanted = {"SERIES": [one for one in samples if one.series == samples[0].series], "IMAGE": samples[:2]}.get(level)
    async with storescp(tmp_path / "in") as port:
        bridge.peers["DEST"] = Peer("DEST", "localhost", port)
        keys = keys_of(level, samples[0], [one.sop for one in samples[:2]])
        said = await movescu(bridge, "DEST", keys=keys, root="-P")
    assert "Received Final Move Response (Success)" in said
    assert tokens(tmp_path / "in") == expected(samples if wanted is None else wanted)
