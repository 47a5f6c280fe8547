"""Every feature of DICOMweb that must be there, and needs no codec, and every feature of the listed products, is named
with tests that exist; those that wait are named too."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache

from tests.requirements.instances import rows
from tests.style.measure import ROOT

FEATURES = {"xpacs": 11, "dxserver": 34, "onepacs": 16}
"""How many each product has: X1 to X11, D1 to D34, O1 to O16."""
WAITING = {
    "user interface": ["D33", "O16"],
}
"""Service that is not there yet → the features of which it is, or is a part."""


@cache
def functions(path: str) -> frozenset[str]:
    """What a module of tests defines."""
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
    return frozenset(getattr(node, "name", "") for node in tree.body)


def absent(tests: str) -> list[str]:
    """Those of the named tests that do not exist; one when none is named."""
    named = [(name, *name.split("::", 1)) for name in tests.split()] or [("none", "", "")]
    return [name for name, path, *function in named if not set(function) <= functions(path) or not function]


def test_every_must_has_tests() -> None:
    assert [(row["feature"], name) for row in rows("musts.csv") for name in absent(row["tests"])] == []


def test_every_feature_of_the_products_has_tests() -> None:
    listed = rows("seeds_features.csv")
    done = [row for row in listed if row["status"] == "done"]
    assert [(row["id"], name) for row in done for name in absent(row["tests"])] == []
    assert len({(row["id"], row["feature"]) for row in listed}) == len(listed)
    assert Counter(seed for seed, _ in {(row["seed"], row["id"]) for row in listed}) == FEATURES


def test_what_waits_is_named() -> None:
    waiting = [row for row in rows("seeds_features.csv") if row["status"] != "done"]
    assert {row["status"] for row in waiting} == {f"pending: {service}" for service in WAITING}
    for service, ids in WAITING.items():
        assert [row["id"] for row in waiting if row["status"] == f"pending: {service}"] == ids
    assert [row["id"] for row in waiting if row["tests"]] == []
