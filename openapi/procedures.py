"""Performed procedure steps and storage commitment in the conformance statement, from the tables that they run on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.dicom.commitment import FailureReason
from app.dicom.performed_step import ALLOWED, ENDED_COMMENT
from app.dicom.status import OUTCOME_OF_ERROR, STATUSES, STEP_ENDED_ERROR_ID
from openapi.markdown import table

_TEXT = """\
### 2.8 Modality performed procedure steps

PS3.18 15, and by the bridge N-CREATE, N-SET and N-GET. Every attribute is kept. What may come in each state, and what
else is answered (HTTP status, and as `reason` the status of DIMSE, with an Error Comment):

{states}

N-CREATE needs the attributes of type 1 of PS3.4 Table F.7.2-1, and COMPLETED the end's date and time and a series: 0120
names the missing ones. Another Performed Procedure Step Status than the state allows is 0106. After the end Error ID is
{error_id}, the comment "{comment}". A peer's behaviour can have C000 instead of 0106 and 0110. Anything else is C000.

*Ours*: a list of steps, which tells for a study whether it is COMPLETED: a step is, none is in progress, and every
instance that the completed ones reference is there (a setting). DISCONTINUED for DCM 110514 hides the instances that
the step references: those that are there, and those that are stored later, with success. Undoing the deletion, which
`GET /deletions` lists as `mpps` and the step's UID, shows them all and lets more come.

As SCU, and as user of PS3.18 15: routes of the event `mpps-message` tell each N-CREATE and N-SET that is taken to a
peer or a server, with all attributes, one after the other for each step, until it succeeds or its tries are over; what
follows one that failed waits for it. 0001, 0107 and 0116 are successes, and so is 0111 for an N-CREATE.

### 2.9 Storage commitment

PS3.18 13, and by the bridge the Push Model. An instance is committed when the bytes of every copy of it were read again
and have their digest. What has not come is looked for every `FILEROOM_COMMITMENT_SECONDS`, until
`FILEROOM_COMMITMENT_TIMEOUT_SECONDS` after the request. Reports of event type 1 and 2 go on the association of the
request while it stands, else on a new one with role selection (SCP), as often as `FILEROOM_COMMITMENT_TRIES` with
growing pauses, also after a restart. Neither Retrieve AE Title nor a media file-set is told. N-ACTION is answered 0112
(instance), 0115 (no Transaction UID or references), 0123 (action type), 0124, 0213 (over a limit, or the archive is
away), 0110. Nothing deletes committed instances but people, and a wrong worklist entry. Failure Reasons:

{reasons}

As SCU, and as user of PS3.18 13: after a transfer that wants it. The association of the N-ACTION is released after
`commitment_seconds` of the peer's behaviour, at once for `dxserver`; a report may come on it, or on another one, with
or without role selection. N-EVENT-REPORT is answered 0000, 0112 (nobody asked), 0115 or 0110. Instances that a report
names as failed or does not name, and all of them when no report came within
`FILEROOM_TRANSFER_COMMITMENT_SECONDS`, are sent again and asked for again under a new Transaction UID, as often as the
transfer has tries; then it has failed.

"""


def procedures() -> str:
    """Both sections."""
    return _TEXT.format(
        states=table(("State", "Operation", "Answer"), _states()),
        error_id=f"{STEP_ENDED_ERROR_ID:04X}",
        comment=ENDED_COMMENT,
        reasons=table(("Failure Reason", "Meaning"), _reasons()),
    )


def _states() -> Iterator[Sequence[str]]:
    for (state, operation), allowed in ALLOWED.items():
        if isinstance(allowed, tuple):
            answer = " or ".join(word or "no status" for word in allowed)
        else:
            status = STATUSES[OUTCOME_OF_ERROR[allowed]]
            answer = f"{status.http}, {status.dimse:04X}"
        yield ("none" if state is None else state.name.replace("_", " "), operation, answer)


def _reasons() -> Iterator[Sequence[str]]:
    for reason in FailureReason:
        yield f"{reason:04X}", reason.name.replace("_", " ").lower()
