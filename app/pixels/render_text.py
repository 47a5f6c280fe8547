"""Lines of text that `annotation` burns into a rendered image (PS3.18 8.3.5.1.1): on the patient, on technique."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Members = Mapping[str, Any]

_PATIENT = (
    (("00100010", ""),),
    (("00100020", "ID: {}"), ("00100040", "{}")),
    (("00100030", "born {}"),),
)
_TECHNIQUE = (
    (("00080060", "{}"), ("00080020", "{}"), ("00080030", "{}")),
    (("00200011", "series {}"), ("00200013", "image {}")),
    (("00180060", "{} kVp"), ("00181151", "{} mA"), ("00181150", "{} ms")),
    (("00180080", "TR {} ms"), ("00180081", "TE {} ms"), ("00180087", "{} T")),
    (("00180050", "thickness {} mm"), ("00201041", "location {} mm")),
)
_LONGEST = 64


def corners(members: Members, annotation: Collection[str]) -> list[tuple[str, ...]]:
    """The lines for the upper left corner, name, ID, sex and birth date, when `annotation` has `patient`; for the lower
    left one, modality, date, place in the study and how the image was acquired, when it has `technique`."""
    kinds = (("patient", _PATIENT), ("technique", _TECHNIQUE))
    return [_lines(members, rows) if name in annotation else () for name, rows in kinds]


def _lines(members: Members, rows: tuple[tuple[tuple[str, str], ...], ...]) -> tuple[str, ...]:
    lines = []
    for row in rows:
        texts = [(form or "{}").format(text) for tag, form in row if (text := _text(tag, members.get(tag)))]
        if texts:
            lines.append("  ".join(texts)[:_LONGEST])
    return tuple(lines)


def _text(tag: str, element: Members | None) -> str:
    values = (element or {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):
        value = next((value[group] for group in ("Alphabetic", "Ideographic", "Phonetic") if value.get(group)), "")
        value = " ".join(part for part in str(value).split("^") if part)
    text = f"{value:g}" if isinstance(value, float) else str(value if value is not None else "")
    text = "".join(char for char in text if char.isprintable()).strip()
    if tag.startswith(("00080020", "00100030")) and len(text) == 8 and text.isdecimal():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if tag == "00080030" and text[:4].isdecimal() and len(text) >= 4:
        return f"{text[:2]}:{text[2:4]}"
    return text
