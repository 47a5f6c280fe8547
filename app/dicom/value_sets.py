"""Value sets of a series: every value of its study and series attributes by tag path, matched without a column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.dicom.header import BULK_MARK
from app.dicom.names import groups, search_key
from app.dicom.values import text_key

MAX_VALUE = 256
"""Characters of one value; longer ones (such as a whole report) are not matched."""
_MARK = BULK_MARK.encode()


def value_sets(*members: bytes) -> dict[str, list[str]]:
    """{tag path: [value, ...]} of comma-joined DICOM JSON members. Sequence items are merged, path steps are tags with
    dots between them; names are folded, numbers are text."""
    joined = b"{" + b",".join(part for part in members if part).replace(_MARK, b"") + b"}"
    found: dict[str, dict[str, None]] = {}
    stack: list[tuple[str, dict[str, Any]]] = [("", orjson.loads(joined))]
    while stack:
        prefix, item = stack.pop()
        for tag, element in item.items():
            values = element.get("Value", ())
            if element["vr"] == "SQ":
                stack.extend((f"{prefix}{tag}.", value) for value in values)
            else:
                found.setdefault(prefix + tag, {}).update(dict.fromkeys(_texts(element["vr"], values)))
    return {path: list(values) for path, values in found.items() if values}


def _texts(vr: str, values: list[Any]) -> Iterator[str]:
    for value in values:
        if value is None:
            continue
        for text in _keys_of_name(value) if vr == "PN" else (_plain(value),):
            if text and len(text) <= MAX_VALUE:
                yield text_key(text)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _keys_of_name(value: dict[str, str]) -> list[str]:
    """The whole name, and each of its groups: a query without `=` matches any of them."""
    key = search_key("=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")))
    return [key, *groups(key)] if "=" in key else [key]
