"""DIMSE peers: who may call, for what, and how we behave towards them where products in the field disagree.

Pure: the archive keeps peers, the bridge obeys them. AE titles follow PS3.5 6.2 (AE)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from app.dicom.charsets import charset_of
from app.dicom.uid import is_uid
from app.errors import BadRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SERVICES = ("echo", "store", "find", "get", "move", "worklist", "commitment", "mpps")
"""What a peer may ask of us."""
LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}", re.ASCII)
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST, _MOST_UIDS = 64, 512


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What we do towards one peer where products disagree; the defaults are what the standard asks for."""

    preset: str = "standard"
    """Name of the row of `PRESETS` from which the others were taken."""
    check_called_ae: bool = True
    """Reject an association whose called AE title is not ours (PS3.8 7.1.1.9: reason 7)."""
    check_address: bool = True
    """Reject an association from an address that is not among the peer's."""
    transfer_syntax_choice: str = "first-proposed"
    """Of the transfer syntaxes proposed for a class, which one is accepted: `first-proposed` that we support, or
    `first-explicit`, else the default one."""
    transfer_syntaxes: tuple[str, ...] = ()
    """Only these are accepted from and sent to the peer, beside Implicit VR Little Endian; empty: all."""
    sop_classes: tuple[str, ...] = ()
    """Only these storage classes are accepted from and sent to the peer; empty: all."""
    uncompressed_non_images: bool = False
    """Classes that are no images in Implicit and Explicit VR Little Endian only, in both directions."""
    max_pdu: int = 0
    """Longest PDU that we announce to receive, in bytes; 0: the bridge's setting."""
    duplicate_policy: str = ""
    """Other content under a stored SOP Instance UID: `replace`, `keep`, `reject`; empty: the archive's setting."""
    store_out_of_resources: int = 0xA700
    """C-STORE status when the archive cannot store now; one of A700-A7FF."""
    store_reasons: bool = True
    """Say by A7xx, A9xx or Cxxx why a C-STORE failed; otherwise 0110, processing failure (PS3.7 Annex C)."""
    store_warnings: bool = True
    """Answer Bxxx to what was stored with a warning; otherwise 0000."""
    query_levels: tuple[str, ...] = LEVELS
    """C-FIND at other levels answers success without matches."""
    relational_queries: bool = True
    """Answer a C-FIND that lacks unique keys of the levels above its own; otherwise A900 (PS3.4 C.4.1.3.1.1)."""
    pending_warning: bool = True
    """Answer FF01 when an optional key was not matched; otherwise always FF00."""
    find_cancel: bool = True
    """C-CANCEL ends a C-FIND with FE00; otherwise it is ignored."""
    find_failure: int = 0
    """Status of each C-FIND, C-GET and C-MOVE whose search fails (PS3.4 C.4.1.1.4); 0: as the failure says."""
    retrieve_by_keys: bool = False
    """C-GET and C-MOVE select by ordinary matching keys too, not only by unique keys."""
    suboperations_after_cancel: bool = False
    """C-CANCEL of a C-MOVE answers FE00 while its sub-operations go on."""
    retrieve_failures: bool = True
    """A C-GET or C-MOVE whose sub-operations failed ends with B000 or A702; otherwise with 0000."""
    worklist_stations: str = "all"
    """Worklist items that it sees: `all` that it asks for, `own`: those scheduled for its AE title, or `own-or-none`:
    also those that name no station."""
    worklist_time_without_date: str = ""
    """A worklist query with a range of times and no date is about `any` day or `today`; empty: the archive's
    setting."""
    worklist_times_over_days: str = ""
    """A range of times with dates of several days is one of `moments` from the first day's to the last day's, one for
    `each-day`, or `ignored`; empty: the archive's setting."""
    retrieve_with: str = "move"
    """How we retrieve from the peer: by C-MOVE to us (`move`), for which it must know us, or by C-GET (`get`)."""
    performed_step_failure: int = 0
    """Status of each N-CREATE and N-SET that is refused for another reason than 0111, 0112 or 0120; 0: as PS3.4 F.7
    says: 0106 for a status that is not allowed, 0110 after the end of the step."""
    commitment_seconds: int = 2
    """For how long the association on which we asked for storage commitment waits for the report; 0: it is released at
    once, and the report comes on another one."""
    attempts: int = 3
    """How often we send an instance to the peer while it answers that it cannot store now."""
    ignore_statuses: bool = False
    """Count an instance as sent whatever the peer answered."""

    def knows(self, storage_class: str) -> bool:
        """Whether instances of this class are exchanged with the peer."""
        return not self.sop_classes or storage_class in self.sop_classes


_CHOICES = MappingProxyType(
    {
        "transfer_syntax_choice": ("first-proposed", "first-explicit"),
        "duplicate_policy": ("", "replace", "keep", "reject"),
        "retrieve_with": ("move", "get"),
        "worklist_stations": ("all", "own", "own-or-none"),
        "worklist_time_without_date": ("", "any", "today"),
        "worklist_times_over_days": ("", "moments", "each-day", "ignored"),
    }
)
_RANGES = MappingProxyType(
    {
        "max_pdu": (4096, 0xFFFFFFFF),
        "store_out_of_resources": (0xA700, 0xA7FF),
        "find_failure": (0xC000, 0xCFFF),
        "performed_step_failure": (0xC000, 0xCFFF),
        "attempts": (1, 100),
        "commitment_seconds": (0, 3600),
    }
)
_UIDS = frozenset({"transfer_syntaxes", "sop_classes"})
_OR_ZERO = frozenset({"max_pdu", "find_failure", "performed_step_failure"})

_DIFFERENCES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "standard": {},
        # XPACS conformance statement: limits by host and AE title for each AE; Study Root C-GET by the same matching
        # keys as C-FIND.
        "xpacs": {"retrieve_by_keys": True},
        # Medasys DxServer 7 conformance statement: A765 with an Error Comment; table 7 and 11, non-image classes;
        # the first proposed transfer syntax; FF01; hierarchical queries only; DxBroker: the constraints of worklist
        # searches; MPPS: C000 for whatever has no status of its own; as SCU of storage commitment the association is
        # closed at once.
        "dxserver": {
            "store_out_of_resources": 0xA765,
            "uncompressed_non_images": True,
            "relational_queries": False,
            "worklist_time_without_date": "today",
            "worklist_times_over_days": "ignored",
            "performed_step_failure": 0xC000,
            "commitment_seconds": 0,
        },
        # OnePacs Workstation 8 conformance statement: any address; the first explicit syntax, else the default; STORAGE
        # overwrites, warns of nothing and sends no A7xx, A9xx, Cxxx; FIND at study level, Cxxx for any failure, never
        # FE00 or FF01; MOVE goes on after a cancel; as SCU one attempt, statuses ignored; PDUs of 116794 bytes.
        "onepacs": {
            "check_address": False,
            "transfer_syntax_choice": "first-explicit",
            "max_pdu": 116794,
            "duplicate_policy": "replace",
            "store_reasons": False,
            "store_warnings": False,
            "query_levels": ("STUDY",),
            "pending_warning": False,
            "find_cancel": False,
            "find_failure": 0xC001,
            "suboperations_after_cancel": True,
            "retrieve_failures": False,
            "attempts": 1,
            "ignore_statuses": True,
        },
    }
)

PRESETS: Mapping[str, Behaviour] = MappingProxyType(
    {name: Behaviour(name, **row) for name, row in _DIFFERENCES.items()}
)
"""Behaviours by name, after the published conformance statements of products that peers may be used to."""
STANDARD = PRESETS["standard"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One registered AE title."""

    ae_title: str
    host: str = ""
    """Where we call it: a host name or address; empty: we never do, so it is no destination."""
    port: int = 104
    tls: bool = False
    """It speaks TLS: we call it so, and it must call us so."""
    certificate: str = ""
    """SHA-256 of the certificate (DER, lower case hex) that it must show when it calls by TLS; empty: any valid one."""
    character_set: str = ""
    """Specific Character Set of our answers when its request names none."""
    called: tuple[str, ...] = ()
    """Which of our AE titles it may call; empty: all."""
    may: tuple[str, ...] = SERVICES
    """What it may ask for, of `SERVICES`."""
    addresses: tuple[Network, ...] = ()
    """Networks from which it may call; empty: any."""
    behaviour: Behaviour = field(default=STANDARD)

    @classmethod
    def from_json(cls, aet: str, value: object) -> Peer:
        """The peer that a JSON object describes; raises `BadRequest` that names the member which is wrong."""
        title = ae_title(aet)
        if not isinstance(value, dict):
            raise _wrong("", "a peer is a JSON object")
        members = dict(value)
        if members.pop("aet", title) != title:
            raise _wrong("aet", "it differs from the AE title of the resource")
        unknown = sorted(set(members) - set(_READERS))
        if unknown:
            raise _wrong(unknown[0], "no such member")
        peer = cls(title, **{name: _READERS[name](name, given) for name, given in members.items()})
        if peer.certificate and not peer.tls:
            raise _wrong("certificate", "only a peer with `tls` shows one")
        return peer

    def to_json(self) -> dict[str, object]:
        """The object that `from_json` reads, with every member."""
        return {
            "host": self.host,
            "port": self.port,
            "tls": self.tls,
            "certificate": self.certificate,
            "character_set": self.character_set,
            "called": list(self.called),
            "may": list(self.may),
            "addresses": [str(network) for network in self.addresses],
            "behaviour": _behaviour_json(self.behaviour),
        }

    def may_call_from(self, address: str) -> bool:
        """Whether the peer may call from this numeric address."""
        if not self.addresses or not self.behaviour.check_address:
            return True
        source = ipaddress.ip_address(address.partition("%")[0])  # without the zone of a link-local address
        if isinstance(source, ipaddress.IPv6Address) and source.ipv4_mapped:
            source = source.ipv4_mapped
        return any(source in network for network in self.addresses)

    def may_call(self, called: str) -> bool:
        """Whether the peer may call this AE title of ours."""
        return not self.called or called in self.called


def ae_title(text: object) -> str:
    """`text` as an AE title without padding (PS3.5 6.2): up to 16 characters, no backslash, no control character."""
    title = text.strip(" ") if isinstance(text, str) else ""
    if not title or _AE_TITLE.fullmatch(title) is None:
        raise _wrong("aet", "an AE title has 1 to 16 ASCII characters, no backslash and no control character")
    return title


def unregistered(aet: str, preset: str = "standard") -> Peer:
    """What stands for a calling AE title that nobody registered, where those are admitted: it may all, from
    everywhere, and cannot be called."""
    return Peer(ae_title(aet), behaviour=PRESETS[preset])


def _wrong(member: str, why: str) -> BadRequest:
    # Names of members come from the sender: they are shown only as far as they look like names.
    shown = member if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]{0,63}", member) else ""
    return BadRequest(f"`{shown}`: {why}" if shown else why, extra={"member": shown})


def _boolean(member: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(member, "true or false is needed")
    return value


def _integer(member: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(member, f"a whole number from {least} to {most} is needed")
    return value


def _text(member: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(member, "a string is needed")
    return value


def _texts(member: str, value: object, most: int = _MOST) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > most:
        raise _wrong(member, f"a list of at most {most} strings is needed")
    return [_text(member, one) for one in value]


def _port(member: str, value: object) -> int:
    return _integer(member, value, 1, 65535)


def _host(member: str, value: object) -> str:
    host = _text(member, value)
    if not host or _HOST_NAME.fullmatch(host):
        return host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise _wrong(member, "a host name or a numeric address is needed") from None
    return host


def _certificate(member: str, value: object) -> str:
    text = _text(member, value).replace(":", "").lower()
    if text and _FINGERPRINT.fullmatch(text) is None:
        raise _wrong(member, "the SHA-256 of a certificate has 64 hexadecimal digits")
    return text


def _character_set(member: str, value: object) -> str:
    text = _text(member, value)
    if len(text) > 256 or charset_of(text)[1]:
        raise _wrong(member, "a defined term of Specific Character Set is needed (PS3.3 C.12.1.1.2)")
    return text


def _called(member: str, value: object) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(map(ae_title, _texts(member, value))))
    except BadRequest as error:
        raise _wrong(member, error.detail.rpartition("`: ")[2]) from None


def _of(member: str, value: object, allowed: tuple[str, ...]) -> tuple[str, ...]:
    given = _texts(member, value)
    if not set(given) <= set(allowed):
        raise _wrong(member, f"only {', '.join(allowed)} may stand here")
    return tuple(name for name in allowed if name in given)


def _may(member: str, value: object) -> tuple[str, ...]:
    return _of(member, value, SERVICES)


def _addresses(member: str, value: object) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in _texts(member, value))
    except ValueError:
        raise _wrong(member, "numeric addresses, or networks such as 10.1.0.0/16, are needed") from None


def _behaviour(member: str, value: object) -> Behaviour:
    """A preset's name, or an object: `preset`, and what differs from it."""
    given = {"preset": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise _wrong(member, "the name of a preset, or an object, is needed")
    preset = given.get("preset", "standard")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise _wrong(f"{member}.preset", f"one of {', '.join(PRESETS)} is needed")
    changes = {}
    for name, one in given.items():
        if name != "preset":
            if name not in _BEHAVIOURS:
                raise _wrong(f"{member}.{name}", "no such member")
            changes[name] = _behaviour_value(f"{member}.{name}", name, one)
    return replace(PRESETS[preset], **changes)


def _behaviour_value(member: str, name: str, value: object) -> Any:
    if name == "query_levels":
        return _of(member, value, LEVELS)
    if name in _UIDS:
        uids = _texts(member, value, _MOST_UIDS)
        if not all(map(is_uid, uids)):
            raise _wrong(member, "UIDs are needed")
        return tuple(dict.fromkeys(uids))
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise _wrong(member, f"one of {', '.join(map(repr, _CHOICES[name]))} is needed")
        return value
    if name in _OR_ZERO and value == 0 and value is not False:
        return value
    return _integer(member, value, *_RANGES[name]) if name in _RANGES else _boolean(member, value)


def _behaviour_json(behaviour: Behaviour) -> dict[str, object]:
    """The preset and what differs from it."""
    preset = PRESETS[behaviour.preset]
    found: dict[str, object] = {"preset": behaviour.preset}
    for name in _BEHAVIOURS:
        value = getattr(behaviour, name)
        if value != getattr(preset, name):
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


_BEHAVIOURS = tuple(one.name for one in fields(Behaviour) if one.name != "preset")
_READERS: Mapping[str, Callable[[str, object], Any]] = MappingProxyType(
    {
        "host": _host,
        "port": _port,
        "tls": _boolean,
        "certificate": _certificate,
        "character_set": _character_set,
        "called": _called,
        "may": _may,
        "addresses": _addresses,
        "behaviour": _behaviour,
    }
)
