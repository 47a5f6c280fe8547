"""Which instances the identifier of a C-GET or C-MOVE means (PS3.4 C.4.2.1.4.1, C.4.3.1.3.1), by searches of PS3.18.

The unique keys of the levels above are single values, those of the level a list. Ordinary matching keys select only
for peers whose behaviour says so, and never more than a hundred studies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from app.dicom.uid import is_uid
from app.errors import ArchiveUnreachable, IdentifierMismatch
from dimse_bridge.archive_client.archive import Archive
from dimse_bridge.identifiers.keys import Search
from dimse_bridge.identifiers.request import QUERY_RETRIEVE_LEVEL, Identifier

PATIENT_ID, STUDY, SERIES, INSTANCE = 0x00100020, 0x0020000D, 0x0020000E, 0x00080018
MOST_STUDIES = 100
"""Studies that ordinary matching keys may select."""
_UNIQUE_KEYS = MappingProxyType(
    {
        "PATIENT": (PATIENT_ID,),
        "STUDY": (STUDY,),
        "SERIES": (STUDY, SERIES),
        "IMAGE": (STUDY, SERIES, INSTANCE),
    }
)
_PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1."
_NO_CONDITION = frozenset({QUERY_RETRIEVE_LEVEL, 0x00080005, 0x00080054})
_SYNTAXES = ("includefield", "00083002")
_PAGE = 1000
_LISTED = 50
"""UIDs in one search; longer addresses are refused by some servers."""


class Wanted(NamedTuple):
    """One instance to send. `syntaxes` are the transfer syntaxes it is available in, the stored one first; empty when
    the archive does not tell."""

    study: str
    series: str
    sop: str
    sop_class: str
    syntaxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """What an identifier selects by. `uids` are those of the level; the keys above are "" when they were not given."""

    level: str
    patient_id: str = ""
    study: str = ""
    series: str = ""
    uids: tuple[str, ...] = ()


def read_selection(identifier: Identifier, sop_class: str) -> Selection:
    """The unique keys in `identifier` of a request with the SOP Class UID `sop_class`; raises `IdentifierMismatch`."""
    level = identifier.level
    in_patient_root = sop_class.startswith(_PATIENT_ROOT)
    if level not in _UNIQUE_KEYS or (level == "PATIENT" and not in_patient_root):
        raise IdentifierMismatch("no Query/Retrieve Level of this information model", QUERY_RETRIEVE_LEVEL)
    patient_id = _patient_id(identifier, required=level == "PATIENT") if in_patient_root else ""
    if level == "PATIENT":
        return Selection(level, patient_id)
    study, series = (_single_uid(identifier, tag) if tag in _UNIQUE_KEYS[level][:-1] else "" for tag in (STUDY, SERIES))
    return Selection(level, patient_id, study, series, _uid_list(identifier, _UNIQUE_KEYS[level][-1]))


def _patient_id(identifier: Identifier, *, required: bool) -> str:
    value = identifier.text(PATIENT_ID)
    if required and not value:
        raise IdentifierMismatch("Patient ID is missing", PATIENT_ID)
    if any(character in value for character in "*?\\"):
        raise IdentifierMismatch("Patient ID is no single value", PATIENT_ID)
    return value


def _single_uid(identifier: Identifier, tag: int) -> str:
    uids = _uid_list(identifier, tag)
    if len(uids) > 1:
        raise IdentifierMismatch(f"{tag:08X} of a level above has several values", tag)
    return uids[0]


def _uid_list(identifier: Identifier, tag: int) -> tuple[str, ...]:
    text = identifier.text(tag)
    if not text:
        raise IdentifierMismatch(f"the unique key {tag:08X} is missing", tag)
    uids = tuple(dict.fromkeys(uid for uid in text.split("\\") if uid))
    if not all(map(is_uid, uids)):
        raise IdentifierMismatch(f"{tag:08X} holds something that is no UID", tag)
    return uids


def selects_by_keys(identifier: Identifier) -> bool:
    """Whether the identifier has conditions besides the unique keys of its level."""
    unique = _UNIQUE_KEYS.get(identifier.level, ())
    return any(
        key.tag not in unique and key.tag not in _NO_CONDITION and _has_condition(key) for key in identifier.keys
    )


def _has_condition(key: Any) -> bool:
    if key.items:
        return any(_has_condition(inner) for item in key.items for inner in item)
    return bool(key.text.strip("*"))


async def expand(archive: Archive, selection: Selection) -> list[Wanted]:
    """The instances that the unique keys select, in the archive's order. Raises what `Archive.search` does."""
    found: list[Wanted] = []
    async for place, parameters in _searches(archive, selection):
        found += await _instances(archive, place, parameters)
    return list(dict.fromkeys(found))


class _Place(NamedTuple):
    """A study, or a series of it, in which instances are searched for."""

    study: str
    series: str = ""

    @property
    def path(self) -> str:
        """The resource of its instances."""
        return f"/studies/{self.study}" + (f"/series/{self.series}" if self.series else "") + "/instances"


async def _instances(archive: Archive, place: _Place, parameters: Sequence[tuple[str, str]]) -> list[Wanted]:
    search = archive.search(place.path, [*parameters, _SYNTAXES], page=_PAGE)
    return [_wanted(result, place) async for page in search for result in page]


async def _searches(archive: Archive, selection: Selection) -> AsyncIterator[tuple[_Place, list[tuple[str, str]]]]:
    of_patient = [("PatientID", selection.patient_id)] if selection.patient_id else []
    if selection.level == "PATIENT":
        for study in await _studies_of(archive, selection.patient_id):
            yield _Place(study), []
    elif selection.level == "STUDY":
        for study in selection.uids:
            yield _Place(study), of_patient
    elif selection.level == "SERIES":
        for series in selection.uids:
            yield _Place(selection.study, series), of_patient
    else:
        for uids in in_portions(selection.uids, _LISTED):
            yield _Place(selection.study, selection.series), [*of_patient, ("SOPInstanceUID", ",".join(uids))]


def in_portions(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """`values` in portions of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


async def _studies_of(archive: Archive, patient_id: str) -> list[str]:
    """The studies of exactly this Patient ID, whatever the server makes of case and spaces."""
    search = archive.search("/studies", [("PatientID", patient_id)], page=_PAGE)
    results = [result async for page in search for result in page]
    return [_uid(result, STUDY) for result in results if str(_value(result, PATIENT_ID)).strip() == patient_id]


async def expand_by_keys(archive: Archive, level: str, search: Search) -> list[Wanted]:
    """The instances that ordinary matching keys select; `search` is the one that answers them at `level`. Raises
    `IdentifierMismatch` for more than `MOST_STUDIES` studies."""
    known = search.path.split("/")
    study, series = (known[known.index(name) + 1] if name in known[:-1] else "" for name in ("studies", "series"))
    places: dict[_Place, list[str]] = {}
    async for page in archive.search(search.path, [*search.parameters], page=_PAGE):
        for result in page:
            place = _Place(_uid(result, STUDY, study), "" if level == "STUDY" else _uid(result, SERIES, series))
            places.setdefault(place, []).append(_uid(result, INSTANCE) if level == "IMAGE" else "")
        if len({place.study for place in places}) > MOST_STUDIES:
            raise IdentifierMismatch(f"the keys select more than {MOST_STUDIES} studies")
    found: list[Wanted] = []
    for place, instances in places.items():
        for uids in in_portions(instances, _LISTED) if level == "IMAGE" else ((),):
            only = [("SOPInstanceUID", ",".join(uids))] if uids else []
            found += await _instances(archive, place, only)
    return list(dict.fromkeys(found))


def _wanted(result: dict[str, Any], place: _Place) -> Wanted:
    """One result of a search for instances in `place`."""
    syntaxes = result.get("00083002", {}).get("Value") or ()
    sop_class = str(_value(result, 0x00080016))
    return Wanted(
        _uid(result, STUDY, place.study),
        _uid(result, SERIES, place.series),
        _uid(result, INSTANCE),
        sop_class if is_uid(sop_class) else "",
        tuple(uid for uid in syntaxes if isinstance(uid, str) and is_uid(uid)),
    )


def _value(result: dict[str, Any], tag: int) -> Any:
    values = result.get(f"{tag:08X}", {}).get("Value")
    return values[0] if values else ""


def _uid(result: dict[str, Any], tag: int, known: str = "") -> str:
    """A UID of a result, which need not repeat what the resource's address says. Raises `ArchiveUnreachable` when there
    is none: what cannot be addressed cannot be retrieved."""
    uid = known or str(_value(result, tag))
    if not is_uid(uid):
        raise ArchiveUnreachable(f"the archive's search gives {tag:08X} that is no UID")
    return uid
