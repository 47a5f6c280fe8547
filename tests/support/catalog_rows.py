"""Rows of the catalog from DICOM JSON objects, by the store's own transaction: what a search finds without any file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import orjson

from app.archive.row import make_row
from app.catalog.engine import Catalog
from app.catalog.instances import InstanceTable, NewInstance
from app.dicom.attributes import INDEXED, INSTANCE_DEFAULT, LEVEL_OF
from app.dicom.header import BULK_MARK, Header

DataSet = dict[str, Any]

STUDY, SERIES, SOP, CLASS = "0020000D", "0020000E", "00080018", "00080016"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"


def element(vr: str, *values: object) -> dict[str, object]:
    """One DICOM JSON element; names are given as PN text."""
    if not values:
        return {"vr": vr}
    return {"vr": vr, "Value": [_name(value) if vr == "PN" else value for value in values]}


def _name(value: object) -> object:
    groups = ("Alphabetic", "Ideographic", "Phonetic")
    return {group: text for group, text in zip(groups, str(value).split("="), strict=False) if text}


def data_set(study: str, series: str, sop: str, elements: DataSet) -> DataSet:
    """A data set with its UIDs, in the order of tags."""
    uids = {STUDY: element("UI", study), SERIES: element("UI", series), SOP: element("UI", sop)}
    members = {CLASS: element("UI", CT), "00080060": element("CS", "CT")} | elements | uids
    return {tag: members[tag] for tag in sorted(members)}


def _json(data: DataSet) -> bytes:
    """Stored JSON: the mark of bulk data stands in it as it is."""
    return orjson.dumps(data).replace(b"\\u0001", BULK_MARK.encode())


def header_of(dataset: DataSet, transfer_syntax: str = EXPLICIT_LE) -> Header:
    """What the header reader gives for a file with this data set and no pixels."""

    def members(*levels: str) -> bytes:
        chosen = {tag: e for tag, e in dataset.items() if LEVEL_OF.get(int(tag, 16)) in levels}
        return _json(chosen)[1:-1]

    default = {tag: e for tag, e in dataset.items() if int(tag, 16) in INSTANCE_DEFAULT}
    uids = {tag: dataset[tag]["Value"][0] for tag in (STUDY, SERIES, SOP, CLASS)}
    return Header(
        transfer_syntax=transfer_syntax,
        sop_class=uids[CLASS],
        sop_instance=uids[SOP],
        study=uids[STUDY],
        series=uids[SERIES],
        dataset_offset=300,
        json=_json(dataset),
        study_json=members("PATIENT", "STUDY"),
        series_json=members("SERIES"),
        instance_json=_json(default)[1:-1],
        values={int(tag, 16): text for tag, e in dataset.items() if int(tag, 16) in INDEXED if (text := _text(e))},
    )


def _text(e: dict[str, Any]) -> str:
    values = e.get("Value", ())
    groups = ("Alphabetic", "Ideographic", "Phonetic")
    texts = ["=".join(v.get(g, "") for g in groups).rstrip("=") if isinstance(v, dict) else str(v) for v in values]
    return "\\".join(texts)


def rows_of(datasets: Sequence[DataSet]) -> list[NewInstance]:
    """What the store path would hand to the catalog for files with these data sets."""
    return [make_row(header_of(each), uuid4().hex[:12], 1000, (uuid4().bytes, b""), b"") for each in datasets]


async def store(catalog: Catalog, datasets: Sequence[DataSet], batch: int = 50) -> None:
    """Stores data sets as instances."""
    table = InstanceTable(catalog)
    rows = rows_of(datasets)
    for at in range(0, len(rows), batch):
        await table.commit(rows[at : at + batch], "replace")
