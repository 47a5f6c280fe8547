"""Worklist files, and the commands that show the worklist."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from app import cli
from app.catalog.engine import Catalog
from app.catalog.peers import put as put_peer
from tests.support.bridge import dcmtk
from tests.testdata.fixtures import CorpusFile

WLMSCPFS = "open/dcmtk-wlist/wlistdb/OFFIS/"


@pytest.fixture
def folder(corpus: list[CorpusFile], tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DCMTK's worklist files in folders, and settings for an archive of this test."""
    monkeypatch.delenv("FILEROOM_CORPUS", raising=False)
    monkeypatch.setenv("FILEROOM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FILEROOM_DATABASE_URL", database_url)
    found = [file.path for file in corpus if file.name.startswith(WLMSCPFS)]
    assert len(found) == 10
    for number, path in enumerate(found):
        target = tmp_path / "wl" / f"folder{number % 2}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path / "wl"


def fileroom(*words: object) -> int:
    return cli.main(["worklist", *map(str, words)])


def test_a_folder_is_imported_again_and_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fileroom("import", folder) == 0
    assert "10 added, 0 replaced, 0 left out" in capsys.readouterr().out
    (folder / "lockfile").touch()
    assert fileroom("import", folder) == 0
    assert "0 added, 10 replaced, 0 left out" in capsys.readouterr().out
    assert fileroom("list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 10
    assert listed == sorted(listed)
    assert "AA32\\AA33" in listed[2]
    assert "VIVALDI^ANTONIO" in listed[2]


def test_what_is_no_item_is_named_and_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.wl").touch()
    (folder / "noise.wl").write_bytes(bytes(range(256)) * 9)
    (folder / "long.wl").write_bytes(bytes(2 << 20))
    nobody = Dataset()
    nobody.AccessionNumber, nobody.PatientName, nobody.PatientComments = "1", "Nobody", "nothing to do" * 20
    nobody.save_as(folder / "nobody.wl", implicit_vr=True, little_endian=True)
    assert fileroom("import", folder) == 1
    said = capsys.readouterr()
    assert "10 added, 0 replaced, 4 left out" in said.out
    assert "nobody.wl: ScheduledProcedureStepSequence needs exactly one item" in said.err
    assert len(said.err.splitlines()) == 4
    assert fileroom("import", folder / "nowhere") == 2


def test_a_single_file_is_imported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fileroom("import", folder / "folder0" / "wklist1.wl") == 0
    assert "1 added" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["+ti", "+te", "+tb"])
@pytest.mark.parametrize("lengths", ["-g", "+g"])
def test_an_item_may_begin_with_group_0010(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str, lengths: str
) -> None:
    """As DCMTK's dump2dcm writes them from a text without the group 0008."""
    dumped = subprocess.run(
        [dcmtk("dcmdump"), "+L", "-q", str(folder / "folder0" / "wklist1.wl")], capture_output=True, check=True
    ).stdout.splitlines(keepends=True)
    begin = next(at for at, line in enumerate(dumped) if line.startswith(b"(0010,"))
    text, item = tmp_path / "item.dump", tmp_path / "item.wl"
    text.write_bytes(b"".join(dumped[begin:]))
    subprocess.run([dcmtk("dump2dcm"), "-F", encoding, lengths, str(text), str(item)], check=True)
    assert item.read_bytes()[:2] in (b"\x10\0", b"\0\x10")
    assert fileroom("import", item) == 0
    assert "1 added" in capsys.readouterr().out


async def test_a_preview_is_what_the_modality_sees(
    folder: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    await put_peer(catalog, "AA32", '{"behaviour": {"worklist_stations": "own"}}')
    await put_peer(catalog, "SHY", '{"may": ["store"]}')

    def type_all() -> None:
        assert fileroom("import", folder) == 0
        capsys.readouterr()
        assert fileroom("preview", "--as", "AA32") == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
        assert fileroom("preview", "--as", "AA32", "--key", "00400100.00080060=US", "--json") == 0
        (only,) = capsys.readouterr().out.splitlines()
        assert '"HAYDN^FRANZ^JOSEPH"' in only
        assert fileroom("preview", "--as", "STRANGER", "--key", "PatientName=moz*") == 0
        said = capsys.readouterr()
        assert (len(said.out.splitlines()), "STRANGER is not registered" in said.err) == (2, True)
        assert fileroom("preview", "--as", "SHY") == 1
        assert fileroom("preview", "--as", "AA32", "--key", "PatientName") == 1

    await asyncio.to_thread(type_all)
