"""Search (PS3.18 10.6): from a query to the DICOM JSON objects of its answer, joined from stored text."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from app.archive import search_json as made
from app.archive.context import Context
from app.archive.packed_json import members_of, unpack
from app.catalog import search as catalog_search
from app.catalog import search_patients
from app.catalog.search import Plan, Row, Wanted
from app.dicom.attributes import INSTANCE_DEFAULT, OF_REQUEST
from app.dicom.matching import matches_dataset
from app.dicom.query import Query, level_of
from app.errors import BadRequest

_BATCH = 64
"""Instances whose whole metadata is read at a time."""
_LARGEST_PAGE = 64 << 20
"""Bytes of metadata after which a page ends."""
_CANDIDATES = 10_000
"""Most series whose sequences are looked into, item by item."""
_SECONDS = 5.0
"""Longest search that looks into metadata."""


class Answer(NamedTuple):
    """DICOM JSON objects; `cursor` begins the next page, "" when this is the last; `total` when it was asked for."""

    results: Sequence[bytes]
    cursor: str = ""
    total: int | None = None


@dataclass(slots=True)
class _Kept:
    """Answers with all attributes of whole series, under (series, revision, root), up to `limit` bytes."""

    limit: int
    answers: OrderedDict[tuple[int, int, bytes], Sequence[bytes]] = field(default_factory=OrderedDict)
    size: int = 0

    def get(self, key: tuple[int, int, bytes]) -> Sequence[bytes] | None:
        results = self.answers.get(key)
        if results is not None:
            self.answers.move_to_end(key)
        return results

    def put(self, key: tuple[int, int, bytes], results: Sequence[bytes]) -> None:
        size = sum(map(len, results))
        if size > self.limit // 2 or key in self.answers:
            return
        self.answers[key] = results
        self.size += size
        while self.size > self.limit:
            self.size -= sum(map(len, self.answers.popitem(last=False)[1]))


class Search:
    """The searches of one worker."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept = _Kept(context.cache_bytes // 2)

    async def answer(self, query: Query, root: str) -> Answer:
        """The page of results that `query` asks for. `root` is the public address of the DICOMweb root. Raises
        `BadRequest` for what cannot be answered."""
        context = self._context
        limit = context.query_limit if query.page.limit is None else min(query.page.limit, context.query_limit)
        if query.level == "PATIENT":
            return await self._patients(query, limit)
        if _is_whole_series(query):
            return await self._whole_series(query, root.encode(), limit)
        planned = catalog_search.plan(query, lenient=context.lenient_matching, among=await self._among(query))
        wanted = _wanted(query, planned, limit)
        if wanted.data or planned.rest:
            return await self._from_data(query, planned, wanted, root.encode())
        total = await catalog_search.count(context.catalog, planned) if query.page.total else None
        rows = await catalog_search.find(context.catalog, planned, wanted, query.page.cursor) if limit else []
        cursor = catalog_search.cursor_of(planned, rows[limit - 1]) if len(rows) > limit else ""
        return Answer(await self._objects(query, wanted, rows[:limit], root.encode()), cursor, total)

    async def _among(self, query: Query) -> list[int] | None:
        """The series in which keys inside one sequence match in one item (PS3.4 C.2.2.2.6). The catalog's value sets do
        not tell items apart and only give candidates. None when there are no such keys."""
        nested = [c for c in query.criteria if len(c.path) > 1 and level_of(c.path) != "IMAGE"]
        if len({c.path[0] for c in nested}) == len(nested):
            return None
        of_series = tuple(c for c in query.criteria if catalog_search.is_indexed(c))
        lenient = self._context.lenient_matching
        planned = catalog_search.plan(replace(query, level="SERIES", criteria=of_series), lenient=lenient)
        found = await catalog_search.candidates(self._context.catalog, planned, _CANDIDATES + 1)
        if len(found) > _CANDIDATES:
            raise BadRequest("too many items match one by one; add a selective key")
        return [series for series, *stored in found if matches_dataset(nested, made.data_set(stored), lenient=lenient)]

    async def _whole_series(self, query: Query, root: bytes, limit: int) -> Answer:
        """Everything of every instance of a series, kept while its revision stays."""
        series = await catalog_search.revision(self._context.catalog, query.study, query.series)
        if series is None:
            return Answer((), "", 0 if query.page.total else None)
        series_id, revision, instances = series
        key = (series_id, revision, root)
        kept = self._kept.get(key) if instances <= limit else None
        if kept is not None:
            return Answer(kept, "", len(kept) if query.page.total else None)
        planned = catalog_search.plan(query)
        answer = await self._from_data(query, planned, _wanted(query, planned, limit), root)
        if not answer.cursor and len(answer.results) == instances:
            self._kept.put(key, answer.results)
        return answer

    async def _from_data(self, query: Query, planned: Plan, wanted: Wanted, root: bytes) -> Answer:
        """Instances whose whole metadata is needed: for the answer, or because no column holds what is matched. A page
        of large objects ends early."""
        limit, skip, page = wanted.limit - 1, query.page.offset if planned.rest else 0, query.page
        results: list[bytes] = []
        size, last, more = 0, None, False
        async with aclosing(self._matching(planned, wanted, page.cursor)) as rows:
            async for row in rows:
                if skip:
                    skip -= 1
                    continue
                if len(results) == limit or size > _LARGEST_PAGE:
                    more = True
                    break
                results.append(_instance(row, query, wanted, root))
                size += len(results[-1])
                last = row
        cursor = catalog_search.cursor_of(planned, last) if more and last is not None else ""
        return Answer(results, cursor, await self._count(planned, wanted) if page.total else None)

    async def _count(self, planned: Plan, wanted: Wanted) -> int:
        if not planned.rest:
            return await catalog_search.count(self._context.catalog, planned)
        async with aclosing(self._matching(planned, replace(wanted, offset=0), "")) as rows:
            return len([None async for _ in rows])

    async def _objects(self, query: Query, wanted: Wanted, rows: Sequence[Row], root: bytes) -> list[bytes]:
        if query.level == "STUDY":
            below = await self._below(query, rows)
            requested = await self._requested(query, rows)
            if not below and not requested:
                return [_whole_study(row, root) for row in rows]
            nothing: dict[str, bytes] = {}
            return [
                made.join(
                    requested.get(row["study_id"], nothing) | _study(row, root) | below.get(row["study_id"], nothing)
                )
                for row in rows
            ]
        if query.level == "SERIES":
            return [made.join(_series(row, query, wanted, root)) for row in rows]
        return [_instance(row, query, wanted, root) for row in rows]

    async def _below(self, query: Query, rows: Sequence[Row]) -> dict[int, dict[str, bytes]]:
        """Members of lower levels that a search for studies asks for: all values that the study's series have."""
        tags = {f"{path[0]:08X}" for path in query.fields.paths if level_of(path) in ("SERIES", "IMAGE")}
        below: dict[int, dict[str, bytes]] = {row["study_id"]: {} for row in rows} if tags else {}
        for row in rows if tags else ():
            if made.MODALITY in tags:
                below[row["study_id"]][made.MODALITY] = made.texts(made.MODALITY, "CS", row["modalities"])
            if made.SOP_CLASS in tags:
                below[row["study_id"]][made.SOP_CLASS] = made.texts(made.SOP_CLASS, "UI", row["sop_classes"])
        tags -= {made.MODALITY, made.SOP_CLASS}
        if tags and rows:
            stored = await catalog_search.series_of(self._context.catalog, [row["study_id"] for row in rows])
            for study_id, members in made.union_by_study(stored, tags).items():
                below[study_id].update(members)
        return below

    async def _requested(self, query: Query, rows: Sequence[Row]) -> dict[int, dict[str, bytes]]:
        """What a search for studies asks for of the request, as the studies' series have it."""
        tags = _of_request(query)
        found: dict[int, list[bytes]] = {}
        if tags and rows:
            for study, series in await catalog_search.series_of(self._context.catalog, [r["study_id"] for r in rows]):
                found.setdefault(study, []).append(series)
        return {study: made.requested(series, tags) for study, series in found.items()}

    async def _patients(self, query: Query, limit: int) -> Answer:
        catalog, lenient = self._context.catalog, self._context.lenient_matching
        planned = catalog_search.plan(query, lenient=lenient, among=await self._among(query))
        total = await search_patients.count(catalog, planned) if query.page.total else None
        page = query.page
        rows = await search_patients.find(catalog, planned, limit + 1, page.offset, page.cursor) if limit else []
        cursor = search_patients.cursor_of(rows[limit - 1]) if len(rows) > limit else ""
        return Answer([made.join(_patient(row)) for row in rows[:limit]], cursor, total)

    async def _matching(self, planned: Plan, wanted: Wanted, cursor: str) -> AsyncGenerator[Row, None]:
        """Rows with their metadata, batch by batch; those that match what no column holds."""
        deadline = time.monotonic() + _SECONDS
        catalog, lenient = self._context.catalog, self._context.lenient_matching
        batch = replace(wanted, data=True, limit=_BATCH if planned.rest else min(_BATCH, wanted.limit))
        while True:
            rows = await catalog_search.find(catalog, planned, batch, cursor)
            for row in rows:
                if not planned.rest or matches_dataset(planned.rest, members_of(row["data"]), lenient=lenient):
                    yield row
            if len(rows) < batch.limit:
                return
            if planned.rest and time.monotonic() > deadline:
                raise BadRequest("the search takes longer than the server allows; add a selective key")
            cursor = catalog_search.cursor_of(planned, rows[-1])
            batch = replace(batch, offset=0)


def _is_whole_series(query: Query) -> bool:
    page = query.page
    plain = not query.criteria and query.fields.all and not page.offset and not page.cursor
    return query.level == "IMAGE" and bool(query.series) and plain


def _wanted(query: Query, planned: Plan, limit: int) -> Wanted:
    """Which stored text the answer is made of (PS3.18 10.6.3.3): that of the level, and of the levels above it that the
    resource does not name or the fields ask for."""
    fields = query.fields
    levels = {level_of(path) for path in fields.paths}
    rows = Wanted(limit + 1, 0 if planned.rest else query.page.offset)
    if query.level == "STUDY":
        return replace(rows, study=True)
    above = not query.study or bool(levels & {"PATIENT", "STUDY"})
    if query.level == "SERIES":
        return replace(rows, study=above or fields.all, series=True)
    data = fields.all or any(level_of(path) == "IMAGE" and path[0] not in INSTANCE_DEFAULT for path in fields.paths)
    series = not query.series or "SERIES" in levels
    if fields.all:
        return replace(rows, data=True)
    return replace(rows, study=above, series=series, head=not data, data=data)


def _study(row: Row, root: bytes) -> dict[str, bytes]:
    members = _of_study(row)
    members.update(made.study_identity(root, row["study_uid"]))
    return members


def _whole_study(row: Row, root: bytes) -> bytes:
    modalities, classes = tuple(row["modalities"]), tuple(row["sop_classes"])
    counts = (row["series_count"], row["instance_count"])
    return made.whole_study(row["study_json"], row["study_uid"], modalities, classes, counts, root)


def _of_study(row: Row) -> dict[str, bytes]:
    counts = (row["series_count"], row["instance_count"])
    return made.study_members(row["study_json"], row["study_uid"], row["modalities"], row["sop_classes"], counts)


def _of_fields(members: dict[str, bytes], query: Query) -> dict[str, bytes]:
    """Only the members that were asked for."""
    tags = _tags(query)
    return {tag: member for tag, member in members.items() if tag in tags}


def _tags(query: Query) -> set[str]:
    return {f"{path[0]:08X}" for path in query.fields.paths}


def _of_request(query: Query) -> set[str]:
    return {f"{path[0]:08X}" for path in query.fields.paths if path[0] in OF_REQUEST and len(path) == 1}


def _above(row: Row, query: Query, wanted: Wanted) -> dict[str, bytes]:
    """Members of the levels above the answer's."""
    members: dict[str, bytes] = {}
    if wanted.study:
        of_study = _of_study(row)
        members |= of_study if not query.study or query.fields.all else _of_fields(of_study, query)
    if wanted.series and query.level == "IMAGE":
        of_series = dict(made.cut(row["series_json"])) | made.series_count(row["series_instances"])
        members |= of_series if not query.series else _of_fields(of_series, query)
    return members


def _series(row: Row, query: Query, wanted: Wanted, root: bytes) -> dict[str, bytes]:
    members = made.requested([row["series_json"]], tags) if (tags := _of_request(query)) else {}
    members |= _above(row, query, wanted)
    members |= made.cut(row["series_json"])
    members |= made.series_count(row["series_instances"])
    if any(path[0] == int(made.SOP_CLASS, 16) for path in query.fields.paths):
        members[made.SOP_CLASS] = made.texts(made.SOP_CLASS, "UI", row["series_classes"])
    return members | made.series_identity(root, row["study_uid"], row["series_uid"])


def _instance(row: Row, query: Query, wanted: Wanted, root: bytes) -> bytes:
    where = (root, row["study_uid"], row["series_uid"], row["sop_uid"])
    identity = made.instance_identity(*where, row["transfer_syntax"])
    if query.fields.all:
        return made.whole_instance(made.with_address(unpack(row["data"]), *where), identity)
    members = _above(row, query, wanted)
    if wanted.data:
        members |= made.chosen(made.with_address(unpack(row["data"]), *where), _tags(query))
    else:
        members |= made.cut_head(made.with_address(row["head"], *where))
    return made.join(members | identity)


def _patient(row: Row) -> dict[str, bytes]:
    counts = made.patient_counts(row["studies"], row["series"], row["instances"])
    return made.of_patient(row["study_json"]) | counts
