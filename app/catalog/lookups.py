"""What Retrieve asks of the catalog: the current versions of a study, series or instance, the place of frames and bulk
values, and stored metadata. Each function is one statement, so that its answer is one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from app.catalog.engine import Catalog


class Instance(NamedTuple):
    """The current version of one instance, as far as sending its bytes needs it."""

    id: int
    study: str
    series: str
    sop: str
    version: str
    sop_class: str
    transfer_syntax: str
    length: int
    dataset_offset: int
    frame_kind: int
    frame_count: int
    frame_word: int
    """Bytes in a word of the pixel data, below 0 when the data set ends inside an element."""
    frame_bits: int
    pixel_offset: int
    pixel_length: int
    pixel_tag: int
    checks: bytes

    @property
    def word(self) -> int:
        """Bytes in a word of the pixel data."""
        return abs(self.frame_word)

    @property
    def broken_off(self) -> bool:
        """Whether the data set ends inside an element: it leaves as it is stored, in no other transfer syntax."""
        return self.frame_word < 0


class SeriesRevision(NamedTuple):
    """One series and the number that changes with each change to its instances."""

    id: int
    uid: str
    revision: int
    updated: int
    """Microseconds since the epoch of the last change: differs when the catalog was built anew."""


class Metadata(NamedTuple):
    """Stored DICOM JSON of one instance, as `app.archive.packed_json` packs it."""

    id: int
    sop: str
    json: bytes


_INSTANCE = """
SELECT i.id, i.uid, i.version, i.sop_class, i.transfer_syntax, i.length, i.dataset_offset, i.frame_kind, i.frame_count,
       i.frame_word, i.frame_bits, i.pixel_offset, i.pixel_length, i.pixel_tag, d.checks
  FROM instance i JOIN instance_data d ON d.instance_id = i.id
 WHERE i.series_id = (SELECT e.id FROM series e
                       WHERE e.study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND e.uid = $2)
   AND i.uid = $3 AND i.state = 0"""

_FRAMES = """
SELECT i.id, i.uid, i.version, i.sop_class, i.transfer_syntax, i.length, i.dataset_offset, i.frame_kind, i.frame_count,
       i.frame_word, i.frame_bits, i.pixel_offset, i.pixel_length, i.pixel_tag, d.checks,
       CASE WHEN i.frame_kind = 2 THEN substring(d.frames FROM $4 FOR $5) ELSE '' END
  FROM instance i JOIN instance_data d ON d.instance_id = i.id
 WHERE i.series_id = (SELECT e.id FROM series e
                       WHERE e.study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND e.uid = $2)
   AND i.uid = $3 AND i.state = 0"""

_SCATTERED_FRAMES = """
SELECT string_agg(coalesce(substring(d.frames FROM n * 12 - 11 FOR 12), ''), ''::bytea ORDER BY at)
  FROM instance_data d, unnest($2::integer[]) WITH ORDINALITY AS wanted (n, at)
 WHERE d.instance_id = $1"""

_ALL_FRAMES = """
SELECT frames FROM instance_data WHERE instance_id = $1"""

_BULK = """
SELECT i.id, i.uid, i.version, i.sop_class, i.transfer_syntax, i.length, i.dataset_offset, i.frame_kind, i.frame_count,
       i.frame_word, i.frame_bits, i.pixel_offset, i.pixel_length, i.pixel_tag, d.checks, d.bulk
  FROM instance i JOIN instance_data d ON d.instance_id = i.id
 WHERE i.series_id = (SELECT e.id FROM series e
                       WHERE e.study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND e.uid = $2)
   AND i.uid = $3 AND i.state = 0"""

_BULK_OF = """
SELECT instance_id, bulk FROM instance_data WHERE instance_id = ANY ($1::bigint[]) AND bulk <> ''"""

_SERIES = """
SELECT i.id, i.uid, i.version, i.sop_class, i.transfer_syntax, i.length, i.dataset_offset, i.frame_kind, i.frame_count,
       i.frame_word, i.frame_bits, i.pixel_offset, i.pixel_length, i.pixel_tag, d.checks
  FROM instance i JOIN instance_data d ON d.instance_id = i.id
 WHERE i.series_id = (SELECT e.id FROM series e
                       WHERE e.study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND e.uid = $2)
   AND i.state = 0
 ORDER BY i.instance_number NULLS LAST, i.uid"""

_STUDY = """
SELECT e.uid, i.id, i.uid, i.version, i.sop_class, i.transfer_syntax, i.length, i.dataset_offset, i.frame_kind,
       i.frame_count, i.frame_word, i.frame_bits, i.pixel_offset, i.pixel_length, i.pixel_tag, d.checks
  FROM series e JOIN instance i ON i.series_id = e.id AND i.state = 0 JOIN instance_data d ON d.instance_id = i.id
 WHERE e.study_id = (SELECT s.id FROM study s WHERE s.uid = $1)
 ORDER BY e.series_number NULLS LAST, e.id, i.instance_number NULLS LAST, i.uid"""

_STUDY_SERIES = """
SELECT id, uid, revision, (extract(epoch FROM updated_at) * 1000000)::bigint
  FROM series WHERE study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND instance_count > 0
 ORDER BY series_number NULLS LAST, id"""

_ONE_SERIES = """
SELECT id, uid, revision, (extract(epoch FROM updated_at) * 1000000)::bigint
  FROM series WHERE study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND uid = $2 AND instance_count > 0"""

_SERIES_INSTANCES = """
SELECT id FROM instance WHERE series_id = $1 AND state = 0 ORDER BY instance_number NULLS LAST, uid"""

_METADATA = """
SELECT i.id, i.uid, d.json FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (id, at)
  JOIN instance i ON i.id = wanted.id JOIN instance_data d ON d.instance_id = i.id
 ORDER BY wanted.at"""

_JSON = """
SELECT json FROM instance_data WHERE instance_id = $1"""

_INSTANCE_METADATA = """
SELECT i.version, i.id, i.uid, d.json
  FROM instance i JOIN instance_data d ON d.instance_id = i.id
 WHERE i.series_id = (SELECT e.id FROM series e
                       WHERE e.study_id = (SELECT s.id FROM study s WHERE s.uid = $1) AND e.uid = $2)
   AND i.uid = $3 AND i.state = 0"""


def _instance(study: str, series: str, row: Any) -> Instance:
    return Instance(row[0], study, series, *row[1:])


async def instance(catalog: Catalog, study: str, series: str, sop: str) -> Instance | None:
    """One instance."""
    row = await catalog.fetchrow(_INSTANCE, study, series, sop)
    return None if row is None else _instance(study, series, row)


async def instances_of_series(catalog: Catalog, study: str, series: str) -> list[Instance]:
    """All instances of a series, by their number."""
    return [_instance(study, series, row) for row in await catalog.fetch(_SERIES, study, series)]


async def instances_of_study(catalog: Catalog, study: str) -> list[Instance]:
    """All instances of a study, series by series."""
    return [Instance(row[1], study, row[0], *row[2:]) for row in await catalog.fetch(_STUDY, study)]


async def instance_with_frames(
    catalog: Catalog, study: str, series: str, sop: str, first: int, last: int
) -> tuple[Instance, bytes] | None:
    """One instance, with the entries (`app.dicom.header.FRAME_ENTRY`) of frames `first` to `last`, counted from 1;
    those behind the last frame are missing, and native frames have none."""
    row = await catalog.fetchrow(_FRAMES, study, series, sop, 12 * first - 11, 12 * (last - first + 1))
    return None if row is None else (_instance(study, series, row[:15]), row[15])


async def scattered_frames(catalog: Catalog, instance_id: int, frames: Sequence[int]) -> bytes:
    """The entries of `frames`, in that order."""
    return await catalog.fetchval(_SCATTERED_FRAMES, instance_id, frames) or b""


async def all_frames(catalog: Catalog, instance_id: int) -> bytes:
    """The entries of every frame."""
    return await catalog.fetchval(_ALL_FRAMES, instance_id) or b""


async def instance_with_bulk(catalog: Catalog, study: str, series: str, sop: str) -> tuple[Instance, bytes] | None:
    """One instance, with the places of its bulk values: JSON `[[tag path, VR, offset, length], ...]`, or nothing."""
    row = await catalog.fetchrow(_BULK, study, series, sop)
    return None if row is None else (_instance(study, series, row[:15]), row[15])


async def bulk_of(catalog: Catalog, ids: Sequence[int]) -> dict[int, bytes]:
    """The places of bulk values of the instances that have any, by id."""
    return {row[0]: row[1] for row in await catalog.fetch(_BULK_OF, ids)}


async def series_of_study(catalog: Catalog, study: str) -> list[SeriesRevision]:
    """The visible series of a study."""
    return [SeriesRevision._make(row) for row in await catalog.fetch(_STUDY_SERIES, study)]


async def one_series(catalog: Catalog, study: str, series: str) -> SeriesRevision | None:
    """One visible series."""
    row = await catalog.fetchrow(_ONE_SERIES, study, series)
    return None if row is None else SeriesRevision._make(row)


async def instance_ids(catalog: Catalog, series_id: int) -> list[int]:
    """The instances of a series, by their number."""
    return [row[0] for row in await catalog.fetch(_SERIES_INSTANCES, series_id)]


async def metadata(catalog: Catalog, ids: Sequence[int]) -> list[Metadata]:
    """Metadata of the instances `ids`, in that order."""
    return [Metadata._make(row) for row in await catalog.fetch(_METADATA, ids)]


async def json_of(catalog: Catalog, instance_id: int) -> bytes | None:
    """The stored DICOM JSON of one instance, packed; None when it has gone."""
    return await catalog.fetchval(_JSON, instance_id)  # type: ignore[no-any-return]


async def instance_metadata(catalog: Catalog, study: str, series: str, sop: str) -> tuple[str, Metadata] | None:
    """Version and metadata of one instance."""
    row = await catalog.fetchrow(_INSTANCE_METADATA, study, series, sop)
    return None if row is None else (row[0], Metadata._make(row[1:]))
