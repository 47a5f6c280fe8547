"""Rules of the house that no common linter knows, each with the places that are excepted and why."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator

from app.dicom.status import STATUSES
from tests.style.measure import ROOT, Module, modules

GUARANTEES = "01 02 03 04 05 06 07 08 09 10 11 12 13 15 16 18 19 20 21 26 27 28 30 31 32 33 34 35".split()

BROAD_EXCEPT = {
    "app/dicom/part10.py": "any bytes give a header or `Refused`: the library may raise what it likes",
    "app/telemetry/observe.py": "the ASGI boundary: a bug becomes a 500 without its text",
    "app/serving/processes.py": "a forked process ends here, whatever happened, and says so in the log",
    "app/jobs/runner.py": "a job that fails must not end the runner",
    "app/jobs/prefetch.py": "a prefetch that cannot be done must end no other",
    "app/jobs/transfers.py": "a transfer that cannot be done must end no other",
    "app/jobs/webhooks.py": "a webhook that cannot be delivered must end no other",
    "dimse_bridge/transfers.py": "a transfer that cannot be done must end no other",
    "app/pixels/cage_child.py": "a codec may raise what it likes; the child says so and takes the next job",
    "dimse_bridge/parent.py": "a forked process ends here, whatever happened, and says so in the log",
    "dimse_bridge/association/acceptor.py": "a service that fails ends its own association only, and the log says so",
    "app/blobs/threads.py": "what a thread's job raises is handed to the coroutine that waits for it",
}
LONG_DOCSTRINGS = {
    "app/errors.py": "it shows the tree",
    "tests/bench/bench.py": "it is the help of the command",
    "tests/bench/gen_corpus.py": "it is the help of the command",
}
SQL_ROOMS = ("app/catalog/", "migrations/")
COMPOSED_SQL = {
    "app/catalog/search.py": "a search is composed of constant fragments; every value is a bound parameter",
}
STATUS_HOMES = ("app/dicom/status.py", "app/errors.py")
VAGUE_NAMES = re.compile(r"(utils?|helpers?|manager|common|misc|base_service)\.py$")

_SQL = re.compile(r"(?s)\s*(SELECT\s.*\sFROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|WITH\s+\w+\s+AS)\b")
_HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))]
_HOSTS += [".".join(parts) for parts in (("deb", "debian", "org"), ("docker", "io"), ("ghcr", "io"), ("crates", "io"))]
_MACHINE = re.compile(r"(\.\./shared|(?<![\w.])/(work|root|home)/|\b" + r"\b|\b".join(map(re.escape, _HOSTS)) + r"\b)")


def _where(module: Module, node: ast.AST) -> str:
    return f"{module.path}:{getattr(node, 'lineno', 0)}"


def test_every_module_says_in_one_to_six_lines_what_it_is() -> None:
    wrong = []
    for module in modules() + modules("tests"):
        lines = module.docstring.splitlines()
        if not module.path.endswith("__init__.py") and module.path not in LONG_DOCSTRINGS and not 1 <= len(lines) <= 6:
            wrong.append(f"{module.path}: {len(lines)}")
    assert wrong == []


def test_broad_excepts_stand_only_at_named_boundaries() -> None:
    found = []
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and module.path not in BROAD_EXCEPT:
                names = (
                    {child.id for child in ast.walk(node.type) if isinstance(child, ast.Name)} if node.type else {""}
                )
                if names & {"", "Exception", "BaseException"} and not _raises_again(node):
                    found.append(_where(module, node))
    assert found == []


def _raises_again(handler: ast.ExceptHandler) -> bool:
    """Whether the handler ends by raising: then nothing is swallowed."""
    return isinstance(handler.body[-1], ast.Raise)


def test_sql_stands_in_catalog_and_migrations_only() -> None:
    found = [
        f"{module.path}: {text}"
        for module in modules()
        if not module.path.startswith(SQL_ROOMS)
        for text in _texts(module.tree)
        if _SQL.match(text)
    ]
    assert found == []


def test_no_sql_is_built_by_formatting() -> None:
    found = [
        _where(module, node)
        for module in modules()
        if module.path not in COMPOSED_SQL
        for node in ast.walk(module.tree)
        if _is_formatted_sql(node)
    ]
    assert found == []


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _is_formatted_sql(node: ast.AST) -> bool:
    """An f-string, `%`, `+` or `.format()` whose text is a statement."""
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        return len(node.values) > 1 and bool(_SQL.match(text))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        return any(_SQL.match(text) for text in _texts(node.left))
    is_format = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"
    return is_format and any(_SQL.match(text) for text in _texts(node))


def test_status_literals_stand_in_the_status_table_only() -> None:
    http = {status.http for status in STATUSES.values() if status.http >= 400}
    reasons = {status.reason for status in STATUSES.values() if status.reason}
    found = [
        f"{_where(module, node)} {number}"
        for module in modules("app")
        if module.path not in STATUS_HOMES
        for node, number in _status_positions(module.tree)
        if number in http or (number in reasons and number > 0xFF)
    ]
    assert found == []


def _status_positions(tree: ast.AST) -> Iterator[tuple[ast.expr, int]]:
    """Integers that are compared, or handed to a call: where a status would stand."""
    for node in ast.walk(tree):
        operands: list[ast.expr] = []
        if isinstance(node, ast.Call):
            operands = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
        for operand in operands:
            if isinstance(operand, ast.Constant) and isinstance(operand.value, int):
                yield operand, operand.value


def test_every_guarantee_has_a_test_of_its_name() -> None:
    names = [function.name for module in modules("tests") for function in module.functions()]
    missing = [number for number in GUARANTEES if not any(f":test_G{number}_" in name for name in names)]
    assert missing == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [module.path for module in modules() + modules("tests") if VAGUE_NAMES.search(module.path)] == []


def _tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for name in _tracked():
        try:
            text = (ROOT / name).read_text(encoding="utf8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {match.group()}" for match in _MACHINE.finditer(text)]
    assert found == []


def test_no_file_is_larger_than_one_mebibyte() -> None:
    assert [name for name in _tracked() if (ROOT / name).stat().st_size > 1 << 20] == []


def test_versions_are_pinned_by_name_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)] == []
    names = {line.split("==")[0] for line in pins}
    missing = {requirement for group in _requirements().values() for requirement in group} - names
    assert missing == set()


def _requirements() -> dict[str, set[str]]:
    """Extra ("" for what is always needed) → names that pyproject asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: {re.split(r"[\[>=<; ]", line)[0].lower().replace("_", "-") for line in lines}
        for extra, lines in groups.items()
    }


def test_whatever_the_product_imports_is_a_dependency() -> None:
    imported = set()
    for module in modules("app", "migrations"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    ours = {"app", "migrations", "dimse_bridge"}
    packages = {name.replace("_", "-") for name in imported - set(sys.stdlib_module_names) - ours}
    distributions = {"multipart": "python-multipart", "PIL": "pillow", "jpeg-ls": "pyjpegls"}
    needed = {distributions.get(name, name) for name in packages}
    requirements = _requirements()
    assert needed - requirements[""] - requirements["embedded"] == set()
