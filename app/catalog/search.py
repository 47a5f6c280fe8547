"""`Query` → one SQL statement → rows (PS3.18 10.6, relational: keys of every level at every level).

Statements are constant fragments joined in a fixed order, so that questions of one kind have one text and stay
prepared; every value is a bound parameter. Order: newest study first, then series and instance by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import asyncpg

from app.catalog.cursors import read_cursor, write_cursor
from app.catalog.engine import Catalog
from app.catalog.search_terms import Term, attribute_term, column_term, computed_term, join
from app.dicom.attributes import BY_TAG, Level
from app.dicom.matching import Criterion
from app.dicom.query import Query, level_of
from app.errors import BadRequest

Row = asyncpg.Record

_DEPTH = MappingProxyType({"PATIENT": 0, "STUDY": 0, "SERIES": 1, "IMAGE": 2})

_SERIES_NUMBER = "coalesce(e.series_number, 9223372036854775807)"
_INSTANCE_NUMBER = "coalesce(i.instance_number, 9223372036854775807)"
_STUDY_COLUMNS = "s.uid AS study_uid, s.id AS study_id, s.study_date, s.study_time"
_STUDY_FACTS = ", s.json AS study_json, s.modalities, s.sop_classes, s.series_count, s.instance_count"
_SERIES_COLUMNS = ", e.uid AS series_uid, e.id AS series_id, " + _SERIES_NUMBER + " AS series_at"
_SERIES_FACTS = ", e.json AS series_json, e.instance_count AS series_instances, e.sop_classes AS series_classes"
_INSTANCE_COLUMNS = (
    ", i.uid AS sop_uid, i.id AS instance_id, " + _INSTANCE_NUMBER + " AS instance_at, i.transfer_syntax"
)
_HEAD = ", i.head"
_DATA = ", d.json AS data"

_FROM_STUDY = " FROM study s"
_FROM_SERIES = " FROM series e JOIN study s ON s.id = e.study_id"
_FROM_INSTANCE = " FROM instance i JOIN series e ON e.id = i.series_id JOIN study s ON s.id = e.study_id"
_JOIN_DATA = " JOIN instance_data d ON d.instance_id = i.id"
_VISIBLE = MappingProxyType({0: "s.instance_count > 0", 1: "e.instance_count > 0", 2: "i.state = 0"})
_HAS_SERIES = "EXISTS (SELECT FROM series e WHERE e.study_id = s.id AND e.instance_count > 0 AND "
_HAS_INSTANCE = "EXISTS (SELECT FROM instance i WHERE i.series_id = e.id AND i.state = 0 AND "
_HAS_BOTH = (
    "EXISTS (SELECT FROM series e JOIN instance i ON i.series_id = e.id AND i.state = 0"
    " WHERE e.study_id = s.id AND e.instance_count > 0 AND "
)
_STUDY_ORDER = "s.study_date DESC, s.study_time DESC, s.id DESC"
_SERIES_ORDER = _SERIES_NUMBER + ", e.id"
_INSTANCE_ORDER = _INSTANCE_NUMBER + ", i.id"
_STUDY_KEY = "(s.study_date, s.study_time, s.id)"
_SERIES_KEY = "(" + _SERIES_NUMBER + ", e.id)"
_INSTANCE_KEY = "(" + _INSTANCE_NUMBER + ", i.id)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of each level the answer needs, and how many rows after how many skipped ones."""

    limit: int
    offset: int = 0
    study: bool = False
    series: bool = False
    head: bool = False
    data: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The conditions of a query. `rest` are criteria that no column answers: the caller must match them on the data."""

    level: Level
    conditions: tuple[Term, ...]
    scoped: int
    """How many of the outer levels are one entity: 0 none, 1 the study, 2 the series."""
    rest: tuple[Criterion, ...] = ()


def plan(query: Query, *, lenient: bool = False, among: Sequence[int] | None = None) -> Plan:
    """The conditions of `query`, on the series `among` only when given. Raises `BadRequest` for what only a scan of the
    whole archive could answer."""
    depth = _DEPTH[query.level]
    terms: dict[tuple[int, ...], list[Term]] = {}
    rest: list[Criterion] = []
    for criterion in query.criteria:
        place = _place(criterion, depth)
        if place is None:
            rest.append(criterion)
        else:
            terms.setdefault(place, []).append(_term(criterion, lenient))
    _refuse_scans(query, terms, bool(rest))
    if among is not None:
        terms.setdefault((1,), []).append(Term("e.id = ANY(?::bigint[])", (among,)))
    conditions = [Term(_VISIBLE[depth]), *_scope(query), *_at_levels(terms, depth)]
    return Plan(query.level, tuple(conditions), bool(query.study) + bool(query.series), tuple(rest))


def _scope(query: Query) -> list[Term]:
    terms = []
    if query.study:
        terms.append(Term("s.uid = ?", (query.study,)))
    if query.series:
        terms.append(Term("e.uid = ?", (query.series,)))
    return terms


def _place(criterion: Criterion, depth: int) -> tuple[int, ...] | None:
    """Where the condition belongs: (level depth) with the row, (level depth, below) inside an EXISTS; None: nowhere."""
    row = BY_TAG.get(criterion.path[0])
    level = _DEPTH[level_of(criterion.path)]
    has_column = row is not None and len(criterion.path) == 1 and (row.column or row.matching == "computed")
    if has_column:
        return (0,) if row is not None and row.matching == "computed" else (level,)
    if level == 2:
        return None
    # Study attributes without a column are matched on the study's series, each in a search of its own.
    return (1,) if level == 1 or depth > 0 else (1, criterion.path[0])


def is_indexed(criterion: Criterion) -> bool:
    """Whether the catalog can answer it without looking into the metadata of instances."""
    return _place(criterion, 2) is not None


def _term(criterion: Criterion, lenient: bool) -> Term:
    row = BY_TAG.get(criterion.path[0])
    if row is None or len(criterion.path) > 1 or not (row.column or row.matching == "computed"):
        return attribute_term(criterion, lenient=lenient)
    if row.matching == "computed":
        return computed_term(criterion, lenient=lenient)
    return column_term(criterion, row, lenient=lenient)


def _at_levels(terms: dict[tuple[int, ...], list[Term]], depth: int) -> list[Term]:
    """The conditions, those of lower levels than the answer's inside EXISTS."""
    of = {level: terms.get((level,), []) for level in (0, 1, 2)}
    found = [term for level in range(depth + 1) for term in of[level]]
    found += [_exists(_HAS_SERIES, each) for place, each in terms.items() if len(place) > 1]
    if depth == 0 and of[2]:
        found.append(_exists(_HAS_BOTH, of[1] + of[2]))
    elif depth == 0 and of[1]:
        found.append(_exists(_HAS_SERIES, of[1]))
    elif depth == 1 and of[2]:
        found.append(_exists(_HAS_INSTANCE, of[2]))
    return found


def _exists(opening: str, terms: Sequence[Term]) -> Term:
    term = join(terms, "AND")
    return Term(opening + term.sql + ")", term.args)


def _refuse_scans(query: Query, terms: dict[tuple[int, ...], list[Term]], on_data: bool) -> None:
    every = [term for each in terms.values() for term in each]
    selective = bool(query.study) or any(term.selective for term in every)
    if not selective and any(term.scan for term in every):
        raise BadRequest(
            "wild cards, ranges and empty values of an attribute without an index need another key with one value, such"
            " as PatientID, AccessionNumber, StudyDate or a UID"
        )
    if on_data and query.level != "IMAGE":
        raise BadRequest("attributes of instances are matched by a search for instances within a study or series")
    if on_data and not (query.study or _names_uid(query)):
        raise BadRequest("attributes of instances are matched within a study or series; add StudyInstanceUID")


def _names_uid(query: Query) -> bool:
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return any(row is not None and row.keyword in names for row in (BY_TAG.get(c.path[0]) for c in query.criteria))


# -- statements


def bind(pieces: Sequence[str], args: Sequence[object]) -> str:
    """The pieces as one text, each `?` replaced by the number of its parameter."""
    parts = "".join(pieces).split("?")
    if len(parts) != len(args) + 1:
        raise AssertionError(parts)
    numbered = [parts[0]]
    for at, part in enumerate(parts[1:], 1):
        numbered += ("$", str(at), part)
    return "".join(numbered)


def where(conditions: Sequence[Term]) -> tuple[str, list[object]]:
    """The WHERE clause and its arguments."""
    sql = " WHERE " + " AND ".join([term.sql for term in conditions])
    return sql, [arg for term in conditions for arg in term.args]


_SOURCES = MappingProxyType(
    {"PATIENT": _FROM_STUDY, "STUDY": _FROM_STUDY, "SERIES": _FROM_SERIES, "IMAGE": _FROM_INSTANCE}
)


def _order(level: Level, scoped: int) -> str:
    orders = (_STUDY_ORDER, _SERIES_ORDER, _INSTANCE_ORDER)[scoped : _DEPTH[level] + 1]
    return " ORDER BY " + ", ".join(orders)


def _columns(level: Level, wanted: Wanted) -> str:
    columns = _STUDY_COLUMNS + (_STUDY_FACTS if wanted.study else "")
    if level in ("SERIES", "IMAGE"):
        columns += _SERIES_COLUMNS + (_SERIES_FACTS if wanted.series else "")
    if level == "IMAGE":
        columns += _INSTANCE_COLUMNS + (_HEAD if wanted.head else "") + (_DATA if wanted.data else "")
    return columns


async def find(catalog: Catalog, planned: Plan, wanted: Wanted, cursor: str = "") -> list[asyncpg.Record]:
    """The rows of one page, in order. Raises `BadRequest` when the cursor is not one of ours."""
    conditions = list(planned.conditions)
    if cursor:
        conditions.append(_after(planned, cursor))
    filtered, args = where(conditions)
    source = _SOURCES[planned.level] + (_JOIN_DATA if wanted.data else "")
    pieces = [
        "SELECT ",
        _columns(planned.level, wanted),
        source,
        filtered,
        _order(planned.level, planned.scoped),
        " LIMIT ?",
    ]
    args.append(wanted.limit)
    if wanted.offset:
        pieces.append(" OFFSET ?")
        args.append(wanted.offset)
    return await catalog.search(bind(pieces, args), *args)


async def count(catalog: Catalog, planned: Plan) -> int:
    """How many rows match in all."""
    filtered, args = where(planned.conditions)
    rows = await catalog.search(bind(["SELECT count(*)", _SOURCES[planned.level], filtered], args), *args)
    return int(rows[0][0])


_REVISION = """
SELECT e.id, e.revision, e.instance_count FROM study s JOIN series e ON e.study_id = s.id
 WHERE s.uid = $1 AND e.uid = $2 AND e.instance_count > 0"""

_CANDIDATES = "SELECT e.id, s.json, e.json FROM series e JOIN study s ON s.id = e.study_id"


async def candidates(catalog: Catalog, planned: Plan, limit: int) -> list[tuple[int, bytes, bytes]]:
    """(series, stored members of its study, its own) of the series that a plan at series level finds, up to `limit`."""
    filtered, args = where(planned.conditions)
    args.append(limit)
    return [tuple(row) for row in await catalog.search(bind([_CANDIDATES, filtered, " LIMIT ?"], args), *args)]


_SERIES_OF = """
SELECT study_id, json FROM series WHERE study_id = ANY($1::bigint[]) AND instance_count > 0 ORDER BY id"""


async def revision(catalog: Catalog, study: str, series: str) -> tuple[int, int, int] | None:
    """Id, revision and number of instances of one visible series."""
    rows = await catalog.search(_REVISION, study, series)
    return tuple(rows[0]) if rows else None


async def series_of(catalog: Catalog, studies: Sequence[int]) -> list[tuple[int, bytes]]:
    """(study, stored members) of every visible series of these studies."""
    return [(row[0], row[1]) for row in await catalog.search(_SERIES_OF, studies)]


# -- cursors

_CURSOR = {
    "study_date": str,
    "study_time": str,
    "study_id": int,
    "series_at": int,
    "series_id": int,
    "instance_at": int,
    "instance_id": int,
}


def cursor_of(planned: Plan, row: asyncpg.Record) -> str:
    """The opaque value that begins the page after `row`."""
    return write_cursor([row[name] for name in list(_CURSOR)[: 3 + 2 * _DEPTH[planned.level]]])


def _after(planned: Plan, cursor: str) -> Term:
    """The rows behind the one that the cursor names."""
    values = read_cursor(cursor, list(_CURSOR.values())[: 3 + 2 * _DEPTH[planned.level]])
    study, series, instance = tuple(values[:3]), tuple(values[3:5]), tuple(values[5:7])
    term = Term("")
    if instance:
        term = Term(_INSTANCE_KEY + " > (?, ?)", instance)
    if series and planned.scoped < 2:
        term = _behind(Term(_SERIES_KEY + " > (?, ?)", series), Term("e.id = ?", (series[1],)), term)
    if planned.scoped < 1:
        term = _behind(Term(_STUDY_KEY + " < (?, ?, ?)", study), Term("s.id = ?", (study[2],)), term)
        # Said once more without OR, for the index.
        term = join([Term(_STUDY_KEY + " <= (?, ?, ?)", study), term], "AND")
    return term


def _behind(outer: Term, same: Term, inner: Term) -> Term:
    return join([outer, join([same, inner], "AND")], "OR") if inner.sql else outer
