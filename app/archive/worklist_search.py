"""Search for worklist items (PS3.18 14.4, PS3.4 K.4.1): the matching items as stored text, in the order of their start.

A peer sees what its behaviour lets it see, whatever it asks for."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import orjson

from app.archive.context import Context
from app.archive.search import Answer
from app.archive.worklist_rules import State
from app.catalog import worklist_search as catalog
from app.catalog.worklist_search import Plan, Row
from app.dicom.matching import matches_dataset
from app.dicom.peer import Peer
from app.dicom.query import Query, read_path
from app.dicom.worklist import STEP_STATUS, step_of
from app.dicom.worklist_keys import is_known
from app.dicom.worklist_query import START_TIME, Constraints, constrain
from app.errors import BadRequest

_BATCH = 500
_SECONDS = 5.0
"""Longest search that looks into items."""
_STATUS = {
    State.IN_PROGRESS: "STARTED",
    State.COMPLETED: "COMPLETED",
    State.DISCONTINUED: "DISCONTINUED",
    State.CANCELLED: "CANCELED",
}
"""Scheduled Procedure Step Status (PS3.3 C.4.10) of items that are no longer just scheduled."""


async def search(
    context: Context, query: Query, parameters: Iterable[tuple[str, str]] = (), peer: Peer | None = None
) -> Answer:
    """The page of items that `query` asks for, on behalf of `peer` if one asks; `parameters` are what `query` was read
    from. Raises `BadRequest`."""
    planned = plan(context, query, parameters, peer)
    limit = context.query_limit if query.page.limit is None else min(query.page.limit, context.query_limit)
    skip = query.page.offset if planned.rest else 0
    offset = 0 if planned.rest else query.page.offset
    rows: list[Row] = []
    async with aclosing(matching(context, planned, limit + 1 - len(rows), offset, query.page.cursor)) as found:
        async for row in found:
            if skip:
                skip -= 1
                continue
            rows.append(row)
            if len(rows) > limit:
                break
    cursor = catalog.cursor_of(rows[limit - 1]) if len(rows) > limit and limit else ""
    total = await _count(context, planned) if query.page.total else None
    return Answer([text_of(row, query) for row in rows[:limit]], cursor, total)


def plan(
    context: Context,
    query: Query,
    parameters: Iterable[tuple[str, str]],
    peer: Peer | None,
    *,
    hidden: bool = False,
) -> Plan:
    """The conditions of a search, those of the peer's behaviour included; `hidden`: also among items that nobody sees
    any more."""
    constraints = constraints_of(context, peer)
    timed = any(read_path(name) == START_TIME and "-" in value for name, value in parameters)
    today = datetime.now().strftime("%Y%m%d")
    criteria = constrain(query.criteria, constraints, today, timed=timed)
    planned = catalog.plan(criteria, lenient=context.lenient_matching, hidden=hidden)
    if peer is None or peer.behaviour.worklist_stations == "all":
        return planned
    return catalog.at_station(planned, peer.ae_title, or_none=peer.behaviour.worklist_stations == "own-or-none")


def constraints_of(context: Context, peer: Peer | None) -> Constraints:
    """The archive's search constraints, as far as the peer has none of its own."""
    rules = context.worklist
    constraints = Constraints(rules.time_without_date, rules.times_over_days)
    behaviour = peer.behaviour if peer else None
    if behaviour and behaviour.worklist_time_without_date:
        constraints = replace(constraints, time_without_date=cast(Any, behaviour.worklist_time_without_date))
    if behaviour and behaviour.worklist_times_over_days:
        constraints = replace(constraints, times_over_days=cast(Any, behaviour.worklist_times_over_days))
    return constraints


async def matching(
    context: Context, planned: Plan, limit: int, offset: int = 0, cursor: str = ""
) -> AsyncGenerator[Row, None]:
    """Rows that match, batch by batch when the items must be looked into."""
    if not planned.rest:
        for row in await catalog.find(context.catalog, planned, limit, offset, cursor):
            yield row
        return
    deadline = time.monotonic() + _SECONDS
    while True:
        rows = await catalog.find(context.catalog, planned, _BATCH, 0, cursor)
        for row in rows:
            if matches_dataset(planned.rest, data_set(row), lenient=context.lenient_matching):
                yield row
        if len(rows) < _BATCH:
            return
        if time.monotonic() > deadline:
            raise BadRequest("the search takes longer than the server allows; add a selective key")
        cursor = catalog.cursor_of(rows[-1])


async def _count(context: Context, planned: Plan) -> int:
    if not planned.rest:
        return await catalog.count(context.catalog, planned)
    async with aclosing(matching(context, planned, _BATCH)) as rows:
        return len([None async for _ in rows])


def data_set(row: Row) -> dict[str, Any]:
    """The whole item of a row."""
    item: dict[str, Any] = orjson.loads(b"{%b}" % b",".join(filter(None, (row["json"], row["extra"]))))
    return dict(sorted(item.items()))


def text_of(row: Row, query: Query) -> bytes:
    """The DICOM JSON object for one row: what every search returns, and the other members that were asked for."""
    state = State(row["state"])
    others = row["extra"] and (query.fields.all or any(not is_known(path[0]) for path in query.fields.paths))
    if not others and state is State.SCHEDULED:
        return b"{%b}" % row["json"]
    item = whole(row)
    if not query.fields.all:
        asked = {f"{path[0]:08X}" for path in query.fields.paths} | set(orjson.loads(b"{%b}" % row["json"]))
        item = {tag: element for tag, element in item.items() if tag in asked}
    return orjson.dumps(item)


def whole(row: Row) -> dict[str, Any]:
    """The whole item, with the state that its step has by now."""
    item = data_set(row)
    status = _STATUS.get(State(row["state"]))
    if status:
        step = step_of(item)
        step[STEP_STATUS] = {"vr": "CS", "Value": [status]}
        item["00400100"]["Value"] = [dict(sorted(step.items()))]
    return item
