"""Every exception that the archive raises on purpose, as one tree.

FileroomError
├── Refused                     the sender must change something
│   ├── Unreadable              these bytes are not a DICOM data set that we can address
│   ├── LimitExceeded           over a limit of `app.dicom.limits`; names it
│   ├── BadRequest              a parameter or header of the request is wrong
│   ├── IdentifierMismatch      the identifier of a query or retrieve breaks its SOP class (PS3.4 C.4)
│   ├── DataSetMismatch         a stored data set is not what its C-STORE names (PS3.4 B.2.3)
│   ├── WrongStudy              another Study Instance UID than the resource's
│   ├── DuplicateInstance       something else stands under this UID already
│   ├── MissingAttribute        an attribute is missing that the SOP class requires; `extra` names it
│   ├── InvalidAttribute        an attribute has a value that the SOP class does not allow
│   ├── StepEnded               a performed procedure step that has ended is not changed any more
│   ├── ConflictingContent      other content under the same SOP Instance UID, policy `reject`
│   ├── SOPClassRefused         this SOP class is not accepted
│   ├── TransferSyntaxRefused   this transfer syntax is not accepted
│   ├── UnsupportedMediaType    Content-Type of the request
│   ├── NotAcceptable           nothing that we have fits the Accept header
│   ├── Undecodable             the stored pixels are not what their transfer syntax and attributes say
│   ├── RangeNotSatisfiable     no byte of the range exists
│   ├── NotAuthenticated        no valid credentials
│   ├── Forbidden               the principal lacks the right
│   ├── NotFound                no such resource (or none that the principal may see)
│   └── NotCallable             the peer is registered without an address at which we could call it
├── Unavailable                 the same request may succeed later
│   ├── StorageFull             free space is under the reserve
│   ├── DatabaseDown            the catalog cannot be reached, or a commit's outcome is unknown
│   ├── BlobStoreFailed         bytes could not be written, synced or read
│   ├── Overloaded              too much is under way already
│   ├── ArchiveUnreachable      the bridge has no sensible answer of the archive
│   └── BridgeUnreachable       the archive has no bridge that speaks DIMSE for it, or none answers
├── Corrupt                     stored bytes do not match their checksum
│   └── BlobMissing             they are not there, though the blob store is
├── PeerFailed                  a DIMSE peer that we called refused or failed; `extra` may hold its status and comment
├── PeerSilent                  a DIMSE peer that we called did not answer in time
├── DecoderFailed               a decoder crashed, or used up its time or memory; `extra` says which
└── CannotStart                 this process cannot run as it is configured; says what to change

`app.dicom.status` maps each leaf to HTTP status, failure reason and DIMSE status.
"""

from __future__ import annotations

from collections.abc import Mapping


class FileroomError(Exception):
    """Base of the tree. `detail` is safe to show to the sender: it never holds patient data."""

    def __init__(self, detail: str = "", *, extra: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = dict(extra or {})


class Refused(FileroomError):
    """The sender must change something before it tries again."""


class Unreadable(Refused):
    """These bytes are not a DICOM data set that we can address."""


class LimitExceeded(Refused):
    """The input is over a limit; `limit` names the field of `app.dicom.limits.Limits`."""

    def __init__(self, limit: str, detail: str) -> None:
        super().__init__(detail, extra={"limit": limit})
        self.limit = limit


class BadRequest(Refused):
    """A parameter or header of the request is wrong."""


class IdentifierMismatch(Refused):
    """The identifier breaks the rules of its SOP class (PS3.4 C.4): level or a unique key missing or not known.
    `offending` are the tags that it is about."""

    def __init__(self, detail: str, *offending: int) -> None:
        super().__init__(detail, extra={"offending": offending})
        self.offending = offending


class DataSetMismatch(Refused):
    """The data set of a C-STORE is of another SOP class or instance than its command names."""


class WrongStudy(Refused):
    """The instance belongs to another study than the resource names."""


class DuplicateInstance(Refused):
    """Something else stands under this UID already."""


class MissingAttribute(Refused):
    """Attributes are missing that the SOP class requires; `attributes` are their tags."""

    def __init__(self, detail: str, *attributes: int) -> None:
        super().__init__(detail, extra={"attributes": [f"{tag:08X}" for tag in attributes]})


class InvalidAttribute(Refused):
    """An attribute has a value that the SOP class does not allow; `attributes` are its tag."""

    def __init__(self, detail: str, *attributes: int) -> None:
        super().__init__(detail, extra={"attributes": [f"{tag:08X}" for tag in attributes]})


class StepEnded(Refused):
    """A modality performed procedure step that has ended is not changed any more (PS3.4 F.7.2.2.2)."""


class ConflictingContent(Refused):
    """Other content is stored under the same SOP Instance UID, and the policy is `reject`."""


class SOPClassRefused(Refused):
    """This SOP class is not accepted."""


class TransferSyntaxRefused(Refused):
    """This transfer syntax is not accepted."""


class UnsupportedMediaType(Refused):
    """The Content-Type of the request is not one that the resource takes."""


class NotAcceptable(Refused):
    """Nothing that we have fits the Accept header; `extra` says what is stored and what could be had."""


class Undecodable(Refused):
    """The stored pixels are not what their transfer syntax and attributes say, or no codec reads them; the client can
    have them as stored."""


class RangeNotSatisfiable(Refused):
    """No byte of the requested range exists."""


class NotAuthenticated(Refused):
    """The request has no valid credentials."""


class Forbidden(Refused):
    """The principal lacks the right that the resource asks for."""


class NotFound(Refused):
    """No such resource, or none that the principal may see."""


class NotCallable(Refused):
    """The peer is registered without an address: it calls us, and we never it."""


class Unavailable(FileroomError):
    """The same request may succeed later."""


class StorageFull(Unavailable):
    """Free space is under the reserve."""


class DatabaseDown(Unavailable):
    """The catalog cannot be reached, or the outcome of a commit is unknown."""


class BlobStoreFailed(Unavailable):
    """Bytes could not be written, synced or read."""


class Overloaded(Unavailable):
    """Too much work is under way already."""


class ArchiveUnreachable(Unavailable):
    """The archive behind the bridge cannot be reached, is too slow, or gives an answer that makes no sense."""


class BridgeUnreachable(Unavailable):
    """No bridge is there to speak DIMSE for the archive, or it gives no sensible answer."""


class Corrupt(FileroomError):
    """Stored bytes do not match the checksum taken at ingest."""


class BlobMissing(Corrupt):
    """Stored bytes are not there, though the blob store is: they are lost, and to try again does not help."""


class PeerFailed(FileroomError):
    """A DIMSE peer that we called cannot be reached, refused or failed; `extra` may hold `dimse_status` and its
    `comment`."""


class PeerSilent(FileroomError):
    """A DIMSE peer that we called did not answer in time."""


class DecoderFailed(FileroomError):
    """A caged decoder crashed, or used up its time or memory; `extra["cause"]` says which."""


class CannotStart(FileroomError):
    """This process cannot run as it is configured; `detail` says what the operator can change. Never sent."""
