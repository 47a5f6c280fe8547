"""Rendering parameters of a request (PS3.18 8.3.5; of WADO-URI, 9.1.2) → what the client wants. Pure functions;
whatever is not a value of its parameter is refused with 400, never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl

from app.errors import BadRequest
from app.pixels.render_wish import MAX_VIEWPORT, QUALITY, THUMBNAIL, THUMBNAIL_QUALITY, Region, Wish

_FIELDS = 64
_DECIMAL = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{0,12})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_ANNOTATIONS = ("patient", "technique")
_LARGEST = 1e12


def parameters(query: bytes) -> dict[str, str]:
    """The parameters of a query string by name; the first of a name counts. Raises `BadRequest`."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        raise BadRequest(f"the query has more than {_FIELDS} parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value.strip())
    return found


@lru_cache(512)
def rendered_wish(query: bytes) -> Wish:
    """What a request for a rendered resource wants, as JPEG; raises `BadRequest`."""
    given = parameters(query)
    viewport, region = _viewport(given["viewport"]) if "viewport" in given else (None, None)
    _refuse_profile(given)
    return Wish(
        "image/jpeg",
        integer(given, "quality", 1, 100) or QUALITY,
        viewport,
        region,
        _window(given["window"]) if "window" in given else None,
        annotation_of(given.get("annotation", "")),
    )


@lru_cache(512)
def thumbnail_wish(query: bytes) -> Wish:
    """What a request for a thumbnail wants, as JPEG: without a viewport, never larger than the image. Raises
    `BadRequest`."""
    given = parameters(query)
    viewport, region = _viewport(given["viewport"]) if "viewport" in given else ((THUMBNAIL, THUMBNAIL), None)
    if region is not None:
        raise BadRequest("the viewport of a thumbnail is its width and height alone")
    _refuse_profile(given)
    quality = integer(given, "quality", 1, 100) or THUMBNAIL_QUALITY
    return Wish("image/jpeg", quality, viewport, thumbnail=True, grows="viewport" in given)


def integer(given: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """A parameter between `low` and `high`; None when it is not there. Raises `BadRequest`."""
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and low <= int(text) <= high):
        raise BadRequest(f"`{name}` is a whole number from {low} to {high}")
    return int(text)


def decimal(text: str, name: str) -> float:
    """A finite number of sensible size; raises `BadRequest`."""
    text = text.strip()
    if _DECIMAL.fullmatch(text) is None or abs(float(text)) > _LARGEST:
        raise BadRequest(f"`{name}` holds a value that is not a decimal number")
    return float(text)


def window_of(center: str, width: str, function: str, name: str) -> tuple[float, float, str]:
    """A window (PS3.3 C.11.2.1.2, C.11.2.1.3); raises `BadRequest`."""
    kind = _FUNCTIONS.get(function.strip().lower())
    if kind is None:
        raise BadRequest(f"the function of `{name}` is one of {', '.join(_FUNCTIONS)}")
    found = decimal(center, name), decimal(width, name), kind
    if found[1] < 1 if kind == "LINEAR" else found[1] <= 0:
        raise BadRequest(f"the width of `{name}` is at least 1, or for linear-exact and sigmoid more than 0")
    return found


def annotation_of(text: str) -> tuple[str, ...]:
    """The values of `annotation`, each once and in one order; raises `BadRequest`."""
    given = {member.strip() for member in text.split(",")} - {""}
    if not given <= set(_ANNOTATIONS):
        raise BadRequest(f"`annotation` is one or several of {', '.join(_ANNOTATIONS)}")
    return tuple(name for name in _ANNOTATIONS if name in given)


def _viewport(text: str) -> tuple[tuple[int, int], Region | None]:
    """PS3.18 8.3.5.1.3: `vw,vh[,sx,sy,sw,sh]`, the later ones may be empty."""
    members = [member.strip() for member in text.split(",")]
    if not 2 <= len(members) <= 6:
        raise BadRequest("`viewport` is vw,vh or vw,vh,sx,sy,sw,sh")
    sides = [integer({"viewport": member}, "viewport", 1, MAX_VIEWPORT) for member in members[:2]]
    viewport = sides[0] or 1, sides[1] or 1
    if not any(members[2:]):
        return viewport, None
    left, top, width, height = [
        decimal(member, "viewport") if member else None for member in (*members[2:], "", "", "", "")[:4]
    ]
    if min(left or 0, top or 0) < 0 or width == 0 or height == 0:
        raise BadRequest("the region of `viewport` begins inside the image and has a size")
    return viewport, Region(left or 0, top or 0, width, height)


def _window(text: str) -> tuple[float, float, str]:
    """PS3.18 8.3.5.1.4: `center,width,function`."""
    members = text.split(",")
    if len(members) not in (2, 3):
        raise BadRequest("`window` is center,width,function")
    return window_of(members[0], members[1], members[2] if len(members) == 3 else "linear", "window")


def _refuse_profile(given: Mapping[str, str]) -> None:
    if given.get("iccprofile", "no").lower() != "no":
        raise BadRequest("rendered images have no ICC profile: leave `iccprofile` out, or say no")
