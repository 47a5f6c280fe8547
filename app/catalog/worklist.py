"""The rows of the modality worklist: written, read by name, moved on when their steps are performed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Protocol

import asyncpg

from app.catalog.engine import Catalog

Row = asyncpg.Record


@dataclass(frozen=True, slots=True)
class ItemRow:
    """What the catalog keeps of one item, as `app.dicom.worklist` reads it from the item's DICOM JSON. The fields are
    columns of the same name, in the order of `_PUT`."""

    key: str
    study_uid: str
    json: bytes
    extra: bytes = b""
    station_aets: Sequence[str] = ()
    station_names: Sequence[str] = ()
    modality: str = ""
    step_id: str = ""
    step_date: str = ""
    step_time: str = ""
    step_location: str = ""
    performing_physician_name: str = ""
    procedure_id: str = ""
    procedure_description: str = ""
    accession_number: str = ""
    referring_physician_name: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    placer_order: str = ""
    filler_order: str = ""
    source: str = ""


class Executor(Protocol):
    """A catalog, or a connection of it inside a transaction."""

    async def execute(self, sql: str, *args: Any) -> str:
        """Runs one statement; its command tag."""


COLUMNS = tuple(field.name for field in fields(ItemRow))
_PUT = """
INSERT INTO worklist_item (key, study_uid, json, extra, station_aets, station_names, modality, step_id, step_date,
    step_time, step_location, performing_physician_name, procedure_id, procedure_description, accession_number,
    referring_physician_name, patient_id, issuer_of_patient_id, patient_name, placer_order, filler_order, source)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT (key) DO UPDATE SET (study_uid, json, extra, station_aets, station_names, modality, step_id, step_date,
    step_time, step_location, performing_physician_name, procedure_id, procedure_description, accession_number,
    referring_physician_name, patient_id, issuer_of_patient_id, patient_name, placer_order, filler_order, source,
    updated_at) = (excluded.study_uid, excluded.json, excluded.extra, excluded.station_aets, excluded.station_names,
    excluded.modality, excluded.step_id, excluded.step_date, excluded.step_time, excluded.step_location,
    excluded.performing_physician_name, excluded.procedure_id, excluded.procedure_description,
    excluded.accession_number, excluded.referring_physician_name, excluded.patient_id, excluded.issuer_of_patient_id,
    excluded.patient_name, excluded.placer_order, excluded.filler_order, excluded.source, now())
RETURNING xmax = 0"""
_GET = "SELECT * FROM worklist_item WHERE key = $1"
_DELETE = "DELETE FROM worklist_item WHERE key = $1 RETURNING key"
_OF_ORDER = """
SELECT * FROM worklist_item
 WHERE ($1 <> '' AND placer_order = $1) OR ($2 <> '' AND filler_order = $2)
    OR ($1 = '' AND $2 = '' AND $3 <> '' AND accession_number = $3)
 ORDER BY id"""
_OF_STEP = "SELECT * FROM worklist_item WHERE study_uid = $1 AND step_id = $2 ORDER BY id"
_OF_PATIENT = """
SELECT * FROM worklist_item
 WHERE patient_id = $1 AND ($2 = '' OR issuer_of_patient_id IN ('', $2)) ORDER BY id"""
_MOVE_ON = """
UPDATE worklist_item
   SET state = $1, performed_uid = $2, updated_at = now(), hidden_at = now() + $3::float8 * interval '1 minute'
 WHERE study_uid = $4 AND ($5 = '' OR step_id = $5)"""
_TAKE_BACK = """
UPDATE worklist_item SET state = $1, performed_uid = '', hidden_at = NULL, updated_at = now()
 WHERE performed_uid = $2"""
_SET_STATE = """
UPDATE worklist_item SET state = $1, updated_at = now(), hidden_at = now() + $2::float8 * interval '1 minute'
 WHERE key = ANY($3::text[])"""
_IMAGED = """
UPDATE worklist_item w
   SET state = $1, updated_at = now(), hidden_at = seen.at + $2::float8 * interval '1 minute'
  FROM (SELECT i.id, min(e.created_at) AS at
          FROM worklist_item i
          JOIN study s ON s.uid = i.study_uid
          JOIN series e ON e.study_id = s.id AND e.instance_count > 0
         WHERE i.state < 2
           AND (e.attributes @> jsonb_build_object('00400275.00400009', jsonb_build_array(i.step_id))
                OR (e.modality = i.modality AND NOT jsonb_exists(e.attributes, '00400275.00400009')))
         GROUP BY i.id) AS seen
 WHERE w.id = seen.id"""
_FORGET = "DELETE FROM worklist_item WHERE hidden_at < now() - $1::float8 * interval '1 day'"


async def put(catalog: Catalog, row: ItemRow) -> bool:
    """Adds an item, or replaces the one of the same key; whether it is new."""
    is_new = bool(await catalog.fetchval(_PUT, *astuple(row)))
    catalog.bell.ring()
    return is_new


async def get(catalog: Catalog, key: str) -> Row | None:
    """The row of this key."""
    return await catalog.fetchrow(_GET, key)


async def delete(catalog: Catalog, key: str) -> bool:
    """Removes an item; False when there is none."""
    return await catalog.fetchval(_DELETE, key) is not None


async def of_order(catalog: Catalog, placer: str, filler: str, accession: str) -> list[Row]:
    """The items of an order: by its placer or filler number; by its accession number when it has neither."""
    return await catalog.fetch(_OF_ORDER, placer, filler, accession)


async def of_step(catalog: Catalog, study_uid: str, step_id: str) -> list[Row]:
    """The items of one scheduled procedure step."""
    return await catalog.fetch(_OF_STEP, study_uid, step_id)


async def of_patient(catalog: Catalog, patient_id: str, issuer: str) -> list[Row]:
    """The items of a patient; those without an issuer too."""
    return await catalog.fetch(_OF_PATIENT, patient_id, issuer)


async def move_on(
    executor: Executor, state: int, performed_uid: str, minutes: float | None, study_uid: str, step_id: str
) -> int:
    """Sets the state of a step's items (of all steps of a study without `step_id`), to be hidden after `minutes`; how
    many there are."""
    return _count(await executor.execute(_MOVE_ON, state, performed_uid, minutes, study_uid, step_id))


async def take_back(executor: Executor, state: int, performed_uid: str) -> int:
    """Shows the items again that a performed procedure step had moved on; how many there are."""
    return _count(await executor.execute(_TAKE_BACK, state, performed_uid))


async def set_state(catalog: Catalog, state: int, minutes: float | None, keys: Sequence[str]) -> int:
    """Sets the state of items by their keys, to be hidden after `minutes`."""
    return _count(await catalog.execute(_SET_STATE, state, minutes, keys))


async def settle_imaged(catalog: Catalog, state: int, minutes: float) -> int:
    """Moves on the open items of whose step a series is stored: one that names the step, or one of its study and
    modality that names none. They are hidden `minutes` after the first such series came."""
    return _count(await catalog.execute(_IMAGED, state, minutes))


async def forget(catalog: Catalog, days: float) -> int:
    """Removes items that were hidden for longer than `days`; how many."""
    return _count(await catalog.execute(_FORGET, days))


def _count(tag: str) -> int:
    """The number of rows in a command tag such as `UPDATE 3`."""
    return int(tag.rpartition(" ")[2])
