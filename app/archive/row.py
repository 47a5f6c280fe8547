"""From a header and its digests to the row that the catalog commits."""

from __future__ import annotations

import orjson
import xxhash

from app.archive.packed_json import pack
from app.catalog.instances import NewInstance
from app.dicom.attributes import TABLE
from app.dicom.header import FrameIndex, Header
from app.dicom.names import search_key
from app.dicom.value_sets import value_sets
from app.dicom.values import date_key, integer_key, text_key, time_key

_FRAME_KINDS = {"none": 0, "native": 1, "encapsulated": 2}
_INSTANCE_NUMBER = 0x00200013
_COLUMNS = {
    level: tuple(
        (row.column, row.tag, row.matching)
        for row in TABLE
        if row.level in levels and row.matching in ("text", "name", "date", "time", "integer") and row.column
        if row.column not in ("series_count", "instance_count")
    )
    for level, levels in {"study": ("PATIENT", "STUDY"), "series": ("SERIES",)}.items()
}
_KEYS = {"text": text_key, "name": lambda text: text_key(search_key(text)), "date": date_key, "time": time_key}


def make_row(header: Header, version: str, length: int, digests: tuple[bytes, bytes], checks: bytes) -> NewInstance:
    """The row of one received file of `length` bytes. `digests` are SHA-256 of the data set and of what is before it,
    `checks` the checksums of its pieces."""
    frames = header.frames
    bulk = orjson.dumps([(b.path, b.vr, b.offset, b.length) for b in header.bulk]) if header.bulk else b""
    facts = (
        header.sop_instance,
        version,
        text_key(header.sop_class),
        text_key(header.transfer_syntax),
        integer_key(header.values.get(_INSTANCE_NUMBER, "")),
        length,
        header.dataset_offset,
        *digests,
        *_frame_facts(frames, header.broken_off),
        header.instance_json,
        pack(header.json),
        frames.table,
        checks,
        bulk,
    )
    study_hash = xxhash.xxh3_64_intdigest(header.study_json)
    series_hash = xxhash.xxh3_64_intdigest(header.series_json, seed=study_hash)
    return NewInstance(
        study=header.study,
        series=header.series,
        sop=header.sop_instance,
        study_hash=study_hash - (1 << 63),
        series_hash=series_hash - (1 << 63),
        study_details=lambda: _details("study", header, header.study_json),
        series_details=lambda: (
            _details("series", header, header.series_json)
            | {"attributes": value_sets(header.study_json, header.series_json)}
        ),
        facts=facts,
    )


def _frame_facts(frames: FrameIndex, broken_off: bool) -> tuple[int, ...]:
    return (
        _FRAME_KINDS[frames.kind],
        frames.count,
        -frames.word if broken_off else frames.word,
        frames.frame_bits,
        frames.offset,
        frames.length,
        frames.tag,
    )


def _details(level: str, header: Header, members: bytes) -> dict[str, object]:
    """Values of columns; those of a study are None when the data set has none, since others of the study may have."""
    details: dict[str, object] = {"json": members.decode()}
    for column, tag, matching in _COLUMNS[level]:
        text = header.values.get(tag, "")
        if level == "study" and not text:
            details[column] = None
        else:
            details[column] = integer_key(text) if matching == "integer" else _KEYS[matching](text)
    return details
