"""What an installation holds, and what the container is, by reading their recipes."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatchcase

from tests.style.measure import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """(instruction, argument) of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE)
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def final_stage() -> list[tuple[str, str]]:
    stages = [index for index, (word, _) in enumerate(instructions()) if word == "FROM"]
    assert len(stages) == 2
    return instructions()[stages[-1] :]


def test_the_container_is_small_and_has_no_compiler() -> None:
    (image,) = (rest for word, rest in final_stage() if word == "FROM")
    assert re.fullmatch(r"python:3\.\d+-slim", image)
    assert not re.search(r"apt-get|apk |pip install|gcc|build-essential", str(final_stage()))


def test_the_container_runs_as_nobody_special_and_closed() -> None:
    user = [rest for word, rest in final_stage() if word == "USER"]
    assert user
    assert user[-1] not in ("root", "0")
    environment = " ".join(rest for word, rest in final_stage() if word == "ENV")
    assert "FILEROOM_AUTH=token" in environment
    assert ("VOLUME", "/data") in final_stage()


def test_the_container_copies_only_what_is_let_in() -> None:
    let_in = {line[1:].strip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            copied |= {name.strip("/") for name in rest.split()[:-1]}
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def test_every_file_that_is_no_module_is_installed_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]
    forgotten = []
    for package in ("app", "migrations"):
        for path in (ROOT / package).rglob("*"):
            name = str(path.relative_to(ROOT / package))
            is_data = path.is_file() and path.suffix not in (".py", ".pyc")
            if is_data and not any(fnmatchcase(name, pattern) for pattern in patterns[package]):
                forgotten.append(f"{package}/{name}")
    assert forgotten == []
