"""Storage commitment requests and results, as DICOM JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from pydicom.dataset import Dataset

Pair = tuple[str, str]
"""SOP class and instance."""


def pairs(*images: Dataset) -> list[Pair]:
    """How a request references instances."""
    return [(str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in images]


def request(references: Iterable[Pair]) -> dict[str, Any]:
    """The Storage Commitment Request Module (PS3.18 J.1)."""
    items = [{"00081150": _uid(sop_class), "00081155": _uid(uid)} for sop_class, uid in references]
    return {"00081199": {"vr": "SQ", "Value": items}}


def by_study(*images: Dataset) -> dict[str, Any]:
    """The same, by study, series and class."""
    studies = []
    for image in images:
        instances = {"00081150": _uid(str(image.SOPClassUID))}
        instances["0008114A"] = {"vr": "SQ", "Value": [{"00081155": _uid(str(image.SOPInstanceUID))}]}
        series = {"0020000E": _uid(str(image.SeriesInstanceUID)), "00081112": {"vr": "SQ", "Value": [instances]}}
        studies.append(
            {"0020000D": _uid(str(image.StudyInstanceUID)), "00081115": {"vr": "SQ", "Value": [series]}},
        )
    return {"00081110": {"vr": "SQ", "Value": studies}}


def committed(result: dict[str, Any]) -> list[Pair]:
    """What is committed."""
    return [_pair(item) for item in result.get("00081199", {}).get("Value", [])]


def failed(result: dict[str, Any]) -> dict[Pair, int]:
    """What is not, and why."""
    return {_pair(item): item["00081197"]["Value"][0] for item in result.get("00081198", {}).get("Value", [])}


def _pair(item: dict[str, Any]) -> Pair:
    return item["00081150"]["Value"][0], item["00081155"]["Value"][0]


def _uid(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


def result(good: Iterable[Pair], bad: Mapping[Pair, int] = MappingProxyType({}), uid: str = "") -> dict[str, Any]:
    """The Storage Commitment Response Module (PS3.18 J.2); with `uid` as N-EVENT-REPORT has it."""
    found = request(good)
    if bad:
        items = [{"00081150": _uid(a), "00081155": _uid(b), "00081197": {"vr": "US", "Value": [reason]}}
                 for (a, b), reason in bad.items()]  # fmt: skip
        found["00081198"] = {"vr": "SQ", "Value": items}
    return found | ({"00081195": _uid(uid)} if uid else {})
