"""The DIMSE part of the conformance statement, from the tables and values that the bridge runs on."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from types import ModuleType

from pydicom.uid import UID

from app.dicom import peer
from app.dicom.peer import PRESETS, SERVICES, Behaviour
from app.dicom.status import Progress, RetrieveStatus
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from dimse_bridge.association import negotiation
from dimse_bridge.association.abstract_syntaxes import RIGHTS
from dimse_bridge.association.associate_pdus import APPLICATION_CONTEXT
from dimse_bridge.association.negotiation import Rejection, transfer_syntaxes
from dimse_bridge.settings import OurAE, Settings
from openapi.markdown import table

_TEXT = """\
## 3 DIMSE

The bridge translates DIMSE services into those of section 2. It keeps nothing itself: C-STORE answers success when the
archive has acknowledged the instance, and A700 when the archive cannot store now.

### 3.1 Associations

| Matter | What is done |
| --- | --- |
| Application context | {application_context} |
| Implementation Class UID | {implementation_class}; a setting of each AE title |
| Implementation Version Name | {implementation_version}; a setting of each AE title |
| Longest PDU received, sent | {max_pdu}, {max_send_pdu} bytes; settings |
| Associations at a time | {associations} in all, {peer_associations} of one peer; settings |
| Asynchronous operations | none: a window is answered with 1 and 1 |
| User identity | none: passed over; rejected when a positive response is asked for |
| Roles | SCP of all classes of 3.2; of storage classes also SCU within C-GET, and towards destinations of C-MOVE |
| Role selection | as SCP when we call a peer to report on storage commitment; a peer that reports to us may be SCP |
| TLS | the BCP 195 profile (PS3.15 B.9), with client certificates; a setting |

Rejected are (PS3.8 9.3.4):

{rejections}

### 3.2 SOP classes

For each the transfer syntaxes that are accepted; of several the first proposed one, as far as the peer's behaviour says
nothing else (in a context by which we only send, within C-GET, an uncompressed one). Each context is judged by itself.

{classes}

### 3.3 Peers

A peer is registered with `PUT /peers/{{AET}}`. What it may: {services}. Its behaviour is one of these
presets, each member of which can be set apart.

{presets}

{behaviours}

### 3.4 As user

The bridge is SCU of Verification, of Query/Retrieve in Study Root (FIND, MOVE, GET), of storage classes within C-MOVE
and for transfers, of Storage Commitment after them (2.9), and of Modality Performed Procedure Step for routes (2.8).
`fileroom dimse` is so too, without the last. Over HTTP remote peers are resources (ours); any bridge answers:

{remote}

Each is tried once. Specific Character Set always goes with a query: that of the request, else of the peer's
registration, else ISO_IR 192. Answers pass on as they come, in UTF-8: attributes that were not asked for too, and what
does not match too, except studies of other Modalities in Study. Queries are hierarchical; `fuzzymatching`,
`emptyvaluematching`, `multiplevaluematching`, `includefield=all`, `cursor`, `count` and private attributes have no
counterpart: `Warning: 299` names them. `limit` ends the association. What comes by C-GET is stored in the peer's name,
which needs the right `store`.
Failures are problem documents: 404 no such peer, 409 a peer without an address, 502 one that cannot be reached, refuses
or fails (`dimse_status` and its Error Comment `comment`, or `result`, `source` and `reason` of A-ASSOCIATE-RJ), 504 one
that is silent. The events of a retrieve are `progress` for each pending response, then `done` (0000 or B000, with
`failed_uids`) or `failed` (a problem document); going away ends the association.

### 3.5 Status codes of progress

Those of failures are in section 4.

{statuses}
"""

_REMOTE = (
    ("`POST /peers/{AET}/echo`", "C-ECHO", "read"),
    ("`GET /peers/{AET}/studies`", "C-FIND, STUDY", "read"),
    ("`GET /peers/{AET}/studies/{study}/series`", "C-FIND, SERIES", "read"),
    ("`GET /peers/{AET}/studies/{study}/series/{series}/instances`", "C-FIND, IMAGE", "read"),
    ("`POST /peers/{AET}/retrieve`", "C-MOVE to us, or C-GET (`retrieve_with`)", "write"),
)


def dimse() -> str:
    """The section."""
    settings = {name: field.default for name, field in Settings.model_fields.items()}
    ae = OurAE(aet="ANY")
    return _TEXT.format(
        application_context=APPLICATION_CONTEXT,
        implementation_class=ae.implementation_class_uid,
        implementation_version=ae.implementation_version_name,
        max_pdu=settings["dimse_max_pdu"],
        max_send_pdu=settings["dimse_max_send_pdu"],
        associations=settings["dimse_max_associations"],
        peer_associations=settings["dimse_max_peer_associations"],
        rejections=table(("Result", "Source", "Reason", "When"), _rejections()),
        classes=table(("SOP class", "UID", "Right", "Transfer syntaxes"), _classes()),
        services=", ".join(SERVICES),
        presets=table(("Preset", "Differs from the standard in"), _presets()),
        behaviours=table(("Member", "Default", "Meaning"), _behaviours()),
        remote=table(("Resource", "DIMSE", "Scope"), _REMOTE),
        statuses=table(("Status", "Service", "Meaning"), _statuses()),
    )


def meanings(module: ModuleType, name: str) -> dict[str, str]:
    """What stands as a string below each field of a class."""
    tree = ast.parse(inspect.getsource(module))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name).body
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _rejections() -> Iterator[Sequence[str]]:
    for value in vars(negotiation).values():
        if isinstance(value, Rejection):
            yield str(value.result), str(value.source), str(value.reason), value.cause


def _classes() -> Iterator[Sequence[str]]:
    anybody = peer.unregistered("ANY")
    for uid, right in RIGHTS.items():
        yield UID(uid).name, uid, right, _names(transfer_syntaxes(uid, anybody))
    yield "Every storage class, unknown and private ones too", "", "store, get", "all of 2.5"


def _names(syntaxes: frozenset[str]) -> str:
    """By name when they are few, else by the names of those that are missing."""
    others = TRANSFER_SYNTAXES.keys() - syntaxes
    if len(others) < len(syntaxes):
        return f"all of 2.5 but {_names(frozenset(others))}"
    return ", ".join(UID(uid).name for uid in sorted(syntaxes))


def _presets() -> Iterator[Sequence[str]]:
    standard = PRESETS["standard"]
    names = [field.name for field in fields(Behaviour) if field.name != "preset"]
    for preset, behaviour in PRESETS.items():
        differences = [
            f"`{name}` {_shown(name, getattr(behaviour, name))}"
            for name in names
            if getattr(behaviour, name) != getattr(standard, name)
        ]
        yield f"`{preset}`", ", ".join(differences) or "nothing"


def _behaviours() -> Iterator[Sequence[str]]:
    said = meanings(peer, "Behaviour")
    for field in fields(Behaviour):
        if field.name != "preset":
            yield f"`{field.name}`", _shown(field.name, field.default), said[field.name]


def _shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 0xA000 and name != "max_pdu":
        return f"{value:04X}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _statuses() -> Iterator[Sequence[str]]:
    for progress in Progress:
        yield f"{progress:04X}", "C-FIND, C-GET, C-MOVE", progress.name.lower().replace("_", " ")
    for status in RetrieveStatus:
        services = "C-MOVE" if status is RetrieveStatus.DESTINATION_UNKNOWN else "C-GET, C-MOVE"
        yield f"{status:04X}", services, status.name.lower().replace("_", " ")
