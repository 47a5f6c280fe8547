"""The conformance statement, in the order of PS3.2: what it says comes from the tables that the code runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from pydicom.datadict import dictionary_description

from app.dicom import limits
from app.dicom.attributes import LEVEL_OF, TABLE, Attribute
from app.dicom.media_types import DEFAULT_SYNTAX, DICOM, SYNTAXES_OF, leaves_only_when_named, stored_without_asking
from app.dicom.status import STATUSES
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES, TransferSyntax
from app.pixels import targets
from openapi.dimse import dimse, meanings
from openapi.markdown import table
from openapi.procedures import procedures
from openapi.worklist import worklist

MATCHING = {
    "uid": "single value, list of UID",
    "text": "single value, wildcard",
    "name": "single value, wildcard, fuzzy",
    "date": "single value, range",
    "time": "single value, range",
    "integer": "single value",
    "set": "single value, several values",
    "computed": "returned only",
}
_TEXT = """\
# DICOM conformance statement

Generated from the tables that the code runs on (`make openapi`); the sections follow PS3.2.

## 1 Overview

Fileroom is an archive, and a bridge for DIMSE before it. The archive offers the Studies Service of PS3.18 (DICOMweb) as
an origin server: Store, Search, Retrieve and Retrieve Capabilities; and the services of Modality Scheduled and
Performed Procedure Steps and of Storage Commitment. The bridge offers Verification, Storage, Query/Retrieve, Modality
Worklist, Modality Performed Procedure Step (also Retrieve) and Storage Commitment Push Model as SCP. The
archive keeps the bytes that it receives (Level 2, full): no element is discarded or coerced, the preamble is kept,
nothing is transcoded when it is stored. Resources that PS3.18 does not have are marked *ours*.

### 1.1 Supported SOP classes

Every Storage SOP Class is stored, those without a name in PS3.6 and private ones included.

### 1.2 Character sets

Every Specific Character Set of PS3.3 C.12.1.1.2 and C.12.1.1.3, with code extensions (ISO 2022 escape sequences). A
text that does not decode in its declared character set is stored as received, with warning B007. Answers are in
UTF-8.

### 1.3 Data sets that are not whole

A data set that ends inside an element (also inside a sequence, encapsulated pixel data or a deflated stream), but after
its Study, Series and SOP Instance UIDs, is stored as received, with warning B007 and a comment that names the element.
What can be read of it is searched for and answered as metadata; a text or number that is cut is left out. Frames that
are there as a whole can be retrieved. Such an instance leaves in the transfer syntax in which it is stored, implicit VR
and big endian too, when none is named; another one is 406. A request or association that breaks off before the end of
the object leaves nothing.

## 2 Services

### 2.1 Resources

Paths are below the DICOMweb root, `/dicom-web`.

{resources}

### 2.2 Search: attributes with a column of their own

Any other attribute of the patient, study or series ({others} are known by name, private ones too) can be matched as
well, within series and studies; sequences by the path of their tags. Matching follows PS3.4 C.2.2.2: single value,
list of UID, wildcard, range, sequence, universal; `emptyvaluematching` and `multiplevaluematching` are supported.
Names match without regard to case and accents in each of their component groups; all other text is case-sensitive
unless set otherwise.

{attributes}

### 2.3 Retrieve: media types and their transfer syntaxes

{media_types}

### 2.4 Rendered images

Frames are rendered as PS3.4 N.2 says: Modality LUT or rescale, then the first window, else the first VOI LUT, else all
that the frame holds (images of at most 8 bits: could hold), then the polarity; palettes, RGB and YBR; for frames of
functional groups their own values. Presentation states, overlays and ICC profiles are not applied. Pixels that are not
square are made so. `window`, `viewport`, `quality` and `annotation` (8.3.5) are supported, `iccprofile` is not.

A study or series is shown by its middle image, an instance by its Representative Frame Number, else by its first frame
(thumbnails: the middle one); `multipart/related` gets all. Encapsulated documents and videos leave as themselves, in
byte ranges; other instances without images cannot be rendered. WADO-URI (9) takes all parameters but `anonymize` and
those of presentation states, which it refuses.

### 2.5 Transfer syntaxes

All are stored as received; so are private ones. *Named only*: the object leaves in this transfer syntax when the
request names it, else as Explicit VR Little Endian (PS3.18 8.7.3). *As stored*: leaves as stored when no transfer
syntax was named (8.7.3.4). *Decoded*: frames leave in other transfer syntaxes too; *encoded*: frames of others leave in
this one, when it can hold their pixels.

{syntaxes}

{worklist}{procedures}
{dimse}
## 4 Status codes

One outcome, at each door. A failure reason below `B000` or from `C000` on is (0008,1197), a warning reason `Bxxx` is
(0008,1196). A request that failed may be sent again where the last column says so; `Retry-After` says when.

{statuses}

## 5 Limits

Enforced before anything is allocated; a refusal names the limit. Lengths are in bytes.

{limits}

## 6 Security

Without credentials the archive listens on a loopback address only. API tokens (`Authorization: Bearer`) carry the
scopes read, write, delete, admin and bridge. What a principal may not see looks as if it did not exist.

## 7 Extensions

Resources marked *ours* in 2.1: delete and its undo, the search for patients, worklist items one by one, and the list of
performed procedure steps; what stands beside the DICOMweb root, such as `/peers`. In the OpenAPI document they carry
`x-fileroom-extension`. Store takes Implicit VR Little Endian and Explicit VR Big Endian, which PS3.18 8.7.3 keeps out
of web services; Retrieve answers them when they are named. A bridge says for whom it asks in the headers
Fileroom-Calling-AE, Fileroom-Called-AE and Fileroom-Association.
"""


def conformance(document: dict[str, Any]) -> str:
    """The whole statement; `document` is the OpenAPI document."""
    syntaxes = TRANSFER_SYNTAXES.values()
    return _TEXT.format(
        resources=table(("Resource", "Method", "Service"), _resources(document)),
        others=len(LEVEL_OF),
        attributes=table(("Attribute", "Tag", "VR", "Level", "Matching", "Default"), map(_attribute, TABLE)),
        media_types=table(("Media type", "Transfer syntaxes, the default in bold"), _media_types()),
        syntaxes=table(("UID", "Name", "Frame media type", "Remarks"), map(_syntax, syntaxes)),
        worklist=worklist(),
        procedures=procedures(),
        dimse=dimse(),
        statuses=table(("Outcome", "HTTP", "Reason", "DIMSE", "Meaning", "Again"), _statuses()),
        limits=table(("Limit", "Default", "Meaning"), _limits()),
    )


def _resources(document: dict[str, Any]) -> Iterator[Sequence[str]]:
    for path, methods in sorted(document["paths"].items()):
        if path.startswith(("/dicom-web", "/wado")):
            for method, operation in sorted(methods.items()):
                ours = operation.get("x-fileroom-extension", False)
                service = ", ".join(operation.get("tags", [])) + (" *ours*" if ours else "")
                yield f"`{path.removeprefix('/dicom-web') or '/'}`", method.upper(), service


def _attribute(row: Attribute) -> Sequence[str]:
    tag = f"({row.tag >> 16:04X},{row.tag & 0xFFFF:04X})"
    level = "PATIENT, STUDY" if row.level == "PATIENT" else row.level
    default = "yes" if row.default else ""
    return dictionary_description(row.tag), tag, row.vr, level, MATCHING[row.matching], default


def _media_types() -> Iterator[Sequence[str]]:
    for media, default in DEFAULT_SYNTAX.items():
        others = [uid for uid in SYNTAXES_OF.get(media, ()) if uid != default]
        others = ["any of 2.5"] if media == DICOM else others
        yield f"`{media}`", ", ".join([f"**{default}**", *others])


def _syntax(row: TransferSyntax) -> Sequence[str]:
    remarks = {
        "retired": row.retired,
        "lossy": row.lossy and not row.video,
        "video": row.video,
        "named only": leaves_only_when_named(row),
        "as stored": stored_without_asking(row),
        "decoded": targets.is_decoded(row.uid),
        "encoded": row.uid in (*targets.NATIVE, *targets.COMPRESSED),
    }
    return row.uid, row.name, f"`{row.media_type}`", ", ".join(word for word, holds in remarks.items() if holds)


def _statuses() -> Iterator[Sequence[str]]:
    for outcome, status in STATUSES.items():
        reason = "" if status.reason is None else f"{status.reason:04X}"
        again = "yes" if status.retry else ""
        yield outcome.value, str(status.http), reason, f"{status.dimse:04X}", status.title, again


def _limits() -> Iterator[Sequence[str]]:
    """Each field of `Limits` with its default and the string that stands below it."""
    said = meanings(limits, "Limits")
    for field in fields(limits.Limits):
        yield field.name, f"{getattr(limits.DEFAULT, field.name):,}", said[field.name]
