"""Searches find their rows by an index, whatever plan PostgreSQL keeps for the prepared statement."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from app.archive.context import Context
from app.archive.search import Search
from app.blobs.memory import MemoryBlobStore
from app.catalog.engine import Catalog
from app.dicom.attributes import Level
from app.dicom.query import read_query
from tests.support.database import DatabaseServer

_FILL = """
INSERT INTO study (uid, patient_id, patient_name, study_date, study_time, accession_number, study_description,
                   modalities, series_count, instance_count, json)
SELECT '1.' || n, 'P' || n,
       (ARRAY['smith', 'jones', 'garcia', 'muller', 'wang'])[1 + n % 5] || '^' || left(md5(n::text), 8),
       to_char(date '2010-01-01' + n, 'YYYYMMDD'), '101500.000000', 'A' || n, 'CT ' || md5(n::text), '{CT}', 1, 4,
       convert_to('"00081030":{"vr":"LO","Value":["' || repeat(md5(n::text), 40) || '"]}', 'UTF8')
  FROM generate_series(1, 2500) AS n;
INSERT INTO series (study_id, uid, modality, series_number, instance_count, json, attributes)
SELECT id, uid || '.1', 'CT', 1, 4, '"00080060":{"vr":"CS"}',
       jsonb_build_object('00400275.00400009', jsonb_build_array('SPS' || id))
  FROM study;
INSERT INTO instance (series_id, uid, version, sop_class, transfer_syntax, instance_number, length, dataset_offset,
                      digest, digest_meta)
SELECT e.id, e.uid || '.' || n, 'v', '1.2', '1.2', n, 1, 1, '', '' FROM series e, generate_series(1, 4) AS n;
INSERT INTO instance_data (instance_id, json) SELECT id, '' FROM instance;
ANALYZE;
"""


class Recorder(Catalog):
    """A catalog that remembers what searches asked."""

    asked: list[tuple[str, tuple[object, ...]]]

    async def search(self, sql: str, *args: object) -> list[asyncpg.Record]:
        self.asked.append((sql, args))
        return await super().search(sql, *args)


@pytest.fixture(scope="module")
def filled_url(database_server: DatabaseServer) -> Iterator[str]:
    url = database_server.create()

    async def fill() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(_FILL)
        await connection.close()

    asyncio.run(fill())
    yield url
    database_server.drop(url)


SEARCHES: list[tuple[Level, str, str]] = [
    ("STUDY", "PatientID", "P77"),
    ("STUDY", "StudyInstanceUID", "1.77"),
    ("STUDY", "StudyInstanceUID", "1.77,1.78"),
    ("STUDY", "AccessionNumber", "A77"),
    ("STUDY", "StudyDate", "20120101"),
    ("STUDY", "StudyDate", "20120101-20120110"),
    ("STUDY", "PatientName", "smith^e4da*"),
    ("STUDY", "PatientName", "*^e4da*"),
    ("STUDY", "PatientName", "smith^e4da3b7f"),
    ("STUDY", "StudyDescription", "*e4da3*"),
    ("STUDY", "SeriesInstanceUID", "1.77.1"),
    ("STUDY", "SOPInstanceUID", "1.77.1.2"),
    ("STUDY", "RequestAttributesSequence.ScheduledProcedureStepID", "SPS77"),
    ("SERIES", "PatientID", "P77"),
    ("SERIES", "SOPInstanceUID", "1.77.1.2"),
    ("IMAGE", "PatientID", "P77"),
    ("IMAGE", "SOPInstanceUID", "1.77.1.2"),
    ("IMAGE", "StudyInstanceUID", "1.77"),
    ("PATIENT", "PatientID", "P77"),
    ("STUDY", "", ""),
    ("SERIES", "", ""),
    ("IMAGE", "", ""),
]


async def plans(url: str, level: Level, parameters: list[tuple[str, str]]) -> list[Any]:
    """The plans of the statements of a search, for these values and for any."""
    catalog = Recorder(url)
    catalog.asked = []
    answer = await Search(Context(catalog, MemoryBlobStore())).answer(read_query(level, parameters), "http://archive")
    assert len(answer.results) >= bool(parameters[0][0])
    found = []
    async with catalog.connection() as connection:
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for sql, args in catalog.asked:
                rows = await connection.fetch("EXPLAIN " + sql, *args)
                found.append("\n".join(row[0] for row in rows))
    await catalog.close()
    return found


@pytest.mark.parametrize(("level", "name", "text"), SEARCHES)
async def test_every_table_is_read_by_an_index(filled_url: str, level: Level, name: str, text: str) -> None:
    parameters = [(name, text)] if name else [("limit", "20")]
    for plan in await plans(filled_url, level, parameters):
        assert "Seq Scan" not in plan, plan


async def test_one_statement_answers_a_search(filled_url: str) -> None:
    catalog = Recorder(filled_url)
    catalog.asked = []
    search = Search(Context(catalog, MemoryBlobStore()))
    for level in ("STUDY", "SERIES", "IMAGE", "PATIENT"):
        catalog.asked.clear()
        await search.answer(read_query(level, [("PatientID", "P1"), ("includefield", "Modality")]), "http://archive")
        assert len(catalog.asked) == 1
    await catalog.close()
