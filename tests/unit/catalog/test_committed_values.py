"""What one process has committed, its neighbours need not send; what is believed wrongly is sent after all."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import NoReturn

from app.catalog.committed_values import SLOTS, CommittedValues
from app.catalog.engine import Catalog
from app.catalog.instances import InstanceTable, Stored
from tests.support.catalog_rows import DataSet, data_set, element, rows_of


def test_only_the_last_values_are_held() -> None:
    values = CommittedValues()
    assert not values.holds("1.2", 5)
    values.put("1.2", 5)
    values.put("1.2/1.3", -(1 << 63))
    assert values.holds("1.2", 5)
    assert values.holds("1.2/1.3", -(1 << 63))
    assert not values.holds("1.2/1.3", 5)
    values.put("1.2", 6)
    assert values.holds("1.2", 6)
    assert not values.holds("1.2", 5)


def test_more_keys_than_slots_are_forgotten_not_confused() -> None:
    values = CommittedValues()
    for number in range(2 * SLOTS):
        values.put(f"1.2.{number}", number)
    held = [number for number in range(2 * SLOTS) if values.holds(f"1.2.{number}", number)]
    assert SLOTS // 2 < len(held) <= SLOTS
    assert not any(values.holds(f"1.2.{number}", number + 1) for number in range(2 * SLOTS))


def test_a_forked_process_shares_them() -> None:
    values = CommittedValues()
    child = os.fork()
    if not child:
        try:
            values.put("1.2", 7)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert values.holds("1.2", 7)


def instance(number: int, description: str = "head") -> DataSet:
    return data_set("1.2.5", "1.2.5.1", f"1.2.5.1.{number}", {"00081030": element("LO", description)})


def never() -> NoReturn:
    raise AssertionError("the details are sent again")


async def test_a_neighbour_sends_no_details_again(database_url: str) -> None:
    catalog = Catalog(database_url)
    first, second = rows_of([instance(1), instance(2)])
    await InstanceTable(catalog).commit([first], "replace")
    [verdict] = await InstanceTable(catalog).commit(
        [replace(second, study_details=never, series_details=never)], "replace"
    )
    assert verdict.stored is Stored.NEW
    await catalog.close()


async def test_what_the_catalog_lacks_after_all_is_sent(database_url: str) -> None:
    catalog = Catalog(database_url)
    rows = rows_of([instance(1), instance(2, "foot")])
    for row in rows:
        catalog.committed.put(row.study, row.study_hash)
        catalog.committed.put(f"{row.study}/{row.series}", row.series_hash)
        [verdict] = await InstanceTable(catalog).commit([row], "replace")
        assert verdict.stored is Stored.NEW
    assert await catalog.fetchval("SELECT study_description FROM study") == "foot"
    await catalog.close()
