"""Answers of a search: stored JSON members joined with computed ones, in the order of their tags (PS3.18 F.2.2).

Stored members are cut apart by the C scanner of the standard library, and keep their bytes. Keys are tags as eight
hexadecimal digits; a member is the bytes of `"<tag>":{...}`."""

from __future__ import annotations

import json
import json.scanner
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from app.dicom.attributes import INSTANCE_DEFAULT, LEVEL_OF, REQUEST_ATTRIBUTES, TABLE
from app.dicom.header import BULK_MARK
from app.dicom.query import vr_of

Members = Mapping[str, bytes]

_MARK = BULK_MARK.encode()
_scan = json.scanner.make_scanner(json.JSONDecoder(strict=False))  # type: ignore[arg-type]
_KEY_LENGTH = len('"00080005":')
_KEPT_LENGTH = 4 * 1024
_KEYWORDS = {row.keyword: row.hex for row in TABLE}
_LAST_COMPUTED = "00083002"
"""Behind Available Transfer Syntax UID nothing is computed for an instance, but the UIDs, which are stored."""


def _member(keyword: str, vr: str) -> tuple[str, bytes]:
    tag = _KEYWORDS[keyword]
    return tag, b'"%b":{"vr":"%b","Value":[' % (tag.encode(), vr.encode())


_STUDY_UID, _STUDY_UID_OPENS = _member("StudyInstanceUID", "UI")
_SERIES_UID, _SERIES_UID_OPENS = _member("SeriesInstanceUID", "UI")
_SOP_UID, _SOP_UID_OPENS = _member("SOPInstanceUID", "UI")
_SYNTAX, _SYNTAX_OPENS = _member("AvailableTransferSyntaxUID", "UI")
_URL, _URL_OPENS = _member("RetrieveURL", "UR")
_AVAILABILITY, _AVAILABILITY_OPENS = _member("InstanceAvailability", "CS")
_ONLINE = _AVAILABILITY_OPENS + b'"ONLINE"]}'
_STUDY_SERIES, _STUDY_SERIES_OPENS = _member("NumberOfStudyRelatedSeries", "IS")
_STUDY_INSTANCES, _STUDY_INSTANCES_OPENS = _member("NumberOfStudyRelatedInstances", "IS")
_SERIES_INSTANCES, _SERIES_INSTANCES_OPENS = _member("NumberOfSeriesRelatedInstances", "IS")
_MODALITIES = _KEYWORDS["ModalitiesInStudy"]
_CLASSES = _KEYWORDS["SOPClassesInStudy"]
_REQUESTS = f"{REQUEST_ATTRIBUTES:08X}"
MODALITY = _KEYWORDS["Modality"]
SOP_CLASS = _KEYWORDS["SOPClassUID"]
_DEFAULT = frozenset(f"{tag:08X}" for tag in INSTANCE_DEFAULT)
_PATIENT_COUNTS = ("00201200", "00201202", "00201204")
"""Number of Patient Related Studies, Series, Instances."""


def cut(members: bytes) -> Members:
    """The members of a study or series by tag, without those that point to bulk data of some instance."""
    return _cut_kept(members) if len(members) <= _KEPT_LENGTH else _cut(members)


def cut_head(members: bytes) -> Members:
    """The members of an instance by tag. Unlike those of studies, they are not remembered: there are too many."""
    return _take(members.decode(), 0, "")[0]


def _cut(members: bytes) -> Members:
    found, _ = _take(members.decode(), 0, "")
    if _MARK in members:
        found = {tag: member for tag, member in found.items() if _MARK not in member}
    return found


_cut_kept = lru_cache(maxsize=2048)(_cut)


def _take(text: str, at: int, last: str) -> tuple[dict[str, bytes], int]:
    """Members from `at` on, up to and with tag `last` ("" means all), and where the next one begins."""
    found = {}
    while at < len(text) and text[at] == '"':
        tag = text[at + 1 : at + 9]
        if last and tag > last:
            break
        _, end = _scan(text, at + _KEY_LENGTH)
        found[tag] = text[at:end].encode()
        at = end + 1
    return found, at


def data_set(stored: Iterable[bytes]) -> dict[str, Any]:
    """Stored members as one parsed object."""
    merged: dict[str, Any] = orjson.loads(b"{" + b",".join(filter(None, stored)).replace(_MARK, b"") + b"}")
    return merged


def join(members: Members) -> bytes:
    """One DICOM JSON object."""
    return b"{" + b",".join([members[tag] for tag in sorted(members)]) + b"}"


def texts(tag: str, vr: str, values: Iterable[str]) -> bytes:
    """A member with text values."""
    listed = orjson.dumps(list(values))
    return b'"%b":{"vr":"%b"%b}' % (tag.encode(), vr.encode(), b',"Value":' + listed if listed != b"[]" else b"")


def study_members(
    stored: bytes, uid: str, modalities: Iterable[str], classes: Iterable[str], counts: tuple[int, int]
) -> dict[str, bytes]:
    """The stored members of a study, and those computed from its series and instances."""
    return dict(cut(stored)) | _computed(uid, modalities, classes, counts)


def _computed(uid: str, modalities: Iterable[str], classes: Iterable[str], counts: tuple[int, int]) -> dict[str, bytes]:
    return {
        _STUDY_UID: b'%b"%b"]}' % (_STUDY_UID_OPENS, uid.encode()),
        _AVAILABILITY: _ONLINE,
        _MODALITIES: texts(_MODALITIES, "CS", modalities),
        _CLASSES: texts(_CLASSES, "UI", classes),
        _STUDY_SERIES: b"%b%d]}" % (_STUDY_SERIES_OPENS, counts[0]),
        _STUDY_INSTANCES: b"%b%d]}" % (_STUDY_INSTANCES_OPENS, counts[1]),
    }


def whole_study(
    stored: bytes, uid: str, modalities: tuple[str, ...], classes: tuple[str, ...], counts: tuple[int, int], root: bytes
) -> bytes:
    """The answer for a study when nothing of lower levels is asked for. Lists of studies are asked for again and again,
    so that finished answers are remembered."""
    make = _whole_study_kept if len(stored) <= _KEPT_LENGTH else _whole_study
    return make(stored, uid, modalities, classes, counts, root)


def _whole_study(
    stored: bytes, uid: str, modalities: tuple[str, ...], classes: tuple[str, ...], counts: tuple[int, int], root: bytes
) -> bytes:
    return join({**_cut(stored), **_computed(uid, modalities, classes, counts), **study_identity(root, uid)})


_whole_study_kept = lru_cache(maxsize=4096)(_whole_study)


def study_identity(root: bytes, uid: str) -> dict[str, bytes]:
    """Where the study is."""
    return {_URL: b'%b"%b/studies/%b"]}' % (_URL_OPENS, root, uid.encode())}


def series_identity(root: bytes, study: str, series: str) -> dict[str, bytes]:
    """UIDs of a series, and where it is."""
    study_uid, series_uid = study.encode(), series.encode()
    return {
        _AVAILABILITY: _ONLINE,
        _URL: b'%b"%b/studies/%b/series/%b"]}' % (_URL_OPENS, root, study_uid, series_uid),
        _STUDY_UID: b'%b"%b"]}' % (_STUDY_UID_OPENS, study_uid),
        _SERIES_UID: b'%b"%b"]}' % (_SERIES_UID_OPENS, series_uid),
    }


def series_count(instances: int) -> dict[str, bytes]:
    """How many instances a series has."""
    return {_SERIES_INSTANCES: b"%b%d]}" % (_SERIES_INSTANCES_OPENS, instances)}


def instance_identity(root: bytes, study: str, series: str, sop: str, syntax: str) -> dict[str, bytes]:
    """UIDs of an instance, where it is and in which transfer syntax."""
    study_uid, series_uid, sop_uid = study.encode(), series.encode(), sop.encode()
    where = (_URL_OPENS, root, study_uid, series_uid, sop_uid)
    return {
        _AVAILABILITY: _ONLINE,
        _SOP_UID: b'%b"%b"]}' % (_SOP_UID_OPENS, sop_uid),
        _URL: b'%b"%b/studies/%b/series/%b/instances/%b"]}' % where,
        _SYNTAX: b'%b"%b"]}' % (_SYNTAX_OPENS, syntax.encode()),
        _STUDY_UID: b'%b"%b"]}' % (_STUDY_UID_OPENS, study_uid),
        _SERIES_UID: b'%b"%b"]}' % (_SERIES_UID_OPENS, series_uid),
    }


def with_address(stored: bytes, root: bytes, study: str, series: str, sop: str) -> bytes:
    """Stored JSON of an instance whose BulkDataURIs lead to it."""
    if _MARK not in stored:
        return stored
    where = (root, study.encode(), series.encode(), sop.encode())
    return stored.replace(_MARK, b"%b/studies/%b/series/%b/instances/%b/bulkdata/" % where)


def whole_instance(data: bytes, identity: Members) -> bytes:
    """The JSON object `data` with the computed members; its UIDs are kept as they are. Only the beginning is cut."""
    text = data.decode()
    members, at = _take(text, 1, _LAST_COMPUTED)
    members.update((tag, member) for tag, member in identity.items() if tag <= _LAST_COMPUTED)
    beginning = b",".join([members[tag] for tag in sorted(members)])
    return b"{" + beginning + (b"," + text[at:].encode() if text[at] != "}" else b"}")


def chosen(data: bytes, tags: Collection[str]) -> dict[str, bytes]:
    """The members of the JSON object `data` that are in `tags` or that instances return by default."""
    members, _ = _take(data.decode(), 1, max(*_DEFAULT, *tags))
    return {tag: member for tag, member in members.items() if tag in tags or tag in _DEFAULT}


def of_patient(stored: bytes) -> dict[str, bytes]:
    """Those of a study's stored members that are about the patient."""
    return {
        tag: member
        for tag, member in cut(stored).items()
        if LEVEL_OF.get(int(tag, 16)) == "PATIENT" or tag == _KEYWORDS["SpecificCharacterSet"]
    }


def patient_counts(studies: int, series: int, instances: int) -> dict[str, bytes]:
    """How much a patient has."""
    return {
        tag: b'"%b":{"vr":"IS","Value":[%d]}' % (tag.encode(), number)
        for tag, number in zip(_PATIENT_COUNTS, (studies, series, instances), strict=True)
    }


def union_by_study(series: Iterable[tuple[int, bytes]], tags: Collection[str]) -> dict[int, dict[str, bytes]]:
    """For each study the members `tags` of its series; where series differ, with the values of all of them."""
    unions: dict[int, dict[str, list[bytes]]] = {}
    for study, stored in series:
        members = cut(stored)
        for tag in tags:
            if tag in members:
                kinds = unions.setdefault(study, {}).setdefault(tag, [])
                if members[tag] not in kinds:
                    kinds.append(members[tag])
    return {study: {tag: _union(tag, kinds) for tag, kinds in of.items()} for study, of in unions.items()}


def _union(tag: str, members: Sequence[bytes]) -> bytes:
    if len(members) == 1:
        return members[0]
    elements = [orjson.loads(member[_KEY_LENGTH:]) for member in members]
    values: list[object] = []
    for element in elements:
        values += [value for value in element.get("Value", ()) if value not in values]
    united = {"vr": elements[0]["vr"], "Value": values} if values else {"vr": elements[0]["vr"]}
    return b'"%b":%b' % (tag.encode(), orjson.dumps(united))


def requested(series: Iterable[bytes], tags: Collection[str]) -> dict[str, bytes]:
    """Members `tags` with the values that the Request Attributes Sequences of these series have for them."""
    found: dict[str, list[object]] = {}
    for stored in series:
        sequence = cut(stored).get(_REQUESTS)
        for item in orjson.loads(sequence[_KEY_LENGTH:]).get("Value", ()) if sequence else ():
            for tag in tags:
                values = found.setdefault(tag, [])
                values += [value for value in (item or {}).get(tag, {}).get("Value", ()) if value not in values]
    return {tag: texts(tag, vr_of(int(tag, 16)), map(str, values)) for tag, values in found.items() if values}
