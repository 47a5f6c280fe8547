"""Which instance stands for a study or series in a picture of it. Each function is one statement."""

from __future__ import annotations

from app.catalog.engine import Catalog

_OF_SERIES = """
SELECT (array_agg(i.uid ORDER BY i.instance_number NULLS LAST, i.uid))[count(*) / 2 + 1]
  FROM instance i
 WHERE i.series_id = (SELECT e.id FROM series e
                       WHERE e.study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND e.uid = $2)
   AND i.state = 0
 GROUP BY i.frame_count = 0
 ORDER BY i.frame_count = 0
 LIMIT 1"""

_SERIES_OF_STUDY = """
SELECT e.uid
  FROM series e
 WHERE e.study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND e.instance_count > 0
 ORDER BY NOT EXISTS (SELECT FROM instance i WHERE i.series_id = e.id AND i.state = 0 AND i.frame_count <> 0),
          e.modality IN ('SEG', 'RTDOSE'), e.series_number NULLS LAST, e.id
 LIMIT 1"""


async def instance_of_series(catalog: Catalog, study: str, series: str) -> str | None:
    """The middle one, by number, of a series' images; of its other instances when it has no images."""
    uid: str | None = await catalog.fetchval(_OF_SERIES, study, series)
    return uid


async def series_of_study(catalog: Catalog, study: str) -> str | None:
    """The first series with images, those that only mark or plan coming last; the first one when none has any."""
    uid: str | None = await catalog.fetchval(_SERIES_OF_STUDY, study)
    return uid
