"""The addresses below `/viewer/`: the page for what names no file, files from the manifest, the configuration. With a
package of a few files, made as the real one is; the real one stands in tests/viewer."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import zstandard

from app.errors import CannotStart
from app.main import create_app
from app.settings import Settings
from app.ui.viewer_package import find_package
from viewer.build import PACKAGE, write

PAGE = b"<html><script>one()</script><script>two()</script><body>The page</body></html>"
SCRIPT = b"console.log(1);" * 500
BASE = "/viewer/1.0-abc/"
FILES = {"index.html": PAGE, "app.bundle.0123456789abcdef.js": SCRIPT, "assets/icon.png": b"\x89PNG"}
SCRIPT_PATH = f"{BASE}app.bundle.0123456789abcdef.js"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    write(tmp_path / "viewer", FILES, BASE, "1.0")
    return tmp_path / "viewer"


@asynccontextmanager
async def client_of(tmp_path: Path, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(data=tmp_path, **settings), "postgresql://nobody@127.0.0.1:1/none")  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://archive") as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/viewer", "/viewer/", "/viewer/viewer?StudyInstanceUIDs=1.2.840.3,4.5", "/viewer/x/1.2"]
)
async def test_the_page_answers_every_address_that_names_no_file(tmp_path: Path, package: Path, path: str) -> None:
    async with client_of(tmp_path, viewer=str(package)) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_G34_the_page_runs_its_own_scripts_only_and_loads_nothing_from_elsewhere(
    tmp_path: Path, package: Path
) -> None:
    async with client_of(tmp_path, viewer=str(package)) as client:
        headers = (await client.get("/viewer/")).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["script-src"].count("'sha256-") == 2
    assert {"'unsafe-inline'", "'unsafe-eval'"} & set(policy["script-src"].split()) == set()
    assert not any("http" in sources or "*" in sources for sources in policy.values())
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Referrer-Policy"] == "no-referrer"


async def test_files_are_compressed_beforehand_and_kept_for_ever(tmp_path: Path, package: Path) -> None:
    async with client_of(tmp_path, viewer=str(package)) as client:
        for accepted, coding in (
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, zstd;q=0", "gzip"),
            ("gzip;q=0.5", "gzip"),
            ("br", None),
            ("", None),
        ):
            request = client.build_request("GET", SCRIPT_PATH, headers={"Accept-Encoding": accepted})
            answer = await client.send(request, stream=True)
            raw = b"".join([piece async for piece in answer.aiter_raw()])
            assert (answer.status_code, answer.headers.get("Content-Encoding")) == (200, coding), accepted
            plain = zstandard.decompress(raw) if coding == "zstd" else gzip.decompress(raw) if coding else raw
            assert plain == SCRIPT
            assert "immutable" in answer.headers["Cache-Control"]
            assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Content-Security-Policy" not in answer.headers, "a worker would take it for its own"
            again = await client.get(
                SCRIPT_PATH, headers={"Accept-Encoding": accepted, "If-None-Match": answer.headers["ETag"]}
            )
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        f"{BASE}nothing.js",
        "/viewer/app.bundle.0123456789abcdef.js",
        "/viewer/missing.wasm",
        f"{BASE}..%2f..%2fmanifest.json",
        f"{BASE}%2fetc%2fpasswd.txt",
        f"{BASE}../manifest.json",
    ],
)
async def test_what_the_manifest_does_not_name_is_not_there(tmp_path: Path, package: Path, path: str) -> None:
    async with client_of(tmp_path, viewer=str(package)) as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("public_root", "path"), [("", "/dicom-web"), ("https://pacs.example/archive/dicom-web/", "/archive/dicom-web")]
)
async def test_G34_the_one_data_source_is_our_own_origin(
    tmp_path: Path, package: Path, public_root: str, path: str
) -> None:
    async with client_of(tmp_path, viewer=str(package), public_root=public_root) as client:
        answer = await client.get("/viewer/app-config.js")
        again = await client.get("/viewer/app-config.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert answer.headers["Content-Type"].startswith("text/javascript")
    configuration = json.loads(answer.text.removeprefix("window.config = ").removesuffix(";\n"))
    (source,) = configuration["dataSources"]
    assert source["namespace"].endswith(".dicomweb")
    assert {source["configuration"][root] for root in ("qidoRoot", "wadoRoot", "wadoUriRoot")} == {path}
    assert "http" not in answer.text


async def test_without_the_package_the_archive_says_how_to_add_it(tmp_path: Path) -> None:
    async with client_of(tmp_path, viewer="none") as client:
        answer = await client.get("/viewer/")
        assert (await client.get("/healthz")).status_code == 200
    assert (answer.status_code, "make viewer" in answer.json()["detail"]) == (404, True)


async def test_pages_are_public_and_read_only(tmp_path: Path, package: Path) -> None:
    async with client_of(tmp_path, viewer=str(package), auth="token") as client:
        assert (await client.get("/viewer/")).status_code == 200
        assert (await client.get("/viewer/app-config.js")).status_code == 200
        assert (await client.head(SCRIPT_PATH)).status_code == 200
        assert (await client.post("/viewer/")).status_code == 401


def test_a_folder_that_is_no_package_keeps_the_archive_from_starting(tmp_path: Path, package: Path) -> None:
    with pytest.raises(CannotStart, match="no viewer"):
        find_package(str(tmp_path / "nothing"))
    manifest = package / PACKAGE / "manifest.json"
    good = manifest.read_text()
    forged = json.loads(good)
    forged["files"]["index.html"]["encodings"]["gzip"]["file"] = "../manifest.json"
    for text in (json.dumps(forged), good.replace('"length": ', '"length": 1'), "[]", "{}", "no"):
        manifest.write_text(text)
        with pytest.raises(CannotStart, match="no viewer"):
            find_package(str(package))
    manifest.write_text(good)
    assert find_package(str(package)) is not None
