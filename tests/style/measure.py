"""Reads the code of the product with `ast` and measures it: lines, functions, branches. Used by the tests beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("app", "dimse_bridge", "migrations", "openapi", "viewer")
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """One function or method: its lines of code without docstring, and 1 + its branches."""

    name: str
    lines: int
    branches: int
    typed: bool


@dataclass(frozen=True)
class Module:
    """One module. `lines` are neither blank nor only a comment."""

    path: str
    tree: ast.Module
    lines: int
    docstring: str

    @property
    def is_table(self) -> bool:
        """Whether it says in line 1 that it is a table, which may be long."""
        return self.docstring.startswith(("Table:", "THE table", "THE other table"))

    def functions(self) -> Iterator[Function]:
        """Its functions, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, FunctionNode):
                yield _measure(self, node)


def _code_lines(source: str) -> set[int]:
    numbered = enumerate(source.splitlines(), 1)
    return {number for number, line in numbered if line.strip() and not line.strip().startswith("#")}


def _measure(module: Module, node: FunctionNode) -> Function:
    code = {number for number in _lines_of(module.path) if node.lineno <= number <= (node.end_lineno or 0)}
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        code -= set(range(first.lineno, (first.end_lineno or 0) + 1))
    inner = [child for child in ast.walk(node) if child is not node]
    branches = sum(isinstance(child, _BRANCHES) for child in inner)  # as ruff's C901 counts
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return Function(f"{module.path}:{node.name}", len(code), 1 + branches, node.returns is not None and not bare)


@cache
def _lines_of(path: str) -> frozenset[int]:
    return frozenset(_code_lines((ROOT / path).read_text()))


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every module of the product, or of `folders`."""
    found = []
    for folder in folders or CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
                continue
            source = path.read_text()
            tree = ast.parse(source)
            name = str(path.relative_to(ROOT))
            found.append(Module(name, tree, len(_code_lines(source)), ast.get_docstring(tree) or ""))
    return tuple(found)


def percentile(values: list[int], share: float) -> int:
    """The value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
