"""The rows of the lists of SOP classes and transfer syntaxes, by product and role, and which of them wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.dicom.transfer_syntaxes import IMPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
    is_non_image,
)
from tests.requirements.instances import rows
from tests.requirements.test_storage import STORAGE_ROOT, listed_classes

SEEDS = ("xpacs", "dxserver", "onepacs")
ELSEWHERE_CLASSES = {"1.2.840.10008.5.1.4.31", "1.2.840.10008.1.20.1", "1.2.840.10008.3.1.2.3.3"}
ELSEWHERE_SERVICES = {"MWL C-FIND", "MWL C-FIND (DxBroker AE)", "Storage Commitment Push Model", "MPPS"}
"""What other tests try row by row: `tests/dimse/worklist`, `tests/dimse/procedures`. The last two wait as user."""
IMPORTED = "Media import (FSR)"
"""No DIMSE: files."""
SUBOPERATION = "C-GET sub-operation C-STORE"
OPERATIONS = {
    "C-ECHO": VERIFICATION,
    "C-ECHO (DxBroker AE)": VERIFICATION,
    "C-FIND Patient Root": PATIENT_ROOT_FIND,
    "C-FIND Study Root": STUDY_ROOT_FIND,
    "C-GET Patient Root": PATIENT_ROOT_GET,
    "C-GET Study Root": STUDY_ROOT_GET,
    SUBOPERATION: STUDY_ROOT_GET,
    "C-MOVE Patient Root": PATIENT_ROOT_MOVE,
    "C-MOVE Study Root": STUDY_ROOT_MOVE,
}
"""Service → the SOP class of its request."""


class Row(NamedTuple):
    """One operation of a product."""

    seed: str
    service: str
    syntax: str


class Pair(NamedTuple):
    """A storage class in a transfer syntax."""

    sop_class: str
    syntax: str


def operations(role: str) -> list[Row]:
    """The rows about Verification, Query and Retrieve in this role. XPACS and DxServer do not list the transfer
    syntaxes of some: the default one, then."""
    listed = rows("transfer_syntaxes.csv")
    found = [Row(row["seed"], row["service"], row["uid"]) for row in listed if row["role"] == role]
    found = [row for row in found if row.service in OPERATIONS]
    told = {(row.seed, OPERATIONS[row.service]) for row in found}
    services = {uid: service for service, uid in reversed(OPERATIONS.items()) if service != SUBOPERATION}
    for row in rows("sop_classes.csv"):
        if row["uid"] in services and row[role.lower()] == "yes" and (row["seed"], row["uid"]) not in told:
            found.append(Row(row["seed"], services[row["uid"]], IMPLICIT_LE))
    return found


def storage_classes(seed: str, role: str) -> list[str]:
    """The storage classes of a product; for one that takes any, all that are listed and an unknown one."""
    uids = {row["uid"] for row in rows("sop_classes.csv") if row["seed"] == seed and row[role.lower()] == "yes"}
    return sorted(listed_classes() if STORAGE_ROOT + "*" in uids else {u for u in uids if u.startswith(STORAGE_ROOT)})


def storage_syntaxes(seed: str, role: str, sop_class: str) -> list[str]:
    """The transfer syntaxes of a class: DxServer has fewer for those without images."""
    found = []
    for row in rows("transfer_syntaxes.csv"):
        _, _, which = row["service"].partition("C-STORE ")
        of_class = not which or which.startswith("non-image") == is_non_image(sop_class)
        if (row["seed"], row["role"]) == (seed, role) and row["service"].startswith("C-STORE") and of_class:
            found.append(row["uid"])
    return found


def pairs(seed: str, role: str) -> list[Pair]:
    """Everything that a product stores in this role."""
    classes = storage_classes(seed, role)
    return [Pair(uid, syntax) for uid in classes for syntax in storage_syntaxes(seed, role, uid)]


def in_groups(found: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    """As many as an association holds."""
    for start in range(0, len(found), size):
        yield found[start : start + size]
