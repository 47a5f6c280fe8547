"""Rules by which instances are sent on: an event of the change feed, a condition, a destination. The condition is a
search (PS3.18 10.6) among what the event is about, so it matches as searches do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.archive import retrieve
from app.archive.audit import AuditEvent
from app.archive.context import Context
from app.archive.search import Search
from app.archive.transfers import Target
from app.catalog import changes, queue, routing
from app.catalog.changes import Change
from app.catalog.queue import NewJob
from app.catalog.registry import ROUTES
from app.dicom.attributes import Level
from app.dicom.destination import plain_name
from app.dicom.peer import ae_title
from app.dicom.query import read_query
from app.errors import BadRequest, NotFound

log = logging.getLogger("fileroom.jobs")

MESSAGES = "mpps-message"
"""A message about a performed procedure step came: it is told on as it is (`app.archive.step_routing`)."""
EVENTS = ("instance", "series", "study", "mpps", MESSAGES)
_QUIET = frozenset({"series", "study"})
_KINDS = {
    "stored": "instance",
    "replaced": "instance",
    "series-quiet": "series",
    "study-quiet": "study",
    "step-completed": "mpps",
}
_LEVELS: dict[str, Level] = {
    "instance": "IMAGE",
    "series": "SERIES",
    "study": "STUDY",
    "mpps": "STUDY",
    MESSAGES: "STUDY",
}
_MEMBERS = frozenset({"event", "seconds", "where", "source", "peer", "server", "echo", "commit", "tries", "enabled"})
_PAGE = 500
_LISTED = 50
_LONGEST_QUIET = 7 * 86400
_SOP_INSTANCE = "00080018"
_SOURCE = b"\x02\x00\x16\x00AE"
"""Source Application Entity Title (0002,0016), as file meta begins it."""


@dataclass(frozen=True, slots=True)
class Route:
    """One rule. `where` are parameters of a search; `sources` AE titles that sent the instances, empty: any; `echo`:
    nothing is sent before the destination has answered an echo."""

    name: str
    event: str
    target: Target
    seconds: int = 0
    where: tuple[tuple[str, str], ...] = ()
    sources: tuple[str, ...] = ()
    echo: bool = True
    commit: bool = False
    tries: int = 0
    enabled: bool = True

    @classmethod
    def from_json(cls, name: str, value: object, quiet_seconds: int) -> Route:
        """The route that a JSON object describes; `quiet_seconds` is the default. Raises `BadRequest`."""
        if not isinstance(value, dict) or not _MEMBERS.issuperset(value):
            raise BadRequest(f"a route is a JSON object with the members {', '.join(sorted(_MEMBERS))}")
        event, where, sources = value.get("event"), value.get("where", {}), value.get("source", [])
        if event not in EVENTS:
            raise BadRequest(f"`event` is one of {', '.join(EVENTS)}")
        if not isinstance(where, dict) or not all(isinstance(one, str) for one in where.values()):
            raise BadRequest("`where` is an object of attributes and the text that each must match")
        if not isinstance(sources, list) or (sources and event not in ("instance", MESSAGES)):
            raise BadRequest(f"`source` is a list of AE titles, for the events `instance` and `{MESSAGES}`")
        echo, commit, enabled = (
            value.get("echo", event != MESSAGES),
            value.get("commit", False),
            value.get("enabled", True),
        )
        if not all(isinstance(one, bool) for one in (echo, commit, enabled)):
            raise BadRequest("`echo`, `commit` and `enabled` are true or false")
        if event == MESSAGES and (where or commit):
            raise BadRequest(f"`where` and `commit` are not for the event `{MESSAGES}`")
        seconds = _whole(value, "seconds", quiet_seconds, _LONGEST_QUIET) if event in _QUIET else 0
        route = cls(
            plain_name(name),
            event,
            Target.from_json(value),
            seconds,
            tuple(where.items()),
            tuple(map(ae_title, sources)),
            echo,
            commit,
            _whole(value, "tries", 0, 1000),
            enabled,
        )
        read_query(_LEVELS[event], route.where)
        return route

    def to_json(self) -> dict[str, Any]:
        """The object that `from_json` reads."""
        told: dict[str, Any] = {"event": self.event, **self.target.to_json(), "where": dict(self.where)}
        told |= {"source": list(self.sources)} if self.sources else {}
        told |= {"seconds": self.seconds} if self.event in _QUIET else {}
        told |= {"commit": True} if self.commit else {}
        return told | {"echo": self.echo, "tries": self.tries, "enabled": self.enabled}

    def job(self, context: Context, study: str, series: str = "", sops: Sequence[str] = ()) -> NewJob:
        """The job that a match makes."""
        tries = self.tries or context.transfers.tries
        payload = {"echo": self.echo, "commit": self.commit}
        return NewJob(
            self.target.queue, self.target.name, f"route {self.name}", tries, payload, study, series, tuple(sops)
        )


def _whole(value: dict[str, Any], name: str, default: int, most: int) -> int:
    number = value.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= most:
        raise BadRequest(f"`{name}` is a whole number from 0 to {most}")
    return number


# ---------------------------------------------------------------- the registry


async def registered(context: Context) -> list[Route]:
    """Every route, by name."""
    rows = await ROUTES.everyone(context.catalog)
    return [Route.from_json(name, orjson.loads(text), context.quiet_seconds) for name, text in rows]


async def one(context: Context, name: str) -> Route:
    """The route of this name; raises `NotFound`."""
    text = await ROUTES.find(context.catalog, name) if "\0" not in name else None
    if text is None:
        raise NotFound("no such route")
    return Route.from_json(name, orjson.loads(text), context.quiet_seconds)


async def put(context: Context, principal: str, route: Route) -> bool:
    """Adds a route, or replaces it; whether it is new. It is asked about events from now on."""
    await route.target.check(context)
    await context.audit(AuditEvent("put-route", principal))
    return await ROUTES.put(context.catalog, route.name, orjson.dumps(route.to_json()).decode())


async def remove(context: Context, principal: str, name: str) -> None:
    """Removes a route; raises `NotFound`. What it has queued stays."""
    await context.audit(AuditEvent("remove-route", principal))
    if "\0" in name or not await ROUTES.delete(context.catalog, name):
        raise NotFound("no such route")


# ---------------------------------------------------------------- the job process


async def follow(context: Context, search: Search) -> bool:
    """Queues what the routes make of the next events; whether there may be more. An event makes its jobs once, whatever
    is killed, since both are committed together."""
    if not await routing.is_behind(context.catalog):
        return False
    routes = [route for route in await registered(context) if route.enabled]
    async with routing.following(context.catalog) as place:
        if place is None:
            return False
        connection, position = place
        horizon = await changes.horizon(context.catalog)
        found = await changes.page(connection, position, _PAGE) if routes else ()
        if not found:
            await routing.followed(connection, horizon)
            return False
        events = await _told(connection, found)
        for route in routes:
            try:
                jobs = await _jobs(context, search, route, events)
            except BadRequest as error:  # such as a search that takes too long
                log.error("route %s cannot be asked, and is passed over: %s", route.name, error.detail)
                continue
            for job in jobs:
                await queue.add(connection, job)
        await routing.followed(connection, found[-1].id)
    return len(found) == _PAGE


async def _told(connection: Any, found: Sequence[Change]) -> list[Change]:
    """The events, with one for each instance that an undo shows again: it may have been hidden before any route was
    asked about it."""
    events = list(found)
    for one in found:
        if one.kind == "undone":
            shown = await routing.shown_again(connection, one.detail["deletion"])
            events += [one._replace(kind="stored", series=series, sop=sop) for series, sop in shown]
    return events


async def _jobs(context: Context, search: Search, route: Route, events: Iterable[Change]) -> list[NewJob]:
    """What a route makes of events: one job for the instances of a study."""
    mine = [one for one in events if _KINDS.get(one.kind) == route.event]
    if route.event == "instance":
        studies: dict[str, list[Change]] = {}
        for one in mine:
            studies.setdefault(one.study, []).append(one)
        made = [(study, await _matching(context, search, route, group)) for study, group in studies.items()]
        return [route.job(context, study, sops=sops) for study, sops in made if sops]
    jobs = []
    for one in mine:
        if one.detail.get("seconds", 0) == route.seconds and await _matches(search, route, one):
            jobs.append(route.job(context, one.study, one.series))
    return jobs


async def _matches(search: Search, route: Route, event: Change) -> bool:
    """Whether the series or study of an event is as the route wants it."""
    name = ("SeriesInstanceUID", event.series) if event.series else ("StudyInstanceUID", event.study)
    query = read_query(_LEVELS[route.event], [*route.where, name, ("limit", "1")], study=_study(route, event))
    return bool((await search.answer(query, "")).results)


def _study(route: Route, event: Change) -> str:
    return event.study if route.event == "series" else ""


async def _matching(context: Context, search: Search, route: Route, events: Sequence[Change]) -> list[str]:
    """The instances of one study's events that are as the route wants them."""
    matching: set[str] = set()
    sops = list(dict.fromkeys(one.sop for one in events))
    for start in range(0, len(sops), _LISTED):
        listed = sops[start : start + _LISTED]
        if not route.where:
            matching.update(listed)
            continue
        pairs = [*route.where, ("SOPInstanceUID", ",".join(listed)), ("limit", "1000")]
        answer = await search.answer(read_query("IMAGE", pairs, study=events[0].study), "")
        matching.update(orjson.loads(result)[_SOP_INSTANCE]["Value"][0] for result in answer.results)
    chosen = [one for one in events if one.sop in matching]
    if route.sources:
        chosen = [one for one in chosen if await _source(context, one) in route.sources]
    return list(dict.fromkeys(one.sop for one in chosen))


async def _source(context: Context, event: Change) -> str:
    """The AE title that sent an instance, as its file meta says; empty when it does not."""
    try:
        instance = await retrieve.find_instance(context, event.study, event.series, event.sop)
    except NotFound:
        return ""
    meta = await retrieve.read_at_once(context, instance, 0, min(instance.dataset_offset, instance.length))
    at = meta.find(_SOURCE)
    if at < 0:
        return ""
    length = int.from_bytes(meta[at + 6 : at + 8], "little")
    return meta[at + 8 : at + 8 + length].decode("ascii", "replace").strip(" \0")
