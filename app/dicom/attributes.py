"""THE table of attributes that searches know: keyword, level, matching kind, catalog column, returned by default.

It drives QIDO-RS (PS3.18 10.6), the SQL, the OpenAPI document and the conformance statement. Tags and VRs come from the
data dictionary (PS3.6). Any other study or series attribute (`LEVEL_OF`) can be matched too, without a column."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pydicom.datadict import dictionary_VR, tag_for_keyword

Level = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
Matching = Literal["uid", "text", "name", "date", "time", "integer", "set", "computed"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row. `column` is in the catalog's table of that level; "" means matched through the series' value sets."""

    keyword: str
    tag: int
    vr: str
    level: Level
    matching: Matching
    column: str
    default: bool
    """Returned when nothing was asked for (PS3.18 Tables 10.6.3-3 to -5)."""

    @property
    def hex(self) -> str:
        """The tag as eight upper-case hexadecimal digits."""
        return f"{self.tag:08X}"


def of_keyword(keyword: str, level: Level, matching: Matching, column: str = "", default: bool = True) -> Attribute:
    """A row, with what the data dictionary says of the attribute."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is not in the data dictionary")
    return Attribute(keyword, int(tag), dictionary_VR(tag), level, matching, column, default)


TABLE: tuple[Attribute, ...] = (
    of_keyword("SpecificCharacterSet", "STUDY", "text"),
    of_keyword("StudyDate", "STUDY", "date", "study_date"),
    of_keyword("StudyTime", "STUDY", "time", "study_time"),
    of_keyword("AccessionNumber", "STUDY", "text", "accession_number"),
    of_keyword("InstanceAvailability", "STUDY", "computed"),
    of_keyword("ModalitiesInStudy", "STUDY", "set", "modalities"),
    of_keyword("SOPClassesInStudy", "STUDY", "set", "sop_classes"),
    of_keyword("ReferringPhysicianName", "STUDY", "name", "referring_physician_name"),
    of_keyword("TimezoneOffsetFromUTC", "STUDY", "text"),
    of_keyword("StudyDescription", "STUDY", "text", "study_description"),
    of_keyword("RetrieveURL", "STUDY", "computed"),
    of_keyword("PatientName", "PATIENT", "name", "patient_name"),
    of_keyword("PatientID", "PATIENT", "text", "patient_id"),
    of_keyword("IssuerOfPatientID", "PATIENT", "text", "issuer_of_patient_id"),
    of_keyword("PatientBirthDate", "PATIENT", "date", "patient_birth_date"),
    of_keyword("PatientSex", "PATIENT", "text", "patient_sex"),
    of_keyword("StudyInstanceUID", "STUDY", "uid", "uid"),
    of_keyword("StudyID", "STUDY", "text", "study_id_text"),
    of_keyword("NumberOfStudyRelatedSeries", "STUDY", "integer", "series_count"),
    of_keyword("NumberOfStudyRelatedInstances", "STUDY", "integer", "instance_count"),
    of_keyword("Modality", "SERIES", "text", "modality"),
    of_keyword("SeriesDescription", "SERIES", "text", "series_description"),
    of_keyword("SeriesInstanceUID", "SERIES", "uid", "uid"),
    of_keyword("SeriesNumber", "SERIES", "integer", "series_number"),
    of_keyword("NumberOfSeriesRelatedInstances", "SERIES", "integer", "instance_count"),
    of_keyword("PerformedProcedureStepStartDate", "SERIES", "date", "step_start_date"),
    of_keyword("PerformedProcedureStepStartTime", "SERIES", "time", "step_start_time"),
    of_keyword("RequestAttributesSequence", "SERIES", "text"),
    of_keyword("SOPClassUID", "IMAGE", "uid", "sop_class"),
    of_keyword("SOPInstanceUID", "IMAGE", "uid", "uid"),
    of_keyword("AvailableTransferSyntaxUID", "IMAGE", "uid", "transfer_syntax"),
    of_keyword("InstanceNumber", "IMAGE", "integer", "instance_number"),
    of_keyword("Rows", "IMAGE", "integer"),
    of_keyword("Columns", "IMAGE", "integer"),
    of_keyword("BitsAllocated", "IMAGE", "integer"),
    of_keyword("NumberOfFrames", "IMAGE", "integer"),
)
BY_TAG = MappingProxyType({row.tag: row for row in TABLE})

_PATIENT = """PatientName PatientID IssuerOfPatientID TypeOfPatientID IssuerOfPatientIDQualifiersSequence
PatientBirthDate PatientBirthTime PatientSex QualityControlSubject OtherPatientIDs OtherPatientIDsSequence
OtherPatientNames PatientBirthName PatientMotherBirthName EthnicGroup EthnicGroups PatientComments
PatientSpeciesDescription
PatientSpeciesCodeSequence PatientBreedDescription PatientBreedCodeSequence BreedRegistrationSequence
ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization PatientIdentityRemoved DeidentificationMethod
DeidentificationMethodCodeSequence PatientReligiousPreference PatientAddress PatientTelephoneNumbers
PatientInsurancePlanCodeSequence PatientPrimaryLanguageCodeSequence CountryOfResidence RegionOfResidence
MilitaryRank BranchOfService ReferencedPatientSequence ClinicalTrialSponsorName ClinicalTrialProtocolID
ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
ClinicalTrialSubjectReadingID""".split()
_STUDY = """SpecificCharacterSet TimezoneOffsetFromUTC StudyDate StudyTime AccessionNumber
IssuerOfAccessionNumberSequence ReferringPhysicianName ReferringPhysicianIdentificationSequence
ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers ConsultingPhysicianName StudyDescription
ProcedureCodeSequence PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
PhysiciansReadingStudyIdentificationSequence RequestingService RequestingPhysician ReferencedStudySequence
StudyInstanceUID StudyID AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize
PatientWeight PatientSizeCodeSequence PatientBodyMassIndex MedicalAlerts Allergies Occupation SmokingStatus
AdditionalPatientHistory PregnancyStatus LastMenstrualDate PatientSexNeutered PatientState AdmissionID
IssuerOfAdmissionIDSequence ServiceEpisodeID ServiceEpisodeDescription RequestedProcedureID
RequestedProcedureDescription RequestedProcedureCodeSequence ReasonForTheRequestedProcedure InstitutionalDepartmentName
ClinicalTrialTimePointID ClinicalTrialTimePointDescription""".split()
_SERIES = """Modality SeriesInstanceUID SeriesNumber Laterality SeriesDate SeriesTime PerformingPhysicianName
PerformingPhysicianIdentificationSequence ProtocolName SeriesDescription SeriesDescriptionCodeSequence OperatorsName
OperatorIdentificationSequence ReferencedPerformedProcedureStepSequence BodyPartExamined PatientPosition
RequestAttributesSequence PerformedProcedureStepID PerformedProcedureStepStartDate PerformedProcedureStepStartTime
PerformedProcedureStepEndDate PerformedProcedureStepEndTime PerformedProcedureStepDescription
PerformedProtocolCodeSequence CommentsOnThePerformedProcedureStep AnatomicalOrientationType
ClinicalTrialCoordinatingCenterName ClinicalTrialSeriesID ClinicalTrialSeriesDescription Manufacturer InstitutionName
InstitutionAddress StationName ManufacturerModelName DeviceSerialNumber SoftwareVersions GantryID
SpatialResolution DateOfLastCalibration TimeOfLastCalibration FrameOfReferenceUID PositionReferenceIndicator
SynchronizationFrameOfReferenceUID TreatmentSessionUID""".split()


def _levels() -> dict[int, Level]:
    levels: dict[int, Level] = {}
    for level, keywords in (("PATIENT", _PATIENT), ("STUDY", _STUDY), ("SERIES", _SERIES)):
        for keyword in keywords:
            tag = tag_for_keyword(keyword)
            if tag is not None:
                levels[int(tag)] = level  # type: ignore[assignment]
    return levels


LEVEL_OF = MappingProxyType(_levels())
"""Tag → level, for every attribute of the patient, study and series modules (PS3.3 C.7.1 to C.7.5, C.7.3). Whatever is
not in it, private attributes included, belongs to the instance."""

REQUEST_ATTRIBUTES = 0x00400275
OF_REQUEST = frozenset({0x00401001, 0x00321060})
"""Requested Procedure ID and Description: images seldom have them but in items of the Request Attributes Sequence, so
they are matched, and answered, there too (PS3.3 C.7.3.1, Table 10-9)."""

INDEXED = frozenset(row.tag for row in TABLE if row.column and row.matching not in ("set", "computed")) | {0x00280008}
"""Top-level tags whose values the catalog wants (`Header.values`)."""

INSTANCE_DEFAULT = frozenset(row.tag for row in TABLE if row.level == "IMAGE" and row.default)
"""Top-level tags that a search for instances returns by default, beside those of its study and series."""
