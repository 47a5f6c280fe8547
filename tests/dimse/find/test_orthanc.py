"""The same C-FIND before another DICOMweb server: only what PS3.18 has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from app.dicom.status import Progress
from tests.dimse.find.asking import ask, associated
from tests.dimse.find.conftest import Bridge
from tests.dimse.find.encoding import PATIENT_ROOT, identifier
from tests.requirements.instances import ROOT, encode, make
from tests.support.orthanc import Orthanc, orthanc

__all__ = ["orthanc"]
PATIENTS = ("ORTH-1", "ORTH-2")
STUDIES = [(f"7305.{number}", PATIENTS[number % 2]) for number in range(5)]


@pytest.fixture(scope="module")
def peer(orthanc: Orthanc) -> Iterator[Association]:
    for study, patient in STUDIES:
        for number in (1, 2):
            ds = make(
                study, number, PatientID=patient, PatientName=f"Ürbild^{patient}", SpecificCharacterSet="ISO_IR 100"
            )
            ds.StudyDescription, ds.InstanceNumber, ds.AccessionNumber = "Knee", number, study
            orthanc.request("POST", "/instances", encode(ds))
    bridge = Bridge(orthanc.root, ours=False)
    with associated(bridge) as association:
        yield association
    bridge.stop()


def asked(peer: Association, level: str, **keys: object) -> list[Dataset]:
    reply = ask(peer, identifier(level, SpecificCharacterSet="ISO_IR 192", **keys), PATIENT_ROOT)
    assert reply.status == Progress.DONE, reply.final
    return reply.identifiers


def test_studies_by_wild_card_range_and_list(peer: Association) -> None:
    found = asked(
        peer, "STUDY", PatientName="*bild^ORTH*", StudyInstanceUID=None, StudyDescription=None, PatientID=None
    )
    assert sorted(answer.StudyInstanceUID for answer in found) == [f"{ROOT}.{study}" for study, _ in STUDIES]
    assert {str(answer.StudyDescription) for answer in found} == {"Knee"}
    assert {answer.PatientID for answer in found} == set(PATIENTS)
    assert len(asked(peer, "STUDY", StudyDate="20240201-20240301", PatientID="ORTH-*")) == 5
    assert asked(peer, "STUDY", StudyDate="20240301-", PatientID="ORTH-*") == []
    assert len(asked(peer, "STUDY", StudyInstanceUID=[f"{ROOT}.7305.0", f"{ROOT}.7305.1"])) == 2
    assert len(asked(peer, "STUDY", ModalitiesInStudy=["OT", "CT"], PatientID="ORTH-1")) == 3


def test_lower_levels(peer: Association) -> None:
    (series,) = asked(peer, "SERIES", StudyInstanceUID=f"{ROOT}.7305.0", SeriesInstanceUID=None, Modality=None)
    assert (series.SeriesInstanceUID, series.Modality) == (f"{ROOT}.7305.0.1", "OT")
    place = {"StudyInstanceUID": f"{ROOT}.7305.0", "SeriesInstanceUID": f"{ROOT}.7305.0.1"}
    images = asked(peer, "IMAGE", **place, SOPInstanceUID=None, InstanceNumber=None, Rows=None)
    assert sorted(int(image.InstanceNumber) for image in images) == [1, 2]
    assert {image.Rows for image in images} == {4}
    assert {image.StudyInstanceUID for image in images} == {f"{ROOT}.7305.0"}


def test_patients_are_grouped_from_studies(peer: Association) -> None:
    found = asked(peer, "PATIENT", PatientID="ORTH-*", PatientName=None)
    assert sorted(answer.PatientID for answer in found) == list(PATIENTS)
    counted = asked(peer, "PATIENT", PatientID="ORTH-1", NumberOfPatientRelatedStudies=None)
    assert [int(answer.NumberOfPatientRelatedStudies) for answer in counted] == [3]
