"""Answers at PATIENT level (PS3.4 C.6.1.1.2) out of a search for studies, for servers without a resource of patients:
PS3.18 has none. Studies with the same issuer and ID are one patient's; an empty ID never groups."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from app.errors import LimitExceeded

Item = dict[str, Any]
_PATIENT_ID, _ISSUER = "00100020", "00100021"
_ALL = ("00201200", "00201202", "00201204")
"""Number of Patient Related Studies, Series, Instances."""
_SERIES_OF_STUDY, _INSTANCES_OF_STUDY = "00201206", "00201208"
_NONE: Item = {}
_MOST = 100_000


async def patients_of(pages: AsyncGenerator[list[Item], None], *, counted: bool) -> AsyncGenerator[list[Item], None]:
    """Each patient of the studies once, as its first study has it. Only when the numbers of its studies, series and
    instances are asked for (`counted`), all pages are read before the first answer."""
    seen: dict[tuple[str, str], Item] = {}
    number = 0
    async with aclosing(pages):
        async for page in pages:
            fresh = []
            for study in page:
                number += 1
                key = _first(study, _PATIENT_ID), _first(study, _ISSUER)
                key = key if key[0] else ("", str(number))
                if key not in seen:
                    seen[key] = {**study, **dict.fromkeys(_ALL, _NONE)} if counted else _NONE
                    fresh.append(study)
                if counted:
                    _add(seen[key], study)
            if len(seen) > _MOST:
                raise LimitExceeded("query_limit", f"more than {_MOST} patients match; add a key")
            if fresh and not counted:
                yield fresh
    if counted and seen:
        yield list(seen.values())


def _first(item: Item, tag: str) -> str:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _add(patient: Item, study: Item) -> None:
    of_study = (1, _number(study, _SERIES_OF_STUDY), _number(study, _INSTANCES_OF_STUDY))
    for tag, more in zip(_ALL, of_study, strict=True):
        patient[tag] = {"vr": "IS", "Value": [_number(patient, tag) + more]}


def _number(item: Item, tag: str) -> int:
    text = _first(item, tag)
    return int(text) if text.isdecimal() else 0
