"""Table: HL7 v2 fields → attributes of a worklist item, as IHE RAD TF-2 4.1 and Appendix B map them, and where messages
of the field carry them. Of several places the first one that holds something counts. What a message does not mention
stays as it is; `""` empties it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "name", "person", "date", "moment", "sex", "code", "priority", "texts", "allergies", "pregnancy"]


@dataclass(frozen=True, slots=True)
class Mapped:
    """One attribute. `kind` says how its value is made of the field: `name` of XPN, `person` of XCN or NDL, `moment` is
    a time stamp for the two attributes of date and time, `code` is a code sequence of the component and the two behind
    it, `texts` all repetitions."""

    keyword: str
    places: tuple[str, ...]
    kind: Kind = "text"
    in_step: bool = False


def _root(keyword: str, places: str, kind: Kind = "text") -> Mapped:
    return Mapped(keyword, tuple(places.split()), kind)


def _step(keyword: str, places: str, kind: Kind = "text") -> Mapped:
    return Mapped(keyword, tuple(places.split()), kind, in_step=True)


PATIENT: tuple[Mapped, ...] = (
    _root("PatientID", "PID-3.1 PID-2.1"),
    _root("IssuerOfPatientID", "PID-3.4.1"),
    _root("PatientName", "PID-5", "name"),
    _root("PatientBirthDate", "PID-7.1", "date"),
    _root("PatientSex", "PID-8.1", "sex"),
    _root("Allergies", "AL1-3", "allergies"),
)
"""What ADT messages change."""
ORDER: tuple[Mapped, ...] = (
    *PATIENT,
    _root("AdmissionID", "PV1-19.1 PID-18.1"),
    _root("CurrentPatientLocation", "PV1-3"),
    _root("ReferringPhysicianName", "PV1-8", "person"),
    _root("ConfidentialityConstraintOnPatientDataDescription", "PV1-16.1"),
    _root("PregnancyStatus", "PV1-15.1", "pregnancy"),
    _root("MedicalAlerts", "OBR-13.1", "texts"),
    _root("PatientState", "OBR-12.2 OBR-12.1"),
    _root("PatientTransportArrangements", "OBR-30.1"),
    _root("AccessionNumber", "IPC-1.1 OBR-18.1"),
    _root("RequestedProcedureID", "IPC-2.1 OBR-19.1"),
    _root("StudyInstanceUID", "IPC-3.1 ZDS-1.1"),
    _root("RequestedProcedureDescription", "OBR-44.2 OBR-4.2"),
    _root("RequestedProcedureCodeSequence", "OBR-44.1 OBR-4.1", "code"),
    _root("RequestedProcedurePriority", "TQ1-9.1 OBR-27.6 ORC-7.6 OBR-5.1", "priority"),
    _root("ReasonForTheRequestedProcedure", "OBR-31.2 OBR-31.1"),
    _root("RequestingPhysician", "ORC-12 OBR-16", "person"),
    _root("RequestingService", "ORC-17.2 ORC-17.1"),
    _root("PlacerOrderNumberImagingServiceRequest", "ORC-2.1 OBR-2.1"),
    _root("FillerOrderNumberImagingServiceRequest", "ORC-3.1 OBR-3.1"),
    _root("OrderEnteredBy", "ORC-10", "person"),
    _root("OrderEntererLocation", "ORC-13.1"),
    _root("OrderCallbackPhoneNumber", "ORC-14.1"),
    _step("Modality", "IPC-5.1 OBR-24.1"),
    _step("ScheduledStationName", "IPC-7.1"),
    _step("ScheduledProcedureStepLocation", "IPC-8.1"),
    _step("ScheduledProcedureStepStart", "TQ1-7.1 OBR-27.4 ORC-7.4 OBR-36.1", "moment"),
    _step("ScheduledProcedureStepID", "IPC-4.1 OBR-20.1"),
    _step("ScheduledProcedureStepDescription", "IPC-6.2 OBR-4.5 OBR-4.2"),
    _step("ScheduledProtocolCodeSequence", "IPC-6.1 OBR-4.4", "code"),
    _step("ScheduledPerformingPhysicianName", "OBR-34", "person"),
    _step("ScheduledStationAETitle", "IPC-9.1", "texts"),
)
"""What ORM^O01 and OMI^O23 say; the station's AE title of ORM^O01 stands where a setting says."""

SEXES = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O", "U": ""}
PRIORITIES = {"S": "STAT", "A": "HIGH", "P": "HIGH", "C": "HIGH", "T": "HIGH", "R": "ROUTINE"}
PREGNANT = "B6"
"""PV1-15 (HL7 table 0009); Pregnancy Status is then 3, definitely pregnant."""
WEIGHTS, SIZES = ("29463-7", "3141-9", "BODY WEIGHT"), ("8302-2", "3137-7", "BODY HEIGHT")
"""OBX-3, code or text: what an observation is about."""
UNITS = {"KG": 1.0, "G": 0.001, "LB": 0.45359237, "[LB_AV]": 0.45359237, "M": 1.0, "CM": 0.01, "[IN_I]": 0.0254}
"""OBX-6 → kilograms or metres."""

CONTROLS = {
    "NW": "new",
    "XO": "change",
    "XX": "change",
    "SN": "new",
    "RP": "change",
    "RO": "change",
    "SC": "status",
    "CA": "cancel",
    "OC": "cancel",
    "DC": "cancel",
    "OD": "cancel",
    "CR": "cancel",
}
"""ORC-1 (HL7 table 0119) → what is done."""
STATUSES = {"CA": "cancel", "DC": "cancel", "CM": "completed", "IP": "started"}
"""ORC-5 (HL7 table 0038) of a status change; others change nothing."""
