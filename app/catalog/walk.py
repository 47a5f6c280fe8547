"""Every version that the catalog knows, page by page: for verify and export."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg

from app.catalog.engine import Catalog

_PAGE = """
SELECT i.id, st.uid AS study, se.uid AS series, i.uid AS sop, i.version, i.state, i.length, i.dataset_offset, i.digest,
       i.digest_meta, i.transfer_syntax, d.checks
  FROM instance i JOIN series se ON se.id = i.series_id JOIN study st ON st.id = se.study_id
  JOIN instance_data d ON d.instance_id = i.id
 WHERE i.id > $1 AND i.state <= $2 AND ($3 = '' OR st.uid = $3)
 ORDER BY i.id LIMIT 500
"""
_COUNT = """
SELECT count(*) AS instances, coalesce(sum(i.length), 0)::bigint AS bytes
  FROM instance i JOIN series se ON se.id = i.series_id JOIN study st ON st.id = se.study_id
 WHERE i.state <= $1 AND ($2 = '' OR st.uid = $2)
"""


async def count(catalog: Catalog, most_state: int, study: str = "") -> tuple[int, int]:
    """Number and total bytes of versions whose state is at most `most_state`, of one study or of all ("")."""
    row = await catalog.fetchrow(_COUNT, most_state, study)
    return (row["instances"], row["bytes"]) if row else (0, 0)


async def versions(catalog: Catalog, most_state: int, study: str = "") -> AsyncIterator[asyncpg.Record]:
    """The versions whose state is at most `most_state`, oldest first, with what is needed to find and verify bytes."""
    last = 0
    while rows := await catalog.fetch(_PAGE, last, most_state, study):
        for row in rows:
            yield row
        last = rows[-1]["id"]
