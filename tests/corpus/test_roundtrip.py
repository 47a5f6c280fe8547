"""Every file of the corpus is stored by one curl command, found, and read back byte for byte; or it is refused as
`refusals.csv` says. Nothing answers 5xx."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.archive import start_archive
from tests.testdata.collect import CATALOGUE
from tests.testdata.fixtures import CorpusFile

REFUSALS = Path(__file__).with_name("refusals.csv")
UID = re.compile(r"[0-9]+(\.[0-9]+)*")
IMPLICIT_LE, EXPLICIT_BE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
STORED, STORED_WITH_WARNINGS = 200, 202
INSIDE = "the data set ends inside"
BROKEN_OFF = {
    "open/pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm": f"7FE00010: {INSIDE} encapsulated pixel data",
    "open/pydicom/pydicom/test_files/MR_truncated.dcm": f"7FE00010: {INSIDE} an element",
    "open/pydicom/pydicom/test_files/rtplan_truncated.dcm": f"300A00B0: {INSIDE} an element",
}
"""Files that end inside an element → what is said of it."""
REFERENCED, FAILED, OTHER_FAILURES = "00081199", "00081198", "0008119A"
FAILURE_REASON, WARNING_REASON = "00081197", "00081196"
BREAKS_THE_STANDARD = 0xB007


@dataclass(frozen=True)
class Refusal:
    """What the table says of a file that cannot be addressed."""

    status: int
    reason: str
    why: str


@dataclass
class Visit:
    """What became of one file: the answer to Store, and what was read before the next file was sent."""

    status: int
    receipt: dict[str, Any]
    syntax: str = ""
    found: int = 0
    named: bytes = b""
    starred: bytes = b""
    reads: dict[str, int] = field(default_factory=dict)


def refusals() -> dict[str, Refusal]:
    with REFUSALS.open(newline="", encoding="utf8") as file:
        return {row["path"]: Refusal(int(row["status"]), row["reason"], row["why"]) for row in csv.DictReader(file)}


def addressable(facts: dict[str, str]) -> bool:
    """Whether pydicom found the three UIDs, of digits and dots, in the data set."""
    uids = (facts.get(level, "").strip(" \0") for level in ("study_uid", "series_uid", "sop_uid"))
    return all(UID.fullmatch(uid) and len(uid) <= 64 for uid in uids)


def store(root: str, path: Path) -> tuple[int, dict[str, Any]]:
    """The one curl command."""
    command = ["curl", "-sS", "-X", "POST", "-T", str(path), "-w", "%{http_code}", f"{root}/studies"]
    command[4:4] = ["-H", "Accept: application/dicom+json", "-H", "Content-Type: application/dicom"]
    output = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout
    body, status = output[:-3], int(output[-3:])
    return status, json.loads(body) if body else {}


def path_of(facts: dict[str, str]) -> str:
    """The resource of the instance."""
    study, series, instance = (facts[level].strip(" \0") for level in ("study_uid", "series_uid", "sop_uid"))
    return f"/studies/{study}/series/{series}/instances/{instance}"


def visit(client: httpx.Client, file: CorpusFile) -> Visit:
    """Stores one file and reads it back in every way that must work before a twin of it is sent.

    An earlier twin is deleted first: the same data set under another file meta is no new version."""
    if file.facts["shares_sop_uid"] and addressable(file.facts):
        client.delete(path_of(file.facts))
    status, receipt = store(str(client.base_url).rstrip("/"), file.path)
    seen = Visit(status, receipt)
    if status not in (STORED, STORED_WITH_WARNINGS):
        return seen
    path = path_of(file.facts)
    collection, _, instance = path.rpartition("/")
    query = {"SOPInstanceUID": instance, "includefield": "AvailableTransferSyntaxUID"}
    found = client.get(collection, params=query)
    results = found.json() if found.content else []
    seen.found = len(results)
    if results:
        seen.syntax = results[0]["00083002"]["Value"][0]
        read(client, path, seen)
    return seen


def read(client: httpx.Client, path: str, seen: Visit) -> None:
    """Every way to read one instance."""
    requests = {
        "named": (path, f"application/dicom; transfer-syntax={seen.syntax}"),
        "starred": (path, "application/dicom; transfer-syntax=*"),
        "plain": (path, "*/*"),
        "json": (f"{path}/metadata", "application/dicom+json"),
        "xml": (f"{path}/metadata", "multipart/related; type=application/dicom+xml"),
        "frame": (f"{path}/frames/1", "*/*"),
    }
    answers = {name: client.get(address, headers={"Accept": accept}) for name, (address, accept) in requests.items()}
    seen.named, seen.starred = answers["named"].content, answers["starred"].content
    seen.reads = {name: answer.status_code for name, answer in answers.items()}


@pytest.fixture(scope="module")
def visits(corpus: list[CorpusFile], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Visit]:
    """File → what became of it, in an archive of their own."""
    archive = start_archive(tmp_path_factory.mktemp("corpus") / "data")
    with httpx.Client(base_url=archive.root, timeout=60) as client:
        seen = {file.name: visit(client, file) for file in corpus}
    archive.stop()
    assert "Traceback" not in archive.log
    return seen


@pytest.fixture(scope="module")
def kept(corpus: list[CorpusFile], visits: dict[str, Visit]) -> list[tuple[CorpusFile, Visit]]:
    """The files that must be stored, with their visits."""
    table = refusals()
    return [(file, visits[file.name]) for file in corpus if file.name not in table]


def test_the_table_names_the_files_without_uids() -> None:
    with CATALOGUE.open(newline="", encoding="utf8") as file:
        unaddressable = {row["path"] for row in csv.DictReader(file) if not addressable(row)}
    assert set(refusals()) == unaddressable
    assert all(refusal.why for refusal in refusals().values())


def test_the_corpus_is_a_corpus(corpus: list[CorpusFile]) -> None:
    """Sources that need a client which is not installed may be missing; these two never are."""
    sources = [file.name.split("/")[1] for file in corpus]
    assert sources.count("pydicom") + sources.count("pydicom-data") == 258
    assert [file.name for file in corpus if not file.facts] == []


def test_every_file_with_uids_is_stored(kept: list[tuple[CorpusFile, Visit]]) -> None:
    wrong = {file.name: (seen.status, seen.receipt) for file, seen in kept if seen.status not in (200, 202)}
    assert wrong == {}


def test_every_stored_file_is_found(kept: list[tuple[CorpusFile, Visit]]) -> None:
    assert {file.name: seen.found for file, seen in kept if seen.found != 1} == {}


def test_G02_bytes_out_are_bytes_in_when_the_transfer_syntax_is_named(kept: list[tuple[CorpusFile, Visit]]) -> None:
    assert [file.name for file, seen in kept if seen.named != file.path.read_bytes()] == []


def test_G02_bytes_out_are_bytes_in_for_any_transfer_syntax(kept: list[tuple[CorpusFile, Visit]]) -> None:
    """But implicit VR and big endian leave only when they are named (PS3.18 8.7.3), unless they cannot be converted."""
    others = [
        (file, seen) for file, seen in kept if seen.syntax not in (IMPLICIT_LE, EXPLICIT_BE) or file.name in BROKEN_OFF
    ]
    assert [file.name for file, seen in others if seen.starred != file.path.read_bytes()] == []
    assert len(others) > len(kept) / 2


def test_every_stored_file_can_be_read_in_every_way(kept: list[tuple[CorpusFile, Visit]]) -> None:
    """But a frame only of what has frames."""
    ways = ("named", "starred", "plain", "json", "xml")
    assert [file.name for file, seen in kept if any(seen.reads.get(way) != 200 for way in ways)] == []
    assert {seen.reads["frame"] for _, seen in kept} == {200, 404}


def test_the_data_set_wins_over_the_file_meta(kept: list[tuple[CorpusFile, Visit]]) -> None:
    differ = [(file, seen) for file, seen in kept if "meta SOP Instance UID differs" in file.facts["unusual"]]
    assert differ
    for file, seen in differ:
        (item,) = seen.receipt[REFERENCED]["Value"]
        assert item["00081155"]["Value"] == [file.facts["sop_uid"]], file.name
        assert item[WARNING_REASON]["Value"] == [BREAKS_THE_STANDARD], file.name


def test_a_file_that_ends_inside_an_element_is_stored_with_a_warning(visits: dict[str, Visit]) -> None:
    for name, comment in BROKEN_OFF.items():
        (item,) = visits[name].receipt[REFERENCED]["Value"]
        assert item[WARNING_REASON]["Value"] == [BREAKS_THE_STANDARD], name
        assert item["00741048"]["Value"][0]["00000902"]["Value"] == [comment], name


def test_every_other_file_is_refused_as_the_table_says(visits: dict[str, Visit]) -> None:
    wrong = {}
    for name, refusal in refusals().items():
        if name in visits:
            seen = visits[name]
            items = [item for key in (FAILED, OTHER_FAILURES) for item in seen.receipt.get(key, {}).get("Value", [])]
            reasons = [f"{item[FAILURE_REASON]['Value'][0]:04X}" for item in items]
            if (seen.status, reasons) != (refusal.status, [refusal.reason]):
                wrong[name] = (seen.status, reasons)
    assert wrong == {}


def test_nothing_answers_a_server_error(visits: dict[str, Visit]) -> None:
    statuses = {name: {"store": seen.status, **seen.reads} for name, seen in visits.items()}
    wrong = {name: row for name, row in statuses.items() if any(status >= 500 for status in row.values())}
    assert wrong == {}
