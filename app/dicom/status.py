"""Table: one outcome → HTTP status, Failure or Warning Reason (PS3.18 10.5.3.1, PS3.4 B.2.3), DIMSE status, may it be
tried again. The HTTP door and the bridge read it; no other module holds a status literal for an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType

from app import errors


@dataclass(frozen=True, slots=True)
class Status:
    """What an outcome means at each door. `reason` is (0008,1197) or, for warnings, (0008,1196); None when stored."""

    http: int
    reason: int | None
    dimse: int
    retry: bool
    title: str


class Progress(IntEnum):
    """DIMSE statuses of C-FIND, C-GET and C-MOVE that are no outcome (PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4)."""

    DONE = 0x0000
    CANCELLED = 0xFE00
    PENDING = 0xFF00
    PENDING_WITHOUT_OPTIONAL_KEYS = 0xFF01


class RetrieveStatus(IntEnum):
    """How a C-GET or C-MOVE ends that did not succeed (PS3.4 Tables C.4-2 and C.4-3)."""

    CANNOT_CALCULATE = 0xA701
    CANNOT_PERFORM = 0xA702
    DESTINATION_UNKNOWN = 0xA801
    WITH_FAILURES = 0xB000
    UNABLE_TO_PROCESS = 0xC002


def is_warning(status: int) -> bool:
    """Whether a C-STORE status says that the instance was stored, with a reservation (PS3.7 C.3)."""
    return status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)


class Outcome(Enum):
    """What became of one instance, or of one request."""

    STORED = "stored"
    STORED_COERCED = "stored-coerced"
    STORED_WITH_WARNING = "stored-with-warning"
    STORED_ELSEWHERE_TOO = "stored-elsewhere-too"
    STORED_BROKEN_OFF = "stored-broken-off"
    CONFLICT = "conflict"
    DATA_SET_MISMATCH = "data-set-mismatch"
    WRONG_STUDY = "wrong-study"
    DUPLICATE_INSTANCE = "duplicate-instance"
    MISSING_ATTRIBUTE = "missing-attribute"
    INVALID_ATTRIBUTE = "invalid-attribute"
    STEP_ENDED = "step-ended"
    IDENTIFIER_MISMATCH = "identifier-mismatch"
    UNREADABLE = "unreadable"
    OVER_LIMIT = "over-limit"
    BAD_REQUEST = "bad-request"
    SOP_CLASS_REFUSED = "sop-class-refused"
    TRANSFER_SYNTAX_REFUSED = "transfer-syntax-refused"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    NOT_ACCEPTABLE = "not-acceptable"
    UNDECODABLE = "undecodable"
    RANGE_NOT_SATISFIABLE = "range-not-satisfiable"
    NOT_AUTHENTICATED = "not-authenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    NOT_CALLABLE = "not-callable"
    STORAGE_FULL = "storage-full"
    DATABASE_DOWN = "database-down"
    BLOB_STORE_FAILED = "blob-store-failed"
    OVERLOADED = "overloaded"
    ARCHIVE_UNREACHABLE = "archive-unreachable"
    BRIDGE_UNREACHABLE = "bridge-unreachable"
    PEER_FAILED = "peer-failed"
    PEER_SILENT = "peer-silent"
    CORRUPT = "corrupt"
    DECODER_FAILED = "decoder-failed"
    BUG = "bug"


STATUSES = MappingProxyType(
    {
        Outcome.STORED: Status(200, None, 0x0000, False, "Stored"),
        Outcome.STORED_COERCED: Status(202, 0xB000, 0xB000, False, "Stored; data elements were changed"),
        Outcome.STORED_WITH_WARNING: Status(202, 0xB007, 0xB007, False, "Stored; the data set breaks the standard"),
        Outcome.STORED_ELSEWHERE_TOO: Status(202, 0xB007, 0xB007, False, "Stored; the SOP Instance UID is used twice"),
        Outcome.STORED_BROKEN_OFF: Status(202, 0xB007, 0xB007, False, "Stored; the data set ends inside an element"),
        Outcome.CONFLICT: Status(409, 0x0111, 0xC111, False, "Other content is stored under this SOP Instance UID"),
        Outcome.DATA_SET_MISMATCH: Status(409, 0xA900, 0xA900, False, "The data set is not what the command names"),
        Outcome.WRONG_STUDY: Status(409, 0xA900, 0xA900, False, "The instance belongs to another study"),
        Outcome.DUPLICATE_INSTANCE: Status(409, 0x0111, 0x0111, False, "The UID is in use"),
        Outcome.MISSING_ATTRIBUTE: Status(400, 0x0120, 0x0120, False, "A required attribute is missing"),
        Outcome.INVALID_ATTRIBUTE: Status(400, 0x0106, 0x0106, False, "An attribute has a value that is not allowed"),
        Outcome.STEP_ENDED: Status(409, 0x0110, 0x0110, False, "The performed procedure step has ended"),
        Outcome.IDENTIFIER_MISMATCH: Status(400, 0xA900, 0xA900, False, "The identifier does not match the SOP class"),
        Outcome.UNREADABLE: Status(409, 0xC000, 0xC000, False, "The data set cannot be understood"),
        Outcome.OVER_LIMIT: Status(413, 0xC001, 0xC001, False, "The input is over a limit"),
        Outcome.BAD_REQUEST: Status(400, 0xC002, 0xC002, False, "The request is wrong"),
        Outcome.SOP_CLASS_REFUSED: Status(409, 0x0122, 0x0122, False, "The SOP class is not accepted"),
        Outcome.TRANSFER_SYNTAX_REFUSED: Status(409, 0xC122, 0xC122, False, "The transfer syntax is not accepted"),
        Outcome.UNSUPPORTED_MEDIA_TYPE: Status(415, 0xC122, 0xC122, False, "The media type is not supported"),
        Outcome.NOT_ACCEPTABLE: Status(406, 0xC122, 0xC122, False, "No acceptable representation"),
        Outcome.UNDECODABLE: Status(406, 0xC000, 0xC000, False, "The stored pixels cannot be decoded"),
        Outcome.RANGE_NOT_SATISFIABLE: Status(416, 0xC002, 0xC002, False, "The range is not satisfiable"),
        Outcome.NOT_AUTHENTICATED: Status(401, 0x0124, 0x0124, False, "Authentication is required"),
        Outcome.FORBIDDEN: Status(403, 0x0124, 0x0124, False, "Not authorised"),
        Outcome.NOT_FOUND: Status(404, 0x0112, 0x0112, False, "No such resource"),
        Outcome.NOT_CALLABLE: Status(409, 0x0110, 0x0110, False, "The peer has no address to be called at"),
        Outcome.STORAGE_FULL: Status(507, 0xA700, 0xA700, True, "Out of storage"),
        Outcome.DATABASE_DOWN: Status(503, 0xA700, 0xA700, True, "The catalog is not available"),
        Outcome.BLOB_STORE_FAILED: Status(503, 0xA700, 0xA700, True, "The blob store is not available"),
        Outcome.OVERLOADED: Status(503, 0xA700, 0xA700, True, "Too many requests are under way"),
        Outcome.ARCHIVE_UNREACHABLE: Status(503, 0xA700, 0xA700, True, "The archive cannot be reached"),
        Outcome.BRIDGE_UNREACHABLE: Status(503, 0xA700, 0xA700, True, "The bridge cannot be reached"),
        Outcome.PEER_FAILED: Status(502, 0x0110, 0x0110, False, "The peer refused or failed"),
        Outcome.PEER_SILENT: Status(504, 0x0110, 0x0110, False, "The peer did not answer in time"),
        Outcome.CORRUPT: Status(500, 0x0110, 0x0110, False, "The stored bytes are damaged or missing"),
        Outcome.DECODER_FAILED: Status(500, 0x0110, 0x0110, False, "The decoder crashed or reached its limits"),
        Outcome.BUG: Status(500, 0x0110, 0x0110, True, "Processing failure"),
    }
)

STEP_ENDED_ERROR_ID = 0xA710
"""Error ID (0000,0903) of an N-SET for a performed procedure step that has ended (PS3.4 Table F.7.2-2)."""

UNRECOGNIZED_OPERATION = 0x0211
"""DIMSE status of a request that its presentation context has no operation for (PS3.7 C.5.20)."""

OUTCOME_OF_ERROR: MappingProxyType[type[errors.FileroomError], Outcome] = MappingProxyType(
    {
        errors.Unreadable: Outcome.UNREADABLE,
        errors.LimitExceeded: Outcome.OVER_LIMIT,
        errors.BadRequest: Outcome.BAD_REQUEST,
        errors.IdentifierMismatch: Outcome.IDENTIFIER_MISMATCH,
        errors.DataSetMismatch: Outcome.DATA_SET_MISMATCH,
        errors.WrongStudy: Outcome.WRONG_STUDY,
        errors.DuplicateInstance: Outcome.DUPLICATE_INSTANCE,
        errors.MissingAttribute: Outcome.MISSING_ATTRIBUTE,
        errors.InvalidAttribute: Outcome.INVALID_ATTRIBUTE,
        errors.StepEnded: Outcome.STEP_ENDED,
        errors.ConflictingContent: Outcome.CONFLICT,
        errors.SOPClassRefused: Outcome.SOP_CLASS_REFUSED,
        errors.TransferSyntaxRefused: Outcome.TRANSFER_SYNTAX_REFUSED,
        errors.UnsupportedMediaType: Outcome.UNSUPPORTED_MEDIA_TYPE,
        errors.NotAcceptable: Outcome.NOT_ACCEPTABLE,
        errors.Undecodable: Outcome.UNDECODABLE,
        errors.RangeNotSatisfiable: Outcome.RANGE_NOT_SATISFIABLE,
        errors.NotAuthenticated: Outcome.NOT_AUTHENTICATED,
        errors.Forbidden: Outcome.FORBIDDEN,
        errors.NotFound: Outcome.NOT_FOUND,
        errors.NotCallable: Outcome.NOT_CALLABLE,
        errors.StorageFull: Outcome.STORAGE_FULL,
        errors.DatabaseDown: Outcome.DATABASE_DOWN,
        errors.BlobStoreFailed: Outcome.BLOB_STORE_FAILED,
        errors.Overloaded: Outcome.OVERLOADED,
        errors.ArchiveUnreachable: Outcome.ARCHIVE_UNREACHABLE,
        errors.BridgeUnreachable: Outcome.BRIDGE_UNREACHABLE,
        errors.PeerFailed: Outcome.PEER_FAILED,
        errors.PeerSilent: Outcome.PEER_SILENT,
        errors.Corrupt: Outcome.CORRUPT,
        errors.DecoderFailed: Outcome.DECODER_FAILED,
    }
)


def outcome_of(error: BaseException) -> Outcome:
    """The outcome of an exception; `Outcome.BUG` for anything that is not in the tree."""
    for cls in type(error).__mro__:
        if cls in OUTCOME_OF_ERROR:
            return OUTCOME_OF_ERROR[cls]
    return Outcome.BUG
