"""The embedded PostgreSQL where it is hard: stale files, strangers, long paths, odd users, other majors."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from app.catalog import unprivileged
from app.catalog.embedded import Embedded, binaries, database, restore
from app.catalog.migrate import prepare
from app.errors import CannotStart
from tests.support.database import execute, with_database

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Embedded]:
    """A server that is stopped before the folder of the test goes."""
    running = Embedded()
    yield running
    running.stop()


def answer(url: str) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(url)
        value: int = await connection.fetchval("SELECT 6 * 7")
        await connection.close()
        return value

    return asyncio.run(ask())


def test_cluster_is_durable_and_independent_of_the_system_locale(server: Embedded, tmp_path: Path) -> None:
    async def settings(url: str) -> dict[str, str]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(
            "SELECT name, setting FROM pg_settings UNION ALL"
            " SELECT 'provider', datlocprovider::text FROM pg_database WHERE datname = current_database() UNION ALL"
            " SELECT 'locale', datlocale FROM pg_database WHERE datname = current_database()"
        )
        await connection.close()
        return {row[0]: row[1] for row in rows}

    found = asyncio.run(settings(server.start(tmp_path / "data")))
    assert (found["fsync"], found["full_page_writes"], found["synchronous_commit"]) == ("on", "on", "on")
    assert (found["provider"], found["locale"]) == ("b", "C.UTF-8")
    assert found["listen_addresses"] == ""
    assert found["log_min_error_statement"] == "panic", "statements can hold patient data"


def test_two_users_share_one_server_and_the_last_stops_it(tmp_path: Path) -> None:
    first, second = Embedded(), Embedded()
    first.start(tmp_path / "data")
    url = second.start(tmp_path / "data")
    assert (first.pid, first.attached, second.attached) == (second.pid, False, True)
    first.stop()
    assert answer(url) == 42
    second.stop()
    assert not second.alive()


def test_stale_pid_file_that_names_a_living_stranger(server: Embedded, tmp_path: Path) -> None:
    server.start(tmp_path / "data")
    pid_file = tmp_path / "data" / "postgres" / "postmaster.pid"
    text = pid_file.read_text()
    os.kill(server.pid, signal.SIGKILL)
    while server.alive():
        time.sleep(0.01)
    pid_file.write_text(text.replace(str(server.pid), str(os.getpid()), 1))
    assert answer(server.start(tmp_path / "data")) == 42
    assert psutil.pid_exists(os.getpid())


def test_interrupted_making_of_the_cluster_is_made_again(server: Embedded, tmp_path: Path) -> None:
    half = tmp_path / "data" / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert answer(server.start(tmp_path / "data")) == 42
    assert not half.exists()


@pytest.mark.parametrize("name", ["a" * 150, "with blanks, 'quotes' and commas", "Bücher 東京"])
def test_awkward_folder_names(server: Embedded, tmp_path: Path, name: str) -> None:
    assert answer(server.start(tmp_path / name)) == 42


def test_other_major_is_refused_with_the_commands_to_type(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "postgres"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("17\n")
    with pytest.raises(CannotStart, match=r"made by PostgreSQL 17.*(?s:.*)fileroom migrate --restore"):
        Embedded().start(tmp_path / "data")


def test_dump_is_carried_over(tmp_path: Path) -> None:
    dump = tmp_path / "catalog.dump"
    with database("", tmp_path / "old") as url:
        asyncio.run(prepare(url))
        execute(url, "INSERT INTO orphan (key) VALUES ('kept')")
        subprocess.run([binaries() / "pg_dump", "-Fc", "-f", dump, "-d", url], check=True)
    with database("", tmp_path / "new") as url:
        restore(url, dump)
        asyncio.run(prepare(url))
        execute(url, "DO $$ BEGIN ASSERT (SELECT key FROM orphan) = 'kept'; END $$")
        with pytest.raises(CannotStart, match="pg_restore says"):
            restore(url, dump)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with database("", tmp_path / "data"):
        pass
    with (tmp_path / "data" / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = plenty\n")
    with pytest.raises(CannotStart, match="plenty"):
        Embedded().start(tmp_path / "data")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach."""
    folder = Path(tempfile.mkdtemp(prefix="fileroom-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def in_child(act: Callable[[], None]) -> None:
    """Runs `act` in a forked process, which may become somebody else for good."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def use_once(data: Path) -> None:
    unprivileged.launcher.cache_clear()
    with database("", data) as url:
        assert answer(url) == 42


@AS_ROOT
def test_ordinary_user(open_folder: Path) -> None:
    def act() -> None:
        os.setgid(65534)
        os.setuid(65534)
        use_once(open_folder / "data")

    in_child(act)
    assert (open_folder / "data" / "postgres").stat().st_uid == 65534


@AS_ROOT
def test_user_without_a_name_as_in_containers(open_folder: Path) -> None:
    def act() -> None:
        os.setgid(54321)
        os.setuid(54321)
        use_once(open_folder / "data")

    in_child(act)
    assert (open_folder / "data" / "postgres").stat().st_uid == 54321


@AS_ROOT
def test_root_without_user_namespaces_becomes_another_user(open_folder: Path) -> None:
    """And back: the same cluster is used when they are there again."""
    programs = open_folder / "bin"
    programs.mkdir()
    (programs / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (programs / "unshare").chmod(0o755)

    def act() -> None:
        os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
        use_once(open_folder / "data")

    in_child(act)
    assert (open_folder / "data" / "postgres").stat().st_uid == 65534
    in_child(lambda: use_once(open_folder / "data"))
    assert (open_folder / "data" / "postgres").stat().st_uid == 0


def test_database_of_another_name_is_addressed() -> None:
    assert with_database("postgresql://postgres@/fileroom?host=/a/b", "x") == "postgresql://postgres@/x?host=/a/b"
    assert with_database("postgresql://u:p@host:5432/old", "x") == "postgresql://u:p@host:5432/x"
