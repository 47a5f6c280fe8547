"""Performed procedure steps as modalities send them: as data sets of pydicom, and as DICOM JSON."""

from __future__ import annotations

import json
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

WRONG_ENTRY = ("110514", "DCM", "Incorrect worklist entry selected")


def beginning(study: str, *, step_id: str = "SPS1", **attributes: object) -> Dataset:
    """The attributes of an N-CREATE (PS3.4 Table F.7.2-1)."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study
    scheduled.ScheduledProcedureStepID = step_id
    scheduled.AccessionNumber = "ACC1"
    ds = Dataset()
    ds.Modality = "CT"
    ds.PatientName, ds.PatientID = "Step^Performed", "STEP1"
    ds.PerformedStationAETitle = "CT1"
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = "20240229", "101500"
    ds.PerformedProcedureStepID = "PPS1"
    ds.PerformedProcedureStepStatus = "IN PROGRESS"
    ds.ScheduledStepAttributesSequence = Sequence([scheduled])
    ds.PerformedSeriesSequence = Sequence([])
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def ending(images: list[Dataset], status: str = "COMPLETED", *, wrong_entry: bool = False) -> Dataset:
    """The attributes of the last N-SET, which references `images`, all of one series."""
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    ds.PerformedProcedureStepEndDate, ds.PerformedProcedureStepEndTime = "20240229", "103000"
    series = Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID if images else "1.2.3"
    series.ProtocolName = "Head"
    series.ReferencedImageSequence = Sequence([reference(image) for image in images])
    ds.PerformedSeriesSequence = Sequence([series])
    if wrong_entry:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = WRONG_ENTRY
        ds.PerformedProcedureStepDiscontinuationReasonCodeSequence = Sequence([code])
    return ds


def reference(image: Dataset) -> Dataset:
    """An item that references an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def as_json(ds: Dataset) -> dict[str, Any]:
    """The data set as DICOM JSON."""
    found: dict[str, Any] = json.loads(ds.to_json())
    return found
