"""The header reader beside pydicom: both answers as PS3.18 Annex F objects in one canonical form.

`canonical` is the only place where the two may differ, each time with the section that settles it."""

from __future__ import annotations

import base64
import json
import math
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian

from app.dicom.elements import WORD, swapped
from app.dicom.header import Header
from app.dicom.part10 import HeaderReader

Json = dict[str, Any]
MADE_UP = {0x0020000D: "1.2.3", 0x0020000E: "1.2.3.4", 0x00080018: "1.2.3.4.5"}
UNREADABLE = "pydicom raises"


def read(data: bytes, portions: Iterator[int] | None = None) -> Header:
    """The header of `data`, fed whole or in portions of the given sizes."""
    reader = HeaderReader()
    for chunk in cut(data, portions):
        reader.feed(chunk)
    return reader.finish()


def read_without_identifiers(data: bytes) -> Header:
    """The header of a file that lacks UIDs, as if it had them: what else it holds can still be compared."""
    reader = HeaderReader()
    reader.feed(data)
    if reader._scanner is not None:
        for tag, uid in MADE_UP.items():
            reader._scanner.identifiers.setdefault(tag, uid)
    return reader.finish()


def cut(data: bytes, portions: Iterator[int] | None) -> Iterator[bytes]:
    """`data` in portions; the last one is what is left."""
    pos = 0
    for size in portions or ():
        if pos >= len(data):
            return
        yield data[pos : pos + size]
        pos += size
    if pos < len(data):
        yield data[pos:]


def theirs(data: bytes) -> tuple[Json, FileDataset]:
    """What pydicom makes of it, element by element: one that it cannot convert is `UNREADABLE`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_partial(BytesIO(data), force=True)
        return _object(dataset), dataset


def _object(dataset: Dataset) -> Json:
    out: Json = {}
    for tag in sorted(dataset.keys()):
        name = f"{tag:08X}"
        try:
            element = dataset[tag]
            if element.VR == "SQ":
                # pydicom hands Pixel Representation down into items of sequences of defined length only.
                dataset._set_pixel_representation(element)
                out[name] = {"vr": "SQ", "Value": [_object(item) for item in element.value]}
            else:
                out[name] = element.to_json_dict(None, 0)
        except Exception:  # noqa: BLE001 whatever it raises, there is nothing to compare with
            out[name] = {"vr": UNREADABLE}
    return out


def ours(header: Header, data: bytes, big_endian: bool) -> Json:
    """The reader's JSON with every BulkDataURI followed, by the places that the header names."""
    content = data
    if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[header.dataset_offset :])
    places = {place.path: place for place in header.bulk}

    def follow(found: Json) -> Json:
        for element in found.values():
            if "BulkDataURI" in element:
                place = places[element.pop("BulkDataURI").removeprefix("\x01")]
                length = header.frames.length if place.length < 0 else place.length
                raw = content[place.offset : place.offset + length]
                # Bulk data lies in the file as it was sent; PS3.18 F.2.7 wants inline values little endian.
                if big_endian and len(raw) % WORD[place.vr] == 0:
                    raw = swapped(raw, WORD[place.vr])
                element["InlineBinary"] = base64.b64encode(raw).decode()
            elif element["vr"] == "SQ":
                for item in element.get("Value", ()):
                    follow(item)
        return found

    return follow(json.loads(header.json, strict=False))


def canonical(found: Json, big_endian: bool = False) -> Json:
    """One form for both sides."""
    out: Json = {}
    for tag, element in found.items():
        # PS3.18 F.2.2: Group Length is not included; nor are command elements, which are no data set (PS3.7 6.3).
        if not tag.endswith("0000") and not tag.startswith(("0000", "0002")):
            out[tag] = _element(element, big_endian)
    return out


def _element(element: Json, big_endian: bool) -> Json:
    vr = element["vr"]
    if "InlineBinary" in element:
        raw = base64.b64decode(element["InlineBinary"])
        # PS3.18 F.2.7: InlineBinary is little endian; pydicom leaves the bytes as they are in the file.
        if big_endian and len(raw) % WORD.get(vr, 1) == 0:
            raw = swapped(raw, WORD.get(vr, 1))
        return {"vr": vr, "bytes": raw}
    if vr == "SQ":
        items = [canonical(item, big_endian) for item in element.get("Value", [])]
        # PS3.18 F.2.5: an empty attribute has no Value.
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    values = [_value(vr, value) for value in element.get("Value", [])]
    # PS3.18 F.2.5: empty values are null among others, and nothing alone.
    return {"vr": vr, "Value": values} if any(value is not None for value in values) else {"vr": vr}


def _value(vr: str, value: Any) -> Any:
    if vr == "PN" and isinstance(value, dict):
        # PS3.18 F.2.2: only non-empty component groups; PS3.5 6.2: padding at the end of a group does not count.
        # PS3.5 6.1.2.5.3: escape sequences are no text; pydicom leaves those of ISO-IR 58 standing.
        groups = {name: text.replace("\x1b$)A", "").rstrip(" \0") for name, text in value.items() if text.rstrip(" \0")}
        return groups or None
    if vr in ("DS", "IS", "SV", "UV", "FL", "FD") and isinstance(value, int | float | str):
        return _number(value)
    if isinstance(value, str):
        # PS3.5 6.2: trailing spaces do not count, in each of several values.
        return value.rstrip(" \0") or None
    return value


def _number(value: float | str) -> Any:
    """PS3.18 F.2.3: a number may stand as a string, and what is no number must."""
    if isinstance(value, str):
        text = value.strip(" \0")
        try:
            value = int(text) if text.lstrip("+-").isdecimal() else float(text)
        except ValueError:
            return text or None
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def differences(mine: Json, other: Json, path: str = "") -> list[str]:
    """Where two canonical forms differ; elements that pydicom could not convert are left out."""
    out = []
    for tag in sorted(mine.keys() | other.keys()):
        a, b = mine.get(tag), other.get(tag)
        if a == b or (b is not None and b["vr"] == UNREADABLE):
            continue
        if (
            a is None
            or b is None
            or a["vr"] != "SQ"
            or b["vr"] != "SQ"
            or len(a.get("Value", ())) != len(b.get("Value", ()))
        ):
            out.append(f"{path}{tag}: {str(a)[:150]} | {str(b)[:150]}")
            continue
        for number, (item, item2) in enumerate(zip(a["Value"], b["Value"], strict=True), 1):
            out.extend(differences(item, item2, f"{path}{tag}/{number}/"))
    return out


def compare(data: bytes, header: Header) -> list[str]:
    """Where the reader and pydicom disagree about `data`."""
    other, dataset = theirs(data)
    big_endian = dataset.original_encoding[1] is False
    return differences(canonical(ours(header, data, big_endian)), canonical(other, big_endian))
