"""Identifiers as searches of PS3.18 10.6: the rules of the Query/Retrieve models (PS3.4 C.3, C.4.1), which resource is
asked, with which parameters, and which keys nobody can answer at a level.

Any server of PS3.18 understands the searches for studies, series and instances; patients are a resource of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from app.dicom.attributes import BY_TAG, LEVEL_OF, Level
from app.dicom.elements import BINARY
from app.dicom.peer import STANDARD, Behaviour
from app.dicom.uid import is_uid
from app.errors import IdentifierMismatch
from dimse_bridge.identifiers.request import QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET, Identifier, Key

PATIENT_ID, STUDY_UID, SERIES_UID, SOP_UID = 0x00100020, 0x0020000D, 0x0020000E, 0x00080018
RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY = 0x00080054, 0x00080056
UNIQUE_KEY: Mapping[Level, int] = MappingProxyType(
    {"PATIENT": PATIENT_ID, "STUDY": STUDY_UID, "SERIES": SERIES_UID, "IMAGE": SOP_UID}
)
"""PS3.4 C.6.1.1, C.6.2.1."""
_ROOTS: Mapping[str, tuple[Level, ...]] = MappingProxyType(
    {
        "1.2.840.10008.5.1.4.1.2.1.": ("PATIENT", "STUDY", "SERIES", "IMAGE"),
        "1.2.840.10008.5.1.4.1.2.2.": ("STUDY", "SERIES", "IMAGE"),
        "1.2.840.10008.5.1.4.1.2.3.": ("PATIENT", "STUDY"),
    }
)
"""Patient Root, Study Root, and the retired Patient/Study Only: what the UIDs of their three services begin with."""
_DEPTH: Mapping[str, int] = MappingProxyType({"PATIENT": 0, "STUDY": 1, "SERIES": 2, "IMAGE": 3})
_SOP_CLASS = 0x00080016
PATIENT_COUNTS = frozenset({0x00201200, 0x00201202, 0x00201204})
"""Number of Patient Related Studies, Series, Instances: answered at PATIENT level only."""
_OF_THE_QUERY = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, 0x00080053, RETRIEVE_AE_TITLE})
"""What is about the query and not about what is found."""
MOST_FIELDS = 200
"""Attributes that a search names; for more it asks for all."""
_MOST_UIDS = 100


class Search(NamedTuple):
    """`GET path?parameters` below a DICOMweb root; the parameters are not percent-encoded."""

    path: str
    parameters: tuple[tuple[str, str], ...]


def levels_of(model: str) -> tuple[Level, ...]:
    """The levels of the information model that a SOP class of Query/Retrieve is about, from the root down. Raises
    `IdentifierMismatch` for any other SOP class."""
    for start, levels in _ROOTS.items():
        if model.startswith(start):
            return levels
    raise IdentifierMismatch("this SOP class is no query or retrieve")


def read_level(identifier: Identifier, model: str) -> Level:
    """The Query/Retrieve Level (0008,0052); raises `IdentifierMismatch` when it is missing or not of the model."""
    for level in levels_of(model):
        if level == identifier.level:
            return level
    what = "is not one of this SOP class" if identifier.level else "is missing"
    raise IdentifierMismatch(f"Query/Retrieve Level {what}", QUERY_RETRIEVE_LEVEL)


def require_unique_keys(identifier: Identifier, model: str) -> None:
    """The rule of hierarchical queries (PS3.4 C.4.1.3.1.1): each level above has its unique key with one value. Raises
    `IdentifierMismatch` that names the first one which has not."""
    level = read_level(identifier, model)
    for above in levels_of(model):
        if above == level:
            return
        value = identifier.text(UNIQUE_KEY[above])
        if not value or (above == "PATIENT" and any(c in value for c in "*?\\")):
            raise IdentifierMismatch(f"the unique key of level {above} is missing", UNIQUE_KEY[above])
        if above != "PATIENT" and not is_uid(value):
            raise IdentifierMismatch(f"the unique key of level {above} is not one UID", UNIQUE_KEY[above])


def level_of_key(key: Key) -> Level:
    """The level of the entity that the attribute is about; what is not known belongs to the instance."""
    row = BY_TAG.get(key.tag)
    return row.level if row else LEVEL_OF.get(key.tag, "IMAGE")


def is_supported(key: Key, level: Level) -> bool:
    """Whether answers at `level` can hold the attribute: those of its level and of the levels above, and, as far as
    they are the same in all that is below or a list, some of the levels below (Modality of a study)."""
    if key.tag in _OF_THE_QUERY or key.tag == INSTANCE_AVAILABILITY or level == "IMAGE":
        return True
    if level == "PATIENT":
        return key.tag in PATIENT_COUNTS or level_of_key(key) == "PATIENT"
    return key.tag == _SOP_CLASS or _DEPTH[level_of_key(key)] <= (2 if level == "STUDY" else _DEPTH[level])


def unsupported_keys(identifier: Identifier, level: Level) -> tuple[int, ...]:
    """The keys that answers have with zero length whatever is stored (PS3.4 C.4.1.1.4, FF01)."""
    return tuple(key.tag for key in identifier.keys if not is_supported(key, level))


def to_search(identifier: Identifier, model: str, behaviour: Behaviour = STANDARD, *, patients: bool = True) -> Search:
    """The search that answers an identifier of the SOP class `model`. Without the resource of `patients`, queries at
    PATIENT level search for studies. Raises `IdentifierMismatch`."""
    level = read_level(identifier, model)
    if not behaviour.relational_queries:
        require_unique_keys(identifier, model)
    study, series = identifier.text(STUDY_UID), identifier.text(SERIES_UID)
    inside = level in ("SERIES", "IMAGE") and is_uid(study)
    path = f"/studies/{study}" if inside else ""
    named = {STUDY_UID} if inside else set()
    if level == "IMAGE" and inside and is_uid(series):
        path += f"/series/{series}"
        named.add(SERIES_UID)
    resource = {"PATIENT": "/patients" if patients else "/studies", "STUDY": "/studies", "SERIES": "/series"}
    left_out = named | (PATIENT_COUNTS if not patients else set())
    return Search(path + resource.get(level, "/instances"), tuple(_parameters(identifier, level, left_out)))


def in_portions(identifier: Identifier, model: str) -> Iterator[Identifier]:
    """The identifier with portions of its list of UIDs, when that is too long for one address. What one portion finds
    no other does."""
    unique = UNIQUE_KEY[read_level(identifier, model)]
    uids = tuple(dict.fromkeys(identifier.text(unique).split("\\")))
    if len(uids) <= _MOST_UIDS or unique == PATIENT_ID:
        yield identifier
        return
    for start in range(0, len(uids), _MOST_UIDS):
        portion = "\\".join(uids[start : start + _MOST_UIDS])
        keys = tuple(replace(key, text=portion) if key.tag == unique else key for key in identifier.keys)
        yield Identifier(keys)


def _parameters(identifier: Identifier, level: Level, left_out: set[int]) -> Iterator[tuple[str, str]]:
    fields = []
    for key in identifier.keys:
        if key.tag in _OF_THE_QUERY or key.tag in left_out:
            continue
        conditions = list(conditions_of(key, f"{key.tag:08X}")) if _is_matched(key, level) else []
        yield from conditions
        if is_supported(key, level) and (not conditions or key.items):
            fields.append(f"{key.tag:08X}")
    if len(fields) > MOST_FIELDS:
        fields = ["all"]
    if fields:
        yield "includefield", ",".join(fields)


def _is_matched(key: Key, level: Level) -> bool:
    """A key of a level below, when it is one of those that servers must match (PS3.18 Table 10.6.1-5), too: then it is
    a relational query."""
    row = BY_TAG.get(key.tag)
    return is_supported(key, level) or (level != "PATIENT" and row is not None and bool(row.column))


def conditions_of(key: Key, name: str) -> Iterator[tuple[str, str]]:
    """The search parameters for the values of a key and of the items in it; `name` is its attribute ID (PS3.18
    8.3.4.1)."""
    if key.vr == "SQ":
        for item in key.items:
            for inner in item:
                yield from conditions_of(inner, f"{name}.{inner.tag:08X}")
    elif key.vr not in BINARY and key.text.strip("*") and key.tag != SPECIFIC_CHARACTER_SET:
        yield name, key.text.replace("\\", ",") if key.vr in ("UI", "CS") else key.text
