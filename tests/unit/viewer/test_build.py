"""How the viewer's distribution is made: what is not what the rules were written for stops it."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from viewer.build import CannotBuild, check, encodings, inline_scripts, members, rewrite
from viewer.rewriting import RULES, Rule

BASE = "/viewer/1-2/"


def fitting() -> dict[str, bytes]:
    """Files in which every rule finds what it should, once a file."""
    files: dict[str, bytes] = {}
    names = {
        r"(app|8097)\.bundle\..*\.js": "app.bundle.{}.js",
        r".*\.js": "{}.js",
        r".*\.css": "{}.css",
        r"app\.bundle\..*\.js": "app.bundle.0.js",
    }
    for rule in RULES:
        name = names.get(rule.files, rule.files.replace("\\", "").replace("..*", ".x"))
        for number in range(rule.times or 1):
            key = name.format(number)
            files[key] = files.get(key, b"") + rule.old.replace("{base}", "/").encode() + b"\n"
    return files


def test_every_address_is_moved_below_the_viewer() -> None:
    made = rewrite(fitting(), BASE)
    assert made["0.js"].startswith(b'__webpack_require__.p = "/viewer/1-2/";')
    assert b'src="/viewer/app-config.js"' in made["index.html"]
    assert b'="/' not in made["index.html"].replace(b'="/viewer/', b"")
    assert b"dicomjson" not in b"".join(made.values())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.old[:30])
def test_a_rule_that_finds_nothing_stops_it(rule: Rule) -> None:
    old = rule.old.replace("{base}", "/").encode()
    files = {name: content.replace(old, b"") for name, content in fitting().items()}
    with pytest.raises(CannotBuild, match="was found"):
        rewrite(files, BASE)


def test_a_rule_that_finds_too_much_stops_it() -> None:
    files = fitting() | {"new.js": b'__webpack_require__.p = "/";'}
    with pytest.raises(CannotBuild, match="9 times, not 8"):
        rewrite(files, BASE)


def test_another_tarball_is_refused() -> None:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(b"this").digest()).decode()
    check(b"this", integrity)
    with pytest.raises(CannotBuild, match="sha512"):
        check(b"that", integrity)


def test_only_what_is_served_is_kept(tmp_path: Path) -> None:
    names = (
        "dist/app.js",
        "dist/app.js.map",
        "dist/ort/ort.wasm",
        "dist/sw.js",
        "src/index.js",
        "LICENSE",
        "package.json",
    )
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"package/{name}"), io.BytesIO())
    kept = {name for name, _ in members(tmp_path / "x.tgz")}
    assert kept == {"app.js", "package/LICENSE", "package/package.json"}


def test_browsers_can_read_what_was_compressed() -> None:
    """RFC 9659: a window of at most 8 MiB."""
    content = bytes(range(256)) * (9 << 12)
    made = encodings("x.js", content)
    assert set(made) == {"zstd", "gzip"}
    assert zstandard.get_frame_parameters(made["zstd"]).window_size <= 8 << 20
    assert zstandard.decompress(made["zstd"]) == content
    assert encodings("x.png", b"png") == {"identity": b"png"}


def test_scripts_of_the_page_are_named_by_their_digest() -> None:
    digest = base64.b64encode(hashlib.sha256(b"a()").digest()).decode()
    assert inline_scripts(b'<script>a()</script><script src="/x.js"></script>') == [f"'sha256-{digest}'"]
