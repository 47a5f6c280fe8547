"""A store reads as little of the catalog when much is stored already, from the first day on, when tables have no
statistics and plans are made while they are empty."""

from __future__ import annotations

import pytest

from app.catalog.engine import Catalog
from app.catalog.instances import InstanceTable
from tests.support.catalog_rows import DataSet, data_set, element, rows_of, store

SEEN = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
UNANALYZED = (
    "ALTER TABLE study SET (autovacuum_enabled = off)",
    "ALTER TABLE series SET (autovacuum_enabled = off)",
    "ALTER TABLE instance SET (autovacuum_enabled = off)",
    "ALTER TABLE refused_instance SET (autovacuum_enabled = off)",
)
STORED = 300
READ_EACH = 30
"""Index entries that a store may read: far under `STORED`."""


def instance(number: int, study: int) -> DataSet:
    patient = {"00100020": element("LO", f"P{study}")}
    return data_set(f"1.2.{study}", f"1.2.{study}.1", f"1.2.{study}.1.{number}", patient)


async def entries_read(catalog: Catalog) -> int:
    """Index entries that any statement has read so far."""
    await catalog.execute("SELECT pg_stat_force_next_flush()")
    seen: int = await catalog.fetchval(SEEN)
    return seen


@pytest.mark.parametrize("refusing", [False, True])
@pytest.mark.parametrize(("first", "batch"), [(True, 1), (True, 5), (False, 1), (False, 5)])
async def test_effort_does_not_grow_with_what_is_stored(
    database_url: str, first: bool, batch: int, refusing: bool
) -> None:
    catalog = Catalog(database_url, size=1)
    table = InstanceTable(catalog)
    for statement in UNANALYZED:
        await catalog.execute(statement)
    if refusing:
        await catalog.execute("INSERT INTO refused_instance VALUES ('1.2.9999.1.1', '1.2.9999.1', '1.2.3', 1)")
    await store(catalog, [instance(0, study) for study in range(STORED)], batch=1)
    before = await entries_read(catalog)
    arrivals = [instance(1 + number, STORED if first else 7) for number in range(4 * batch)]
    rows = rows_of(arrivals)
    for at in range(0, len(rows), batch):
        await table.commit(rows[at : at + batch], "replace")
    assert await entries_read(catalog) - before < READ_EACH * len(rows)
    await catalog.close()
