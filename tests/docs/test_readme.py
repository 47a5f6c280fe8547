"""The README: its cookbook is executed as it stands there, its picture of the tree and its length are checked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pydicom
import pytest

from tests.requirements.instances import ROOT, encode, make
from tests.style.measure import ROOT as PROJECT
from tests.support.archive import RunningArchive
from tests.support.bridge import start_both

README = (PROJECT / "README.md").read_text(encoding="utf8")
MOST_LINES = 150


def fenced(language: str) -> list[str]:
    blocks = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", README)
    return [text for kind, text in blocks if kind == language]


def lay_out(folder: Path, archive: RunningArchive) -> dict[str, str]:
    """What the cookbook takes for granted: files, command, address; curl's own configuration maps the port."""
    (folder / "films").mkdir()
    (folder / "scan.dcm").write_bytes(encode(make("5.1", 1, PatientName="Doe^Jane")))
    for number in range(3):
        (folder / "films" / f"{number}.dcm").write_bytes(encode(make("5.2", number, PatientName="Roe^Richard")))
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "fileroom").symlink_to(Path(sys.executable).with_name("fileroom"))
    (folder / ".curlrc").write_text(f'connect-to = "127.0.0.1:8080:127.0.0.1:{archive.port}"\nfail\n')
    return {**os.environ, "CURL_HOME": str(folder), "FILEROOM_DATA": str(archive.data)}


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole cookbook was executed, in one shell; its output is in `out`."""
    folder = tmp_path_factory.mktemp("cookbook")
    archive, dimse_port = start_both(tmp_path_factory.mktemp("archive") / "data")
    try:
        environment = lay_out(folder, archive)
        script = "\n".join(fenced("sh")).replace(" 11112", f" {dimse_port}")
        command = ["bash", "-euxo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    finally:
        archive.stop()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (folder / "out").write_text(done.stdout)
    return folder


def test_the_cookbook_gives_back_the_same_bytes(kitchen: Path) -> None:
    stored = [kitchen / "scan.dcm", *(kitchen / "films").iterdir()]
    assert (kitchen / "again.dcm").read_bytes() in [path.read_bytes() for path in stored]


def test_the_cookbook_gets_frames_and_archives(kitchen: Path) -> None:
    again = pydicom.dcmread(kitchen / "again.dcm")
    assert (kitchen / "frame.bin").read_bytes() == again.PixelData
    assert (kitchen / "image.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    with zipfile.ZipFile(kitchen / "study.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist()


def test_the_cookbook_finds_and_restores(kitchen: Path) -> None:
    output = (kitchen / "out").read_text()
    assert "Doe^Jane" in output
    last = output[output.rindex("}[") + 1 :]  # behind the answer of the undo
    assert {study["0020000D"]["Value"][0] for study in json.loads(last)} == {f"{ROOT}.5.1", f"{ROOT}.5.2"}


def test_the_picture_shows_the_rooms_that_exist() -> None:
    (picture,) = fenced("")
    shown = re.findall(r"^  (\w+)/", picture, re.M)
    assert shown == sorted(path.parent.name for path in (PROJECT / "app").glob("*/__init__.py"))


def test_it_is_short() -> None:
    """What people wrote of it; the table of settings is as long as there are settings."""
    written = re.sub(r"(?s)<!-- settings -->.*<!-- /settings -->", "", README)
    assert len(written.splitlines()) <= MOST_LINES


def test_its_links_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        targets = re.findall(r"\]\(([^)]+)\)", (PROJECT / name).read_text(encoding="utf8"))
        assert [t for t in targets if not t.startswith("https://") and not (PROJECT / t).exists()] == []
