"""Every feature of DICOMweb that must be there, and needs no codec, is named with tests that exist."""

from __future__ import annotations

import ast

from tests.requirements.instances import rows
from tests.style.measure import ROOT


def test_every_must_has_tests() -> None:
    missing = []
    for row in rows("musts.csv"):
        for name in row["tests"].split() or ["none"]:
            path, _, function = name.partition("::")
            file = ROOT / path
            tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
            if function not in {getattr(node, "name", "") for node in tree.body}:
                missing.append(f"{row['feature']}: {name}")
    assert missing == []
