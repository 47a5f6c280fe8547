"""What another archive, DCMTK's dcmqrscp, has of the patients of today: for each two MR studies, and one CT study that
nobody wants."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from tests.e2e.day.department import Department
from tests.support.bridge import run_dcmtk
from tests.support.small_files import data_set, encode, new_uid

_CLASSES = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2"}
WANTED = {"where": {"ScheduledProcedureStepSequence.Modality": "MR"}, "modalities": ["same"], "most": 2}
"""The rule by which they are fetched."""


def remember(department: Department, folder: Path, patients: Iterable[str]) -> dict[str, list[Dataset]]:
    """Stores the past of `patients`, and lets the MR studies be fetched; those by patient."""
    wanted: dict[str, list[Dataset]] = {}
    folder.mkdir()
    number = 0
    for patient in patients:
        for modality, year in (("MR", 2021), ("MR", 2022), ("CT", 2023)):
            study = _study(patient, modality, f"{year}0301")
            if modality == "MR":
                wanted.setdefault(patient, []).extend(study)
            for image in study:
                number += 1
                (folder / f"{number}.dcm").write_bytes(encode(image))
    past = department.past
    status, said = run_dcmtk("storescu", "-aec", past.aet, "127.0.0.1", past.port, "+sd", folder)
    assert status == 0, said
    department.put("/prefetch-rules/mr", peer=past.aet, **WANTED)
    return wanted


def _study(patient: str, modality: str, date: str) -> list[Dataset]:
    """Two images of one series."""
    common = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid(), "SOPClassUID": _CLASSES[modality]}
    common |= {"PatientID": patient, "PatientName": f"Past^{patient}", "StudyDate": date, "Modality": modality}
    return [data_set(InstanceNumber=number, StudyTime="0800", **common) for number in (1, 2)]
