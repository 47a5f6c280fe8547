"""Makes the data-only distribution `fileroom-viewer` from OHIF's own build, as npm carries it: fetched, checked against
`lock.json`, trimmed, rewritten for `/viewer/`, compressed, and listed in a manifest that is all the archive will serve.

    python -m viewer.build FOLDER        # then: pip install FOLDER
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import zstandard

from viewer.rewriting import LEFT_OUT, ROOT, RULES

HERE = Path(__file__).parent
PACKAGE = "fileroom_viewer"
DIST = "package/dist/"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
PACKED_ALREADY = {".ico", ".png", ".woff2"}
ZSTD_LEVEL = 17
ZSTD_WINDOW_LOG = 23  # browsers take no more (RFC 9659)
GZIP_LEVEL = 9
POST_RELEASE = 1


class CannotBuild(Exception):
    """What came is not what the rules were written for."""


def fetch(folder: Path, lock: dict[str, str]) -> Path:
    """The tarball from the registry that npm is set up for; raises `CannotBuild` when it is not the pinned one."""
    command = [
        "npm",
        "pack",
        "--silent",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        f"{lock['package']}@{lock['version']}",
    ]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotBuild("npm is not installed") from None
    if done.returncode:
        raise CannotBuild(f"npm pack failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    tarball = folder / done.stdout.split()[-1]
    check(tarball.read_bytes(), lock["integrity"])
    return tarball


def check(data: bytes, integrity: str) -> None:
    """Raises `CannotBuild` unless `data` has this Subresource Integrity value."""
    algorithm, _, expected = integrity.partition("-")
    found = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    if found != expected:
        raise CannotBuild(f"the tarball's {algorithm} is {found}, not {expected}")


def members(tarball: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of the build that is kept; and LICENSE and package.json beside it."""
    with tarfile.open(tarball) as archive:
        for member in archive:
            name = member.name.removeprefix(DIST)
            is_kept = member.name.startswith(DIST) and not LEFT_OUT.fullmatch(name)
            if member.isfile() and (is_kept or member.name in ("package/LICENSE", "package/package.json")):
                file = archive.extractfile(member)
                assert file is not None
                yield name, file.read()


def rewrite(files: dict[str, bytes], base: str) -> dict[str, bytes]:
    """`files` by the table of rules; raises `CannotBuild` when a rule finds more or less than it should."""
    made = dict(files)
    for rule in RULES:
        old, new = (text.replace("{base}", base).encode() for text in (rule.old, rule.new))
        count = 0
        for name, content in made.items():
            if re.fullmatch(rule.files, name) and old in content:
                count += content.count(old)
                made[name] = content.replace(old, new)
        if count != rule.times if rule.times else not count:
            raise CannotBuild(f"{rule.old[:60]!r} was found {count} times, not {rule.times or 'once or more'}")
    return made


def inline_scripts(page: bytes) -> list[str]:
    """What Content-Security-Policy calls the scripts that stand in the page itself."""
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.S)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts]


def encodings(name: str, content: bytes) -> dict[str, bytes]:
    """Content coding → stored bytes. What is kept compressed is not kept plain: gzip can be undone for who needs it."""
    if PurePosixPath(name).suffix in PACKED_ALREADY:
        return {"identity": content}
    parameters = zstandard.ZstdCompressionParameters.from_level(
        ZSTD_LEVEL, source_size=len(content), window_log=min(ZSTD_WINDOW_LOG, max(10, len(content).bit_length()))
    )
    return {
        "zstd": zstandard.ZstdCompressor(compression_params=parameters).compress(content),
        "gzip": gzip.compress(content, GZIP_LEVEL, mtime=0),
    }


def write(folder: Path, files: dict[str, bytes], base: str, version: str) -> int:
    """The package's files and manifest; the bytes that they take."""
    content = folder / PACKAGE / "files"
    content.mkdir(parents=True)
    listed: dict[str, object] = {}
    total = 0
    with ThreadPoolExecutor(2) as pool:
        for name, stored in zip(files, pool.map(encodings, files, files.values()), strict=True):
            kept = {}
            for coding, data in stored.items():
                digest = hashlib.sha256(data).hexdigest()
                (content / digest).write_bytes(data)
                kept[coding] = {"file": digest, "length": len(data)}
                total += len(data)
            digest = hashlib.sha256(files[name]).hexdigest()
            listed[name] = {"type": TYPES[PurePosixPath(name).suffix], "sha256": digest, "encodings": kept}
    manifest = {
        "version": version,
        "base": base,
        "page": "index.html",
        "scripts": inline_scripts(files["index.html"]),
        "files": listed,
    }
    (folder / PACKAGE / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return total


def notice(files: dict[str, bytes], package: dict[str, dict[str, str]]) -> str:
    """Whose work the distribution holds: OHIF's dependencies, and every licence comment of the bundles."""
    found = {
        comment.decode("utf8", "replace")
        for name, content in files.items()
        if name.endswith((".js", ".css"))
        for comment in re.findall(rb"/\*[!*](?:(?!\*/).){20,6000}?\*/", content, re.S)
        if re.search(rb"@licen[sc]e|copyright|licensed under", comment, re.I)
    }
    lines = [f"{name} {version}" for name, version in sorted(package["dependencies"].items())]
    heading = "Third-party software in this distribution, as its package and its bundles declare it."
    return "\n\n".join([heading, "\n".join(lines), *sorted(found)]) + "\n"


def build(folder: Path) -> str:
    """Makes the distribution in `folder`, which it replaces; says what it made."""
    lock = json.loads((HERE / "lock.json").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        files = dict(members(fetch(Path(scratch), lock)))
    licence, package = files.pop("package/LICENSE"), json.loads(files.pop("package/package.json"))
    rules = hashlib.sha256(f"{lock['integrity']} {LEFT_OUT.pattern} {RULES}".encode()).hexdigest()
    base = f"{ROOT}{lock['version']}-{rules[:8]}/"
    files = rewrite(files, base)
    version = f"{lock['version']}.post{POST_RELEASE}"
    made = folder.with_name(folder.name + ".new")
    shutil.rmtree(made, ignore_errors=True)
    total = write(made, files, base, version)
    (made / PACKAGE / "__init__.py").write_text('"""OHIF\'s build for Fileroom: data only."""\n')
    (made / "LICENSE").write_bytes(licence)
    (made / "NOTICE").write_text(notice(files, package), encoding="utf8")
    (made / "pyproject.toml").write_text((HERE / "distribution.toml").read_text().replace("VERSION", version))
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
    return f"{lock['package']} {lock['version']}: {len(files)} files, {total / 1e6:.1f} MB"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    try:
        made = build(parser.parse_args().folder.absolute())
    except CannotBuild as error:
        sys.stderr.write(f"the viewer was not made: {error}\n")
        return 1
    sys.stdout.write(f"{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
