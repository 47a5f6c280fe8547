"""A bridge before an archive whose worklist is these tests' own, a peer for each preset, and questions to it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from app.dicom.peer import PRESETS
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import MODALITY_WORKLIST_FIND
from tests.dimse.find.asking import Reply
from tests.dimse.find.asking import ask as ask_model
from tests.support.archive import RunningArchive, free_port, start_archive
from tests.support.bridge import RunningBridge, start_bridge

CALLED = "FILEROOM"
BEHAVIOURS: dict[str, object] = {name.upper(): name for name in PRESETS} | {
    "CT1": {"worklist_stations": "own"},
    "DEAF": {"find_cancel": False},
}


@pytest.fixture(scope="session")
def worklist_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """An archive of these tests alone."""
    settings = {"FILEROOM_WORKERS": "1", "FILEROOM_HL7_PORT": str(free_port())}
    settings |= {"FILEROOM_WORKLIST_SECONDS": "0.2", "FILEROOM_WORKLIST_IMAGES_MINUTES": "0"}
    running = start_archive(tmp_path_factory.mktemp("worklist") / "data", **settings)  # type: ignore[arg-type]
    with httpx.Client(base_url=running.url) as client:
        for name, behaviour in BEHAVIOURS.items():
            assert client.put(f"/peers/{name}", json={"behaviour": behaviour}).status_code == 201
        client.put("/peers/GREEK", json={"character_set": "ISO_IR 126"})
        client.put("/peers/NOBODY", json={"may": ["echo", "find"]})
        client.put("/peers/LOSER", json={"may": ["worklist"]})
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def client(worklist_archive: RunningArchive) -> Iterator[httpx.Client]:
    """Requests below the archive's DICOMweb root."""
    with httpx.Client(base_url=worklist_archive.root, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def bridge(worklist_archive: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """The bridge before it."""
    running = start_bridge(tmp_path_factory.mktemp("bridge"), worklist_archive.root, FILEROOM_DIMSE_WORKERS="1")
    yield running
    assert running.stop() == 0


@contextmanager
def associated(port: int, peer: str = "STANDARD", syntaxes: Sequence[str] = (EXPLICIT_LE,)) -> Iterator[Association]:
    """An association for the worklist, by the AE title `peer`."""
    ae = AE(ae_title=peer)
    ae.add_requested_context(MODALITY_WORKLIST_FIND, list(syntaxes))
    association = ae.associate("127.0.0.1", port, ae_title=CALLED)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def ask(association: Association, keys: Dataset) -> Reply:
    """One query to its end."""
    return ask_model(association, keys, MODALITY_WORKLIST_FIND)


def keys(step: Mapping[str, object] | None = None, /, **root: object) -> Dataset:
    """An identifier: keys of the step, and others; None for a key without a value."""
    ds = Dataset()
    for keyword, value in root.items():
        setattr(ds, keyword, value)
    inner = Dataset()
    for keyword, value in (step or {}).items():
        setattr(inner, keyword, value)
    if step is not None:
        ds.ScheduledProcedureStepSequence = [inner]
    return ds


def settle_peers() -> None:
    """A change of the peers counts after a second."""
    time.sleep(1.1)
