"""Table: the attributes of a worklist item by PS3.4 Table K.6-1: where they stand, how they are matched, their return
key type. Types 1, 1C, 2 and 2C are in every item, without a value when nothing is known; those of type 3 are in it when
somebody gave them. Whatever has no column is matched on the item's text."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from app.dicom.attributes import LEVEL_OF, Attribute, Matching, of_keyword

STEP_SEQUENCE = 0x00400100
"""Scheduled Procedure Step Sequence: one item in each worklist item."""


@dataclass(frozen=True, slots=True)
class WorklistKey:
    """One row. `in_step`: inside the item of the Scheduled Procedure Step Sequence. `column` is in the catalog's table
    `worklist_item`; "" means matched on the text."""

    attribute: Attribute
    in_step: bool
    return_type: str

    @property
    def path(self) -> tuple[int, ...]:
        """The tags from the data set down to the attribute."""
        return (STEP_SEQUENCE, self.attribute.tag) if self.in_step else (self.attribute.tag,)

    @property
    def column(self) -> str:
        """Its column."""
        return self.attribute.column

    @property
    def is_always_there(self) -> bool:
        """Whether every item has it."""
        return self.return_type != "3"


def _root(keyword: str, return_type: str, matching: Matching = "text", column: str = "") -> WorklistKey:
    return WorklistKey(of_keyword(keyword, "STUDY", matching, column), False, return_type)


def _step(keyword: str, return_type: str, matching: Matching = "text", column: str = "") -> WorklistKey:
    return WorklistKey(of_keyword(keyword, "STUDY", matching, column), True, return_type)


KEYS: tuple[WorklistKey, ...] = (
    # SOP Common
    _root("SpecificCharacterSet", "3"),
    # Scheduled Procedure Step
    _root("ScheduledProcedureStepSequence", "1"),
    _step("Modality", "1", "text", "modality"),
    _step("AnatomicalOrientationType", "3"),
    _step("RequestedContrastAgent", "2C"),
    _step("ScheduledStationAETitle", "1", "set", "station_aets"),
    _step("ScheduledProcedureStepStartDate", "1", "date", "step_date"),
    _step("ScheduledProcedureStepStartTime", "1", "time", "step_time"),
    _step("ScheduledProcedureStepEndDate", "3", "date"),
    _step("ScheduledProcedureStepEndTime", "3", "time"),
    _step("ScheduledPerformingPhysicianName", "2", "name", "performing_physician_name"),
    _step("ScheduledProcedureStepDescription", "1C"),
    _step("ScheduledProtocolCodeSequence", "1C"),
    _step("ScheduledProcedureStepID", "1", "text", "step_id"),
    _step("ScheduledStationName", "2", "set", "station_names"),
    _step("ScheduledProcedureStepLocation", "2", "text", "step_location"),
    _step("PreMedication", "2C"),
    _step("ScheduledProcedureStepStatus", "3"),
    _step("CommentsOnTheScheduledProcedureStep", "3"),
    _root("ScheduledSpecimenSequence", "3"),
    # Requested Procedure
    _root("RequestedProcedureID", "1", "text", "procedure_id"),
    _root("RequestedProcedureDescription", "1C", "text", "procedure_description"),
    _root("RequestedProcedureCodeSequence", "1C"),
    _root("StudyInstanceUID", "1", "uid", "study_uid"),
    _root("StudyDate", "3", "date"),
    _root("StudyTime", "3", "time"),
    _root("ReferencedStudySequence", "2"),
    _root("RequestedProcedurePriority", "2"),
    _root("PatientTransportArrangements", "2"),
    _root("RequestedProcedureLocation", "3"),
    _root("RequestedProcedureComments", "3"),
    _root("ReasonForTheRequestedProcedure", "3"),
    _root("ReasonForRequestedProcedureCodeSequence", "3"),
    _root("ConfidentialityCode", "3"),
    _root("ReportingPriority", "3"),
    _root("NamesOfIntendedRecipientsOfResults", "3"),
    # Imaging Service Request
    _root("AccessionNumber", "2", "text", "accession_number"),
    _root("IssuerOfAccessionNumberSequence", "3"),
    _root("RequestingPhysician", "2", "name"),
    _root("ReferringPhysicianName", "2", "name", "referring_physician_name"),
    _root("RequestingService", "3"),
    _root("ImagingServiceRequestComments", "3"),
    _root("PlacerOrderNumberImagingServiceRequest", "3"),
    _root("FillerOrderNumberImagingServiceRequest", "3"),
    _root("OrderEnteredBy", "3"),
    _root("OrderEntererLocation", "3"),
    _root("OrderCallbackPhoneNumber", "3"),
    # Visit
    _root("AdmissionID", "2"),
    _root("IssuerOfAdmissionIDSequence", "3"),
    _root("InstitutionName", "3"),
    _root("AdmittingDiagnosesDescription", "3"),
    _root("CurrentPatientLocation", "2"),
    _root("ReferencedPatientSequence", "2"),
    # Patient
    _root("PatientName", "1", "name", "patient_name"),
    _root("PatientID", "1", "text", "patient_id"),
    _root("IssuerOfPatientID", "3", "text", "issuer_of_patient_id"),
    _root("IssuerOfPatientIDQualifiersSequence", "3"),
    _root("OtherPatientIDsSequence", "3"),
    _root("PatientBirthDate", "2", "date"),
    _root("PatientSex", "2"),
    _root("PatientPrimaryLanguageCodeSequence", "3"),
    _root("PatientSize", "3"),
    _root("PatientWeight", "2"),
    _root("ConfidentialityConstraintOnPatientDataDescription", "2"),
    _root("PatientState", "2"),
    _root("PregnancyStatus", "2"),
    _root("MedicalAlerts", "2"),
    _root("Allergies", "2"),
    _root("SpecialNeeds", "2"),
    _root("EthnicGroup", "3"),
    _root("PatientComments", "3"),
    _root("AdditionalPatientHistory", "3"),
    _root("LastMenstrualDate", "3", "date"),
)

BY_PATH = MappingProxyType({key.path: key for key in KEYS})
_KNOWN = frozenset(key.attribute.tag for key in KEYS if not key.in_step)


def is_known(tag: int) -> bool:
    """Whether an attribute at the top of an identifier belongs to the modules of the model (PS3.4 K.6.1.2.1): those of
    the table, and any other one of patients and studies."""
    return tag in _KNOWN or LEVEL_OF.get(tag) in ("PATIENT", "STUDY")
