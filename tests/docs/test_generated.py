"""Generated documents hold what the code says today; `make openapi` writes them again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from app.dicom.attributes import TABLE
from app.dicom.peer import PRESETS, Behaviour
from app.dicom.status import STATUSES
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from app.settings import Settings
from dimse_bridge.association.abstract_syntaxes import RIGHTS
from dimse_bridge.settings import Settings as BridgeSettings
from openapi.generate import ROOT, documents, openapi

GENERATED = ("openapi/openapi.json", "openapi/conformance.md", "README.md")


@pytest.fixture(scope="module")
def made() -> dict[Path, str]:
    return documents()


@pytest.mark.parametrize("name", GENERATED)
def test_nothing_drifted_from_the_code(made: dict[Path, str], name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf8") == made[ROOT / name], "run `make openapi`"


def test_the_conformance_statement_names_every_row_of_the_tables(made: dict[Path, str]) -> None:
    text = made[ROOT / "openapi/conformance.md"]
    for row in TABLE:
        assert f"({row.tag >> 16:04X},{row.tag & 0xFFFF:04X})" in text
    for outcome in STATUSES:
        assert f"| {outcome.value} |" in text
    for uid in TRANSFER_SYNTAXES:
        assert f"| {uid} |" in text


def test_the_conformance_statement_names_what_can_be_set_of_a_peer(made: dict[Path, str]) -> None:
    text = made[ROOT / "openapi/conformance.md"]
    for name in PRESETS:
        assert f"| `{name}` |" in text
    for field in fields(Behaviour):
        assert field.name == "preset" or f"| `{field.name}` |" in text
    for uid in RIGHTS:
        assert f"| {uid} |" in text


def test_every_setting_is_documented(made: dict[Path, str]) -> None:
    for name, field in (BridgeSettings.model_fields | Settings.model_fields).items():
        assert field.description, name
        assert f"`FILEROOM_{name.upper()}`" in made[ROOT / "README.md"]


def test_what_is_ours_is_marked_so() -> None:
    """PS3.18 has neither deletes of studies nor a resource of patients, of worklist items the search only,
    and none of performed procedure steps."""
    wrong = []
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            ours = method == "delete" or "/patients" in path or "/deletions" in path
            ours |= "/modality-scheduled-procedure-steps" in path and (method != "get" or path.endswith("}"))
            ours |= path.endswith("/modality-performed-procedure-steps")
            ours |= method == "get" and path.endswith("/modality-performed-procedure-steps")
            if path.startswith("/dicom-web") and bool(operation.get("x-fileroom-extension")) != ours:
                wrong.append(f"{method} {path}")
    assert wrong == []


def test_every_operation_says_what_it_does() -> None:
    operations = {
        f"{method} {path}": operation
        for path, methods in openapi()["paths"].items()
        for method, operation in methods.items()
    }
    assert [name for name, operation in operations.items() if not operation.get("description")] == []
