"""How an association ends, or why there was none: `AssociationEnded`
├── Released      in order, by A-RELEASE (PS3.8 7.2)
├── Aborted       by A-ABORT of either side, a broken connection or a timer (PS3.8 7.3, 7.4)
│   └── BrokenOff by us, since an object that we were sending did not come to its end
├── Rejected      the peer answered A-ASSOCIATE-RJ (PS3.8 9.3.4)
└── Unreachable   no connection, or no TLS session
"""

from __future__ import annotations

SOURCE_USER = 0
SOURCE_PROVIDER = 2

REASON_NOT_SPECIFIED = 0
REASON_UNRECOGNIZED_PDU = 1
REASON_UNEXPECTED_PDU = 2
REASON_UNEXPECTED_PARAMETER = 5
REASON_INVALID_PARAMETER = 6

SILENCE = "the peer was silent for too long"
"""Cause of an association that a timer ended."""


class AssociationEnded(Exception):
    """Base: nothing more can be sent or received. The text is ours and safe to log."""


class Released(AssociationEnded):
    """The association was released in order."""


class Aborted(AssociationEnded):
    """The association was aborted; `source` and `reason` as A-ABORT has them (PS3.8 Table 9-26)."""

    def __init__(self, cause: str, source: int = SOURCE_USER, reason: int = REASON_NOT_SPECIFIED) -> None:
        super().__init__(cause)
        self.cause = cause
        self.source = source
        self.reason = reason

    @property
    def is_silence(self) -> bool:
        """Whether we ended it because the peer did not answer in time."""
        return self.cause == SILENCE


class BrokenOff(Aborted):
    """Half an object cannot be taken back: we aborted. The peer did nothing wrong, and may be called again."""


class Rejected(AssociationEnded):
    """The peer refused the association; `result`, `source` and `reason` as PS3.8 Table 9-21 has them."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"rejected: result {result}, source {source}, reason {reason}")
        self.result = result
        self.source = source
        self.reason = reason

    @property
    def is_transient(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.result == 2


class Unreachable(AssociationEnded):
    """The peer could not be connected to."""
