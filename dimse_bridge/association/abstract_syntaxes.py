"""Table: abstract syntaxes: which right of a peer each needs, and which storage classes are no images."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from app.dicom.storage_classes import STORAGE_ROOT
from dimse_bridge.association import commands
from dimse_bridge.association.commands import C_ECHO_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_STORE_RQ
from dimse_bridge.association.context import Context

VERIFICATION: Final = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
MODALITY_WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"
PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
PERFORMED_STEP_RETRIEVE: Final = "1.2.840.10008.3.1.2.3.4"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"

RIGHTS: Final = MappingProxyType(
    {
        VERIFICATION: "echo",
        PATIENT_ROOT_FIND: "find",
        STUDY_ROOT_FIND: "find",
        PATIENT_ROOT_MOVE: "move",
        STUDY_ROOT_MOVE: "move",
        PATIENT_ROOT_GET: "get",
        STUDY_ROOT_GET: "get",
        PERFORMED_STEP: "mpps",
        PERFORMED_STEP_RETRIEVE: "mpps",
        STORAGE_COMMITMENT: "commitment",
        MODALITY_WORKLIST_FIND: "worklist",
    }
)
"""The services that are there (PS3.4 A.4, C.6, K.5); storage is told by `app.dicom.storage_classes`."""

_OPERATIONS = MappingProxyType(
    {
        C_ECHO_RQ: {"echo"},
        C_STORE_RQ: {"store"},
        C_FIND_RQ: {"find", "worklist"},
        C_GET_RQ: {"get"},
        C_MOVE_RQ: {"move"},
    }
)
"""Which of the rights the SOP classes need that a request is an operation of."""


_NORMALIZED = frozenset(
    {
        (commands.N_CREATE_RQ, PERFORMED_STEP),
        (commands.N_SET_RQ, PERFORMED_STEP),
        (commands.N_GET_RQ, PERFORMED_STEP_RETRIEVE),
        (commands.N_ACTION_RQ, STORAGE_COMMITMENT),
    }
)
"""DIMSE-N requests that are taken, and the SOP classes whose operations they are (PS3.4 F.7, F.8, J.3)."""


def has_operation(context: Context, command_field: int) -> bool:
    """Whether the request is an operation of the context's SOP class of which we are the SCP (PS3.4 A.3, B.2, C.4,
    K.4), or a notification to us as its SCU (J.3.3); some report without having negotiated roles."""
    if command_field == commands.N_EVENT_REPORT_RQ:
        return context.abstract_syntax == STORAGE_COMMITMENT
    if (command_field, context.abstract_syntax) in _NORMALIZED:
        return context.scp
    return context.scp and RIGHTS.get(context.abstract_syntax, "store") in _OPERATIONS.get(command_field, ())


_S = STORAGE_ROOT
_NON_IMAGES = frozenset(
    {
        _S + "4.2",  # MR Spectroscopy
        _S + "66",  # Raw Data
        _S + "67",  # Real World Value Mapping
        _S + "104.1",  # Encapsulated PDF
        _S + "104.2",  # Encapsulated CDA
        _S + "104.3",  # Encapsulated STL
        _S + "104.4",  # Encapsulated OBJ
        _S + "104.5",  # Encapsulated MTL
        _S + "129",  # Standalone PET Curve
        _S + "9",  # Standalone Curve
        _S + "8",  # Standalone Overlay
        _S + "10",  # Standalone Modality LUT
        _S + "11",  # Standalone VOI LUT
        _S + "481.2",  # RT Dose
        _S + "481.3",  # RT Structure Set
        _S + "481.4",  # RT Beams Treatment Record
        _S + "481.5",  # RT Plan
        _S + "481.6",  # RT Brachy Treatment Record
        _S + "481.7",  # RT Treatment Summary Record
        _S + "481.8",  # RT Ion Plan
        _S + "481.9",  # RT Ion Beams Treatment Record
    }
)
_NON_IMAGE_FAMILIES = (
    _S + "9.",  # waveforms
    _S + "11.",  # presentation states
    _S + "66.",  # registrations, fiducials, deformations, segmentations
    _S + "88.",  # structured reports, key objects, CAD, dose
)


def is_non_image(uid: str) -> bool:
    """Whether a storage class carries no image, as table 7 of the DxServer 7 conformance statement divides them."""
    return uid in _NON_IMAGES or uid.startswith(_NON_IMAGE_FAMILIES)
