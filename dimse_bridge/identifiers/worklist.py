"""Identifiers of the Modality Worklist (PS3.4 K.4.1) as searches of PS3.18 14.4."""

from __future__ import annotations

from collections.abc import Iterator

from app.dicom.worklist_keys import is_known
from dimse_bridge.identifiers.keys import MOST_FIELDS, Search, conditions_of
from dimse_bridge.identifiers.request import QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET, Identifier, Key

RESOURCE = "/modality-scheduled-procedure-steps"
_OF_THE_QUERY = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL})


def to_search(identifier: Identifier) -> Search:
    """The search that answers an identifier. Attributes of PS3.4 Table K.6-1 need not be asked for by name."""
    return Search(RESOURCE, tuple(_parameters(identifier)))


def unsupported_keys(identifier: Identifier) -> tuple[int, ...]:
    """The keys that no worklist item has by the model (PS3.4 K.6.1.2.1); answers have them with zero length."""
    return tuple(key.tag for key in _keys(identifier) if not is_known(key.tag))


def _keys(identifier: Identifier) -> Iterator[Key]:
    return (key for key in identifier.keys if key.tag not in _OF_THE_QUERY)


def _parameters(identifier: Identifier) -> Iterator[tuple[str, str]]:
    for key in _keys(identifier):
        if is_known(key.tag):
            yield from conditions_of(key, f"{key.tag:08X}")
    fields = [f"{key.tag:08X}" for key in _keys(identifier)]
    if fields:
        yield "includefield", "all" if len(fields) > MOST_FIELDS else ",".join(fields)
