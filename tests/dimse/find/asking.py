"""Queries by pynetdicom, as any SCU asks them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from app.dicom.transfer_syntaxes import EXPLICIT_LE
from tests.dimse.find.conftest import CALLED, Bridge
from tests.dimse.find.encoding import PATIENT_ROOT, STUDY_ROOT


@dataclass
class Reply:
    """What came back: the statuses of the pending responses, the identifiers, and the final response."""

    final: Dataset
    pending: list[int] = field(default_factory=list)
    identifiers: list[Dataset] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.final.Status)

    def values(self, keyword: str) -> list[str]:
        return sorted(str(found.get(keyword)) for found in self.identifiers)


@contextmanager
def associated(
    bridge: Bridge, peer: str = "STANDARD", syntaxes: Sequence[str] = (EXPLICIT_LE,)
) -> Iterator[Association]:
    """An association with a context for each root, by the AE title `peer`."""
    ae = AE(ae_title=peer)
    for model in (STUDY_ROOT, PATIENT_ROOT):
        ae.add_requested_context(model, list(syntaxes))
    association = ae.associate("127.0.0.1", bridge.port, ae_title=CALLED)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def ask(association: Association, keys: Dataset, model: str = STUDY_ROOT) -> Reply:
    """One query to its end."""
    pending: list[int] = []
    identifiers: list[Dataset] = []
    for status, found in association.send_c_find(keys, model):
        if found is None:
            return Reply(status, pending, identifiers)
        found.decode()
        pending.append(int(status.Status))
        identifiers.append(found)
    raise AssertionError("no final response")
