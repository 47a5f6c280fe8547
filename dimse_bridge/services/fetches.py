"""Which requests to the archive bring the instances of a retrieve (PS3.18 10.4): a whole study or series in one answer
where all of it goes to the peer in the same way, else one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dimse_bridge.services.selection import Wanted


@dataclass(frozen=True, slots=True)
class Fetch:
    """One request to the archive, and what it brings: in transfer syntax `ask`, or as stored when that is ""."""

    path: str
    ask: str
    wanted: tuple[Wanted, ...]


def _study(one: Wanted) -> str:
    return f"/studies/{one.study}"


def _series(one: Wanted) -> str:
    return f"/studies/{one.study}/series/{one.series}"


def _instance(one: Wanted) -> str:
    return f"/studies/{one.study}/series/{one.series}/instances/{one.sop}"


_PLACES: tuple[Callable[[Wanted], str], ...] = (_study, _series, _instance)
_DEPTH = MappingProxyType({"PATIENT": 0, "STUDY": 0, "SERIES": 1, "IMAGE": 2})


def one_by_one(wanted: Iterable[Wanted], ask: str) -> list[Fetch]:
    """A request for each of `wanted`."""
    return [Fetch(_instance(one), ask, (one,)) for one in wanted]


def fetches(level: str, ways: Mapping[Wanted, str | None]) -> list[Fetch]:
    """The requests for what a retrieve at `level` selected, which is all of the studies (or series) that it touches.
    `ways` says in which transfer syntax each is asked for; what has None does not go."""
    return list(_divide(list(ways), ways, _DEPTH[level]))


def _divide(wanted: list[Wanted], ways: Mapping[Wanted, str | None], depth: int) -> Iterator[Fetch]:
    groups: dict[str, list[Wanted]] = {}
    for one in wanted:
        groups.setdefault(_PLACES[depth](one), []).append(one)
    for path, group in groups.items():
        kinds = {ways[one] for one in group}
        ask = next(iter(kinds))
        if len(kinds) > 1 or len({one.sop for one in group}) < len(group):
            yield from _divide(group, ways, depth + 1)
        elif ask is not None:
            yield Fetch(path, ask, tuple(group))
