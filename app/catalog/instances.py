"""The store transaction: one round trip that makes a batch of instances visible, or says why not.

The statement is `store_instances` (migrations/sql/0001_store.sql). A call without an open transaction commits by
itself, so its answer means: committed. The values of studies and series are sent only when no worker here is known to
have committed them; the catalog asks for them when it needs them after all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby

import asyncpg
import orjson

from app.catalog.engine import Catalog

_STORE = "SELECT store_instances($1, $2, $3, $4, $5, $6, $7::store_row[], $8)"
_STORE_ONE = "SELECT store_instance($1, $2, $3, $4, $5::store_row)"
_DETAILS_WANTED = "FR001"
_TRANSIENT = ("40001", "40P01")


class Stored(IntEnum):
    """What the catalog did with a row."""

    NEW = 0
    IDENTICAL = 1
    REPLACED = 2
    KEPT_ASIDE = 3
    REJECTED = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """`elsewhere`: the same SOP Instance UID is visible in another series too."""

    stored: Stored
    elsewhere: bool


_SUPERSEDED = """
SELECT detail->>'stored' FROM conflict
 WHERE study_uid = $1 AND kind = 'replaced' AND sop_uid = $2 AND detail->>'arrived' = $3
"""


class BatchRefused(Exception):
    """The catalog takes nothing of a batch, because of one of its rows. `sqlstate` as PostgreSQL gives it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


Details = Callable[[], dict[str, object]]


@dataclass(slots=True)
class NewInstance:
    """One instance to commit. `facts` are the fields of the SQL type `store_row` after `series_at`; the details are
    made only when the catalog needs them."""

    study: str
    series: str
    sop: str
    study_hash: int
    series_hash: int
    study_details: Details
    series_details: Details
    facts: tuple[object, ...]


class InstanceTable:
    """Commits batches through one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._committed = catalog.committed

    async def commit(self, batch: Sequence[NewInstance], policy: str) -> list[Verdict]:
        """Commits `batch` in one transaction; verdicts in its order. No SOP Instance UID may occur twice in one series.
        Raises `DatabaseDown` when the outcome is unknown, `BatchRefused` when nothing of the batch was taken."""
        if len(batch) == 1 and await self._store_one(batch[0]):
            self._catalog.bell.ring()
            return [Verdict(Stored.NEW, False)]
        order = sorted(range(len(batch)), key=lambda at: (batch[at].study, batch[at].series))
        rows = [batch[at] for at in order]
        wanted = False
        for attempt in range(4):
            try:
                codes = await self._call(rows, policy, wanted)
                self._catalog.bell.ring()
                break
            except asyncpg.PostgresError as error:
                if error.sqlstate == _DETAILS_WANTED and attempt < 3:
                    wanted = True
                elif error.sqlstate in _TRANSIENT and attempt < 3:
                    await asyncio.sleep(0.01 * (attempt + 1))
                else:
                    raise BatchRefused(error.sqlstate or "") from error
        verdicts = [Verdict(Stored.NEW, False)] * len(batch)
        for at, code in zip(order, codes, strict=True):
            if code:
                verdicts[at] = Verdict(Stored(code & 7), bool(code & 8))
        return verdicts

    async def superseded_by(self, row: NewInstance, version: str) -> str | None:
        """The version that `version` of this instance replaced when it was committed."""
        old: str | None = await self._catalog.fetchval(_SUPERSEDED, row.study, row.sop, version)
        return old

    async def _store_one(self, row: NewInstance) -> bool:
        """The common case by a shorter way; whether it was that case."""
        known = self._committed.holds
        if not (known(row.study, row.study_hash) and known(_name(row), row.series_hash)):
            return False
        try:
            stored: bool = await self._catalog.fetchval(
                _STORE_ONE, row.study, row.study_hash, row.series, row.series_hash, (1, *row.facts)
            )
        except asyncpg.PostgresError:
            return False
        return stored

    async def _call(self, rows: Sequence[NewInstance], policy: str, wanted: bool) -> list[int]:
        """One call, with the details of all when they are `wanted`."""
        studies: list[list[NewInstance]] = []
        series: list[NewInstance] = []
        series_study: list[int] = []
        facts: list[tuple[object, ...]] = []
        for _, of_study in groupby(rows, key=_study):
            studies.append([])
            for _, of_series in groupby(of_study, key=_series):
                series.append(None)  # type: ignore[arg-type]
                series_study.append(len(studies))
                at = len(series)
                for row in of_series:
                    series[-1] = row
                    if not studies[-1] or studies[-1][-1].study_hash != row.study_hash:
                        studies[-1].append(row)
                    facts.append((at, *row.facts))
        codes: list[int] = await self._catalog.fetchval(
            _STORE,
            [rows[-1].study for rows in studies],
            [_hash(rows) for rows in studies],
            series_study,
            [row.series for row in series],
            [row.series_hash for row in series],
            self._details(studies, series, wanted),
            facts,
            policy,
        )
        self._remember(studies, series)
        return codes

    def _details(
        self, studies: Sequence[Sequence[NewInstance]], series: Sequence[NewInstance], wanted: bool
    ) -> str | None:
        known = self._committed.holds
        new_studies = [rows for rows in studies if wanted or not known(rows[-1].study, _hash(rows))]
        new_series = [wanted or not known(_name(row), row.series_hash) for row in series]
        if not new_studies and not any(new_series):
            return None
        return orjson.dumps(
            {
                "studies": {rows[-1].study: [row.study_details() for row in rows] for rows in new_studies},
                "series": [row.series_details() if new else None for row, new in zip(series, new_series, strict=True)],
            }
        ).decode()

    def _remember(self, studies: Sequence[Sequence[NewInstance]], series: Sequence[NewInstance]) -> None:
        for rows in studies:
            self._committed.put(rows[-1].study, _hash(rows))
        for row in series:
            self._committed.put(_name(row), row.series_hash)


def _name(row: NewInstance) -> str:
    """Of its series, apart from those of other studies with the same UID."""
    return f"{row.study}/{row.series}"


def _hash(rows: Sequence[NewInstance]) -> int:
    """Of the values of one study that a batch brings; where its instances disagree, of all that they say."""
    return rows[0].study_hash if len(rows) == 1 else hash(tuple(row.study_hash for row in rows))


def _study(row: NewInstance) -> str:
    return row.study


def _series(row: NewInstance) -> str:
    return row.series
