"""Value sets of a series: every value of its study and series attributes by tag path, matched without a column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.dicom.header import BULK_MARK
from app.dicom.names import search_key
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
        if vr == "PN":
            text = search_key("=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")))
        else:
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
        if text and len(text) <= MAX_VALUE:
            yield text_key(text)
