"""The corpus as fixtures: its folder, and its files with what the catalogue says of each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.testdata.collect import CATALOGUE, MARK, corpus_folder


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """One file. `name` is its path below the corpus folder; `facts` is its row of the catalogue, if it has one."""

    name: str
    path: Path
    facts: dict[str, str]


def corpus_files(folder: Path) -> list[CorpusFile]:
    """Every file of the corpus, sorted by name."""
    with CATALOGUE.open(newline="", encoding="utf8") as file:
        facts = {row["path"]: row for row in csv.DictReader(file)}
    paths = sorted(path for tier in ("open", "generated") for path in (folder / tier).rglob("*") if path.is_file())
    names = [str(path.relative_to(folder)) for path in paths]
    return [CorpusFile(name, path, facts.get(name, {})) for name, path in zip(names, paths, strict=True)]


@pytest.fixture(scope="session")
def corpus_root() -> Path:
    """Folder of the corpus; `make test` collects it, or FILEROOM_CORPUS names one."""
    folder = corpus_folder()
    if not (folder / MARK).exists():
        pytest.fail("no corpus: run `make corpus`")
    return folder


@pytest.fixture(scope="session")
def corpus(corpus_root: Path) -> list[CorpusFile]:
    """Every file of the corpus."""
    return corpus_files(corpus_root)
