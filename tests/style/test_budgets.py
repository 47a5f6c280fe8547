"""Size budgets: modules that fit on a few screens, functions that fit on one, few branches, every signature typed."""

from __future__ import annotations

from statistics import median

from tests.style.measure import Function, modules, percentile

MODULE_MEDIAN, MODULE_P90, MODULE_MAX = 120, 350, 500
FUNCTION_MEDIAN, FUNCTION_P90, FUNCTION_MAX = 8, 28, 60
BRANCHES_P90 = 6


def _functions() -> list[Function]:
    return [function for module in modules() for function in module.functions()]


def test_modules_are_small() -> None:
    sizes = {module.path: module.lines for module in modules() if not module.is_table and module.lines}
    assert {path: lines for path, lines in sizes.items() if lines > MODULE_MAX} == {}
    assert median(sizes.values()) <= MODULE_MEDIAN
    assert percentile(list(sizes.values()), 0.9) <= MODULE_P90


def test_functions_are_small() -> None:
    functions = _functions()
    assert {function.name: function.lines for function in functions if function.lines > FUNCTION_MAX} == {}
    assert median(function.lines for function in functions) <= FUNCTION_MEDIAN
    assert percentile([function.lines for function in functions], 0.9) <= FUNCTION_P90


def test_functions_branch_little() -> None:
    """The limit of 10 for one function is held by ruff (C901)."""
    assert percentile([function.branches for function in _functions()], 0.9) <= BRANCHES_P90


def test_every_signature_is_typed() -> None:
    assert [function.name for function in _functions() if not function.typed] == []
