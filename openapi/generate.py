"""Writes what is generated from the code: openapi.json, conformance.md and the settings table of the README.

    python openapi/generate.py

Tests compare the files with `documents()`, so that none can drift from the code."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from app.main import create_app  # noqa: E402 - found through the line above
from app.settings import Settings  # noqa: E402
from dimse_bridge.settings import Settings as BridgeSettings  # noqa: E402
from openapi.conformance import conformance  # noqa: E402
from openapi.markdown import table  # noqa: E402

README = ROOT / "README.md"
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"


def openapi() -> dict[str, Any]:
    """The OpenAPI document of the archive with default settings."""
    with tempfile.TemporaryDirectory() as folder:
        return create_app(Settings.model_construct(data=Path(folder)), "postgresql://localhost/fileroom").openapi()


def settings_table() -> str:
    """Every setting with its default and what it means, from the settings of archive and bridge."""
    rows = []
    for name, field in sorted((BridgeSettings.model_fields | Settings.model_fields).items()):
        default = field.default
        shown = f"{default:g}" if isinstance(default, float) else "" if default in ("", ()) else str(default)
        shown = shown.lower() if isinstance(default, bool) else shown
        rows.append((f"`FILEROOM_{name.upper()}`", f"`{shown}`" if shown else "", field.description or ""))
    return table(("Environment variable", "Default", "Meaning"), rows)


def readme() -> str:
    """The README with its settings table made again."""
    made = f"{BEGIN}\n{settings_table()}\n{END}"
    return re.sub(f"(?s){BEGIN}.*{END}", lambda _: made, README.read_text(encoding="utf8"))


def documents() -> dict[Path, str]:
    """What each generated file should hold."""
    document = openapi()
    return {
        ROOT / "openapi" / "openapi.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        ROOT / "openapi" / "conformance.md": conformance(document),
        README: readme(),
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf8")
