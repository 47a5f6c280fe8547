"""From an instance's DICOM JSON to what rendering its frames needs: read once for a version, and small enough to keep.

A recipe is the JSON that a caged child makes its tables from. Frames of functional groups (PS3.3 C.7.6.16) that look
the same share one. Pure: neither numpy nor a codec."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from app.pixels import picture
from app.pixels.picture import Picture
from app.pixels.render_tables import lookup_table, palette

Members = Mapping[str, Any]

_SHARED, _PER_FRAME = "52009229", "52009230"
_TRANSFORMATION, _FRAME_VOI, _MEASURES = "00289145", "00289132", "00289110"
_TABLES = ("00283000", "00283010")
_PALETTE_DATA = ("00281201", "00281202", "00281203", "00281221", "00281222", "00281223")
_SPACINGS = ("00280030", "00181164", "00182010")
_XRAY = ("1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2")
_SQUARE = 0.01
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


class Look(NamedTuple):
    """What a frame is rendered with: the recipe, and the height of its pixels divided by their width."""

    recipe: bytes
    aspect: float


@dataclass(frozen=True, slots=True)
class Facts:
    """One instance. `looks[of_frame[n]]` is for frame n, counted from 0; `representative` is counted from 1, 0 when the
    data set names none."""

    picture: Picture
    looks: tuple[Look, ...]
    of_frame: array[int]
    representative: int

    def __len__(self) -> int:
        """Bytes it takes in memory, roughly."""
        return 2000 + sum(len(look.recipe) + 100 for look in self.looks) + 4 * len(self.of_frame)

    def look(self, number: int) -> Look:
        """What frame `number`, counted from 1, is rendered with."""
        at = number - 1
        return self.looks[self.of_frame[at] if at < len(self.of_frame) else 0]


def bulk_paths(members: Members) -> Iterator[str]:
    """The tag paths of tables that the JSON does not hold: `read_facts` wants their bytes. In `members` a BulkDataURI
    is the tag path alone."""
    for tag in _PALETTE_DATA:
        yield from _bulk_path(members.get(tag))
    for tag in _TABLES:
        for item in _items(members, tag)[:1]:
            yield from _bulk_path(item.get("00283006"))


def _bulk_path(element: Members | None) -> Iterator[str]:
    uri = (element or {}).get("BulkDataURI")
    if isinstance(uri, str):
        yield uri


def read_facts(members: Members, syntax: str, pixel_tag: int, frames: int, bulk: Mapping[str, bytes]) -> Facts:
    """The facts of an instance with pixel data; `bulk` holds the tables of `bulk_paths`. Raises as
    `app.pixels.picture.from_json`, and `Undecodable` when a table that cannot be done without is unusable."""
    pixels = picture.from_json(members, syntax, pixel_tag)
    looks: dict[Look, int] = {}
    of_frame = array("I")
    shared = _first_item(members, _SHARED)
    groups = _items(members, _PER_FRAME)
    if pixels.decoded.photometric_interpretation == "PALETTE COLOR":
        groups = groups[:1]
    for group in groups[:frames] or [{}]:
        look = Look(_recipe(members, shared, group, pixels, bulk), _aspect(members, shared, group))
        of_frame.append(looks.setdefault(look, len(looks)))
    representative = _number(members.get("00286010"))
    return Facts(
        pixels,
        tuple(looks),
        of_frame if len(looks) > 1 else array("I"),
        int(representative) if representative and 1 <= representative <= frames else 0,
    )


def windowed(recipe: bytes, center: float, width: float, function: str) -> bytes:
    """`recipe` with another window."""
    return orjson.dumps(orjson.loads(recipe) | {"voi": [center, width, function]})


def _recipe(members: Members, shared: Members, group: Members, pixels: Picture, bulk: Mapping[str, bytes]) -> bytes:
    """What turns stored values into shades (PS3.4 N.2.1) or colours."""
    if pixels.samples_per_pixel > 1:
        return b"{}"
    signed = pixels.pixel_representation == 1
    made: dict[str, Any] = {
        "bits": pixels.bits_stored,
        "shift": max(pixels.high_bit + 1 - pixels.bits_stored, 0),
        "signed": signed,
    }
    if pixels.photometric_interpretation == "PALETTE COLOR":
        made["palette"] = palette(members, signed, bulk)
        return orjson.dumps(made)
    _add_modality(made, members, _group(shared, group, _TRANSFORMATION) or members, bulk)
    voi = _window(_group(shared, group, _FRAME_VOI)) or _window(members) or _voi_table(made, members, bulk)
    if voi is not None:
        made["voi"] = voi
    changed = {"slope", "intercept", "modality"} & made.keys()
    made["fits"] = pixels.bits_stored > 8 or bool(changed)
    made["inverse"] = pixels.photometric_interpretation == "MONOCHROME1" or _text(members.get("20500020")) == "INVERSE"
    padding = _padding(members, pixels)
    if padding is not None and voi is None:
        made["padding"] = padding
    return orjson.dumps(made)


def _group(shared: Members, group: Members, tag: str) -> Members:
    """The item of a functional group of a frame: its own, else the shared one."""
    return _first_item(group, tag) or _first_item(shared, tag)


def _add_modality(made: dict[str, Any], members: Members, where: Members, bulk: Mapping[str, bytes]) -> None:
    """PS3.3 C.11.1. X-ray angiography keeps it for measuring when the intensities are not for display as they are
    (C.8.7.1.1.2)."""
    if _text(members.get("00080016")) in _XRAY and _text(members.get("00281040")) in ("LOG", "DISP"):
        return
    for item in _items(members, _TABLES[0])[:1]:
        table = lookup_table(item, bool(made["signed"]), bulk)
        if table is not None:
            made["modality"] = table
            return
    slope, intercept = _number(where.get("00281053")), _number(where.get("00281052"))
    if slope and (slope != 1.0 or intercept):
        made["slope"], made["intercept"] = slope, intercept or 0.0
    elif intercept and slope is None:
        made["intercept"] = intercept


def _window(where: Members) -> list[object] | None:
    center, width = _number(where.get("00281050")), _number(where.get("00281051"))
    function = _text(where.get("00281056")).replace(" ", "_") or "LINEAR"
    if function not in _FUNCTIONS:
        function = "LINEAR"
    if center is None or width is None or width <= 0 or (function == "LINEAR" and width < 1):
        return None
    return [center, width, function]


def _voi_table(made: Mapping[str, Any], members: Members, bulk: Mapping[str, bytes]) -> dict[str, object] | None:
    for item in _items(members, _TABLES[1])[:1]:
        signed = "modality" not in made and (bool(made["signed"]) or made.get("intercept", 0.0) < 0)
        return lookup_table(item, signed, bulk)
    return None


def _padding(members: Members, pixels: Picture) -> list[float] | None:
    """Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2), or those of Float and Double Float Pixel Data."""
    names = ("00280122", "00280124") if pixels.bits_stored == 32 else ("00280123", "00280125")
    names = names if pixels.kind == "float" else ("00280120", "00280121")
    value, limit = (_number(members.get(name)) for name in names)
    if value is None:
        return None
    ends = [value, value if limit is None else limit]
    if pixels.kind == "integer" and pixels.pixel_representation == 1:
        ends = [end - 65536 if end >= 32768 and pixels.bits_allocated <= 16 else end for end in ends]
    return [min(ends), max(ends)]


def _aspect(members: Members, shared: Members, group: Members) -> float:
    """Height of a pixel divided by its width (PS3.3 C.7.6.3.1.7); nearly square ones are square."""
    spacings = [_group(shared, group, _MEASURES).get(_SPACINGS[0]), *(members.get(tag) for tag in _SPACINGS)]
    for element in (*spacings, members.get("00280034")):
        down, across = _number(element), _number(element, 1)
        if down and across and down > 0 and across > 0:
            ratio = down / across
            return ratio if 0.01 <= ratio <= 100 and abs(ratio - 1.0) > _SQUARE else 1.0
    return 1.0


def _items(members: Members, tag: str) -> list[Members]:
    values = (members.get(tag) or {}).get("Value") or []
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _first_item(members: Members, tag: str) -> Members:
    return next(iter(_items(members, tag)), {})


def _text(element: Members | None) -> str:
    values = (element or {}).get("Value") or [""]
    return str(values[0]).strip().upper()


def _number(element: Members | None, at: int = 0) -> float | None:
    """A finite number, however it is written."""
    values = (element or {}).get("Value") or []
    if at >= len(values) or not isinstance(values[at], int | float | str):
        return None
    try:
        number = float(values[at])
    except ValueError:
        return None
    return number if math.isfinite(number) else None
