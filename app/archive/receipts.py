"""What became of each instance of a store request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.dicom.header import HeaderWarning
from app.dicom.status import STATUSES, Outcome


@dataclass(frozen=True, slots=True)
class Receipt:
    """One instance. UIDs are empty where they could not be read; `comment` says why a store failed."""

    outcome: Outcome
    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""
    series: str = ""
    comment: str = ""
    warnings: Sequence[HeaderWarning] = ()

    @property
    def stored(self) -> bool:
        """Whether the instance is in the archive."""
        return self.outcome in STORED

    @property
    def retry(self) -> bool:
        """Whether the same instance may be stored later."""
        return STATUSES[self.outcome].retry


STORED = frozenset(outcome for outcome, status in STATUSES.items() if status.http in (200, 202))


def http_status(receipts: Sequence[Receipt]) -> int:
    """The status of the whole request (PS3.18 10.5.3.1): 200 all stored, 202 some or with warnings, else what failed:
    the one status that all failures share, 409 when they differ."""
    outcomes = {receipt.outcome for receipt in receipts}
    if outcomes <= {Outcome.STORED}:
        return 200
    if outcomes & STORED:
        return 202
    codes = {STATUSES[outcome].http for outcome in outcomes}
    return codes.pop() if len(codes) == 1 else 409
