"""The viewer's files, as `make viewer` packed them: everything that can be asked for stands in a manifest which is read
once; no part of an address ever becomes a path."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.errors import CannotStart

PACKAGE = "fileroom_viewer"
OFF = "none"
HOW_TO_ADD = "`make viewer` adds it; it needs npm"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CODINGS = ("zstd", "gzip", "identity")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its media type, the SHA-256 of its content, and where it is kept by content coding."""

    media_type: str
    sha256: str
    stored: Mapping[str, Path]

    def coding_for(self, accept_encoding: str) -> str:
        """The first coding that an Accept-Encoding header takes (RFC 9110 12.5.3); `identity` when it takes none."""
        taken = {}
        for member in accept_encoding.lower().split(","):
            coding, _, weight = member.partition(";")
            taken[coding.strip()] = weight.strip().removeprefix("q=").strip("0.") != "" or not weight
        return next((coding for coding in _CODINGS if coding in self.stored and taken.get(coding)), "identity")

    def read(self, coding: str) -> bytes:
        """The bytes to send in this coding."""
        if coding in self.stored:
            return self.stored[coding].read_bytes()
        return gzip.decompress(self.stored["gzip"].read_bytes())


@dataclass(frozen=True, slots=True)
class Package:
    """One build: its version, the address that its files stand below, the sources of script that its page may run
    (for Content-Security-Policy), the page, and every file by name."""

    version: str
    base: str
    scripts: tuple[str, ...]
    page: Asset
    files: Mapping[str, Asset]


def find_package(setting: str) -> Package | None:
    """The build in the folder that the setting names, or else the installed one; None when there is none or when the
    setting is `none`. Raises `CannotStart` when the folder holds none, or not what its manifest says."""
    if setting == OFF:
        return None
    if setting:
        return _load(Path(setting))
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return _load(Path(next(iter(found.submodule_search_locations))))


def _load(folder: Path) -> Package:
    folder = folder / PACKAGE if (folder / PACKAGE).is_dir() else folder
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        files = {name: _asset(folder / "files", entry) for name, entry in manifest["files"].items()}
        scripts = tuple(manifest["scripts"])
        return Package(manifest["version"], manifest["base"], scripts, files[manifest["page"]], files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotStart(f"{folder} holds no viewer that `make viewer` made: {error!r}") from error


def _asset(folder: Path, entry: Mapping[str, object]) -> Asset:
    stored = {}
    for coding, place in dict(entry["encodings"]).items():  # type: ignore[call-overload]
        if coding not in _CODINGS or _DIGEST.fullmatch(place["file"]) is None:
            raise ValueError("the manifest is not one of ours")
        stored[coding] = folder / place["file"]
        if stored[coding].stat().st_size != place["length"]:
            raise ValueError(f"{place['file']} is not as long as the manifest says")
    if not {"gzip", "identity"} & stored.keys():
        raise ValueError("a file has no coding that everybody reads")
    return Asset(str(entry["type"]), str(entry["sha256"]), stored)
