"""Criteria on worklist items → one SQL statement → rows, in the order of their start. Statements are constant fragments
joined in a fixed order; every value is a bound parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import asyncpg

from app.catalog.cursors import read_cursor, write_cursor
from app.catalog.engine import Catalog
from app.catalog.search import bind, where
from app.catalog.search_terms import Term, column_term
from app.dicom.matching import Criterion
from app.dicom.worklist_keys import BY_PATH

Row = asyncpg.Record

_COLUMNS = "SELECT s.id, s.key, s.state, s.hidden_at, s.source, s.step_date, s.step_time, s.json, s.extra"
_FROM = " FROM worklist_item s"
_VISIBLE = Term("(s.hidden_at IS NULL OR s.hidden_at > now())")
_ORDER = " ORDER BY s.step_date, s.step_time, s.id LIMIT ?"
_AFTER = "(s.step_date, s.step_time, s.id) > (?, ?, ?)"
_OWN = "s.station_aets && ?::text[]"
_OWN_OR_NONE = "(s.station_aets = '{}' OR s.station_aets && ?::text[])"
_EVERYTHING = Term("TRUE")


@dataclass(frozen=True, slots=True)
class Plan:
    """The conditions of a search. `rest` are criteria without a column: the caller must match them on the items."""

    conditions: tuple[Term, ...] = (_VISIBLE,)
    rest: tuple[Criterion, ...] = field(default=())


def plan(criteria: Iterable[Criterion], *, lenient: bool = False, hidden: bool = False) -> Plan:
    """The conditions of `criteria`; `hidden`: also items that nobody sees any more."""
    conditions, rest = [_EVERYTHING if hidden else _VISIBLE], []
    for criterion in criteria:
        key = BY_PATH.get(criterion.path)
        if key is None or not key.column:
            rest.append(criterion)
        else:
            conditions.append(column_term(criterion, key.attribute, lenient=lenient))
    return Plan(tuple(conditions), tuple(rest))


def at_station(planned: Plan, aet: str, *, or_none: bool) -> Plan:
    """Only items that are scheduled for this AE title; `or_none`: and those that name no station."""
    return Plan((*planned.conditions, Term(_OWN_OR_NONE if or_none else _OWN, ([aet],))), planned.rest)


def among(planned: Plan, ids: Sequence[int]) -> Plan:
    """Only these items."""
    return Plan((*planned.conditions, Term("s.id = ANY(?::bigint[])", (ids,))), planned.rest)


async def find(catalog: Catalog, planned: Plan, limit: int, offset: int = 0, cursor: str = "") -> Sequence[Row]:
    """Up to `limit` rows. Raises `BadRequest` when the cursor is not one of ours."""
    conditions = list(planned.conditions)
    if cursor:
        conditions.append(Term(_AFTER, tuple(read_cursor(cursor, (str, str, int)))))
    filtered, args = where(conditions)
    pieces = [_COLUMNS, _FROM, filtered, _ORDER]
    args.append(limit)
    if offset:
        pieces.append(" OFFSET ?")
        args.append(offset)
    return await catalog.search(bind(pieces, args), *args)


async def count(catalog: Catalog, planned: Plan) -> int:
    """How many rows the conditions find."""
    filtered, args = where(planned.conditions)
    rows = await catalog.search(bind(["SELECT count(*)", _FROM, filtered], args), *args)
    return int(rows[0][0])


def cursor_of(row: Row) -> str:
    """The opaque value that begins the page after `row`."""
    return write_cursor([row["step_date"], row["step_time"], row["id"]])
