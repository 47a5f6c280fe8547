"""Patients (ours, for Patient Root): there is no patient row, answers are grouped from studies by issuer and ID.

An empty ID never groups: each such study is a patient of its own."""

from __future__ import annotations

import asyncpg

from app.catalog.cursors import read_cursor, write_cursor
from app.catalog.engine import Catalog
from app.catalog.search import Plan, bind, where
from app.catalog.search_terms import Term

_GROUPS = (
    "SELECT s.patient_id, s.issuer_of_patient_id, CASE WHEN s.patient_id = '' THEN s.id ELSE 0 END AS lone FROM study s"
)
_AFTER = "(s.patient_id, s.issuer_of_patient_id, CASE WHEN s.patient_id = '' THEN s.id ELSE 0 END) > (?, ?, ?)"
_FIND = """
SELECT p.patient_id, p.issuer_of_patient_id, p.lone, a.studies, a.series, a.instances, n.json AS study_json FROM ("""
_EACH = """) AS p
CROSS JOIN LATERAL (
    SELECT count(*) AS studies, sum(o.series_count) AS series, sum(o.instance_count) AS instances FROM study o
     WHERE o.patient_id = p.patient_id AND o.issuer_of_patient_id = p.issuer_of_patient_id AND o.instance_count > 0
       AND p.lone IN (0, o.id)) AS a
CROSS JOIN LATERAL (
    SELECT o.json FROM study o
     WHERE o.patient_id = p.patient_id AND o.issuer_of_patient_id = p.issuer_of_patient_id AND o.instance_count > 0
       AND p.lone IN (0, o.id) ORDER BY o.updated_at DESC, o.id DESC LIMIT 1) AS n
ORDER BY p.patient_id, p.issuer_of_patient_id, p.lone"""


async def find(catalog: Catalog, planned: Plan, limit: int, offset: int, cursor: str) -> list[asyncpg.Record]:
    """The patients of one page that have a study which matches; counts are of all their studies."""
    conditions = list(planned.conditions)
    if cursor:
        conditions.append(Term(_AFTER, tuple(read_cursor(cursor, (str, str, int)))))
    filtered, args = where(conditions)
    args += [limit, offset]
    pieces = [_FIND, _GROUPS, filtered, " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT ? OFFSET ?", _EACH]
    return await catalog.search(bind(pieces, args), *args)


async def count(catalog: Catalog, planned: Plan) -> int:
    """How many patients match in all."""
    filtered, args = where(planned.conditions)
    pieces = ["SELECT count(*) FROM (", _GROUPS, filtered, " GROUP BY 1, 2, 3) AS p"]
    rows = await catalog.search(bind(pieces, args), *args)
    return int(rows[0][0])


def cursor_of(row: asyncpg.Record) -> str:
    """The opaque value that begins the page after `row`."""
    return write_cursor([row["patient_id"], row["issuer_of_patient_id"], row["lone"]])
