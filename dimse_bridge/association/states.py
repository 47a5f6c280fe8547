"""Table: the state machine of PS3.8 Table 9-10: event and state give an action; actions are those of 9-6 to 9-9."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Final


class State(IntEnum):
    """PS3.8 Tables 9-1 to 9-5; the numbers are the standard's."""

    IDLE = 1
    AWAITING_REQUEST = 2
    AWAITING_LOCAL_RESPONSE = 3
    AWAITING_TRANSPORT = 4
    AWAITING_RESPONSE = 5
    ESTABLISHED = 6
    AWAITING_RELEASE_RP = 7
    AWAITING_LOCAL_RELEASE = 8
    COLLISION_REQUESTOR_AWAITING_LOCAL = 9
    COLLISION_ACCEPTOR_AWAITING_RP = 10
    COLLISION_REQUESTOR_AWAITING_RP = 11
    COLLISION_ACCEPTOR_AWAITING_LOCAL = 12
    AWAITING_CLOSE = 13


class Event(IntEnum):
    """The rows of PS3.8 Table 9-10; the numbers are those of its "Evt" column."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMED = 2
    AC_PDU = 3
    RJ_PDU = 4
    TRANSPORT_INDICATION = 5
    RQ_PDU = 6
    ACCEPT = 7
    REJECT = 8
    P_DATA_REQUEST = 9
    P_DATA_PDU = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ_PDU = 12
    RELEASE_RP_PDU = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT_PDU = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


_ROWS: Final = {
    #                             1    2    3    4    5    6    7    8    9    10    11   12   13
    Event.ASSOCIATE_REQUEST:    "AE-1 -    -    -    -    -    -    -    -    -     -    -    -",
    Event.TRANSPORT_CONFIRMED:  "-    -    -    AE-2 -    -    -    -    -    -     -    -    -",
    Event.AC_PDU:               "-    AA-1 AA-8 -    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6",
    Event.RJ_PDU:               "-    AA-1 AA-8 -    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6",
    Event.TRANSPORT_INDICATION: "AE-5 -    -    -    -    -    -    -    -    -     -    -    -",
    Event.RQ_PDU:               "-    AE-6 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7",
    Event.ACCEPT:               "-    -    AE-7 -    -    -    -    -    -    -     -    -    -",
    Event.REJECT:               "-    -    AE-8 -    -    -    -    -    -    -     -    -    -",
    Event.P_DATA_REQUEST:       "-    -    -    -    -    DT-1 -    AR-7 -    -     -    -    -",
    Event.P_DATA_PDU:           "-    AA-1 AA-8 -    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6",
    Event.RELEASE_REQUEST:      "-    -    -    -    -    AR-1 -    -    -    -     -    -    -",
    Event.RELEASE_RQ_PDU:       "-    AA-1 AA-8 -    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6",
    Event.RELEASE_RP_PDU:       "-    AA-1 AA-8 -    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3 AA-8 AA-6",
    Event.RELEASE_RESPONSE:     "-    -    -    -    -    -    -    AR-4 AR-9 -     -    AR-4 -",
    Event.ABORT_REQUEST:        "-    -    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1 AA-1 -",
    Event.ABORT_PDU:            "-    AA-2 AA-3 -    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3 AA-3 AA-2",
    Event.TRANSPORT_CLOSED:     "-    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4 AA-4 AR-5",
    Event.ARTIM_EXPIRED:        "-    AA-2 -    -    -    -    -    -    -    -     -    -    AA-2",
    Event.INVALID_PDU:          "-    AA-1 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7",
}  # fmt: skip

TRANSITIONS: Final = MappingProxyType(
    {
        (event, State(number)): action
        for event, row in _ROWS.items()
        for number, action in enumerate(row.split(), 1)
        if action != "-"
    }
)
