"""Numbers whose VR is US or SS by Pixel Representation (PS3.5 A.1), when the data set does not say the VR and brings
Pixel Representation only later: their places in the JSON are left open until the item or the data set is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.dicom.charsets import DEFAULT
from app.dicom.prepared import Faults, Prepared, prepare

_GAP = re.compile(rb"\x02([0-9]+)\x02")


@dataclass(slots=True)
class Deferred:
    """One such number. `path` is that of its item, with a slash at its end."""

    path: str
    tag: int
    value: bytes
    order: str
    vr: str = ""


def gap(number: int) -> bytes:
    """What stands in the JSON for the deferred number; no control character can come from a value."""
    return b"\x02%d\x02" % number


def settle_signs(deferred: list[Deferred], representation: str | None) -> None:
    """The data set that holds these is whole: the nearest Pixel Representation decides (PS3.3 C.7.6.3.1)."""
    if not representation:
        return
    for one in deferred:
        if not one.vr:
            one.vr = "US" if representation == "0" else "SS"


def fill_gaps(deferred: list[Deferred], hits: list[Prepared]) -> tuple[list[Prepared], Faults]:
    """The elements with all numbers in their places, and what is wrong with these."""
    ready = [prepare(one.tag, one.vr or "US", one.value, DEFAULT, one.order) for one in deferred]
    faults = tuple([(one.path + path, text) for one, hit in zip(deferred, ready, strict=True) for path, text in hit[4]])

    def member(found: re.Match[bytes]) -> bytes:
        return ready[int(found[1])][0]

    filled: list[Prepared] = [(_GAP.sub(member, hit[0]), *hit[1:]) if b"\x02" in hit[0] else hit for hit in hits]
    return filled, faults
