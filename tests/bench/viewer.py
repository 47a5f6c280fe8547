#!/usr/bin/env python3
"""OHIF in Chromium on two archives side by side: from the click on a CT study to its first picture and to all its images,
and the time that the archive took for the requests in between. The same proxy and viewer stand before both.

    viewer.py --work build/bench-viewer [--instances 300] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from app.ui.viewer_config import script  # noqa: E402 - found through the line above
from app.ui.viewer_package import find_package  # noqa: E402

ARCHIVES = {"orthanc": (14201, 14401), "fileroom": (14301, 14402)}  # its port, the proxy's
TARGETS = {"first picture, s": 0.85, "all images, s": 0.85, "archive, s": 0.3}
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PROXY = """daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ worker_connections 256; }}
http {{
  types {{ text/html html; text/javascript js; text/css css; application/wasm wasm; image/svg+xml svg; font/woff2 woff2; image/png png; application/json json; }}
  access_log off; gzip_static on; client_max_body_size 0; client_body_temp_path {work}/tmp; proxy_temp_path {work}/tmp;
  fastcgi_temp_path {work}/tmp; uwsgi_temp_path {work}/tmp; scgi_temp_path {work}/tmp;
  upstream archive {{ server 127.0.0.1:{archive}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    add_header Cross-Origin-Opener-Policy same-origin; add_header Cross-Origin-Embedder-Policy require-corp;
    location {base} {{ alias {work}/files/; expires max; }}
    location = /viewer/app-config.js {{ alias {work}/files/app-config.js; gzip_static off; }}
    location /viewer {{ root {work}/files; try_files /index.html =404; }}
    location /dicom-web/ {{
      proxy_pass http://archive; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""
# Cornerstone copies each picture to a canvas of its own: the first that is not black is the first that people see.
WATCH = """
window.pictured = new Promise(done => {
  const look = () => {
    for (const canvas of document.querySelectorAll('.cornerstone-canvas')) {
      const {width, height} = canvas
      if (width && height) {
        const bytes = canvas.getContext('2d').getImageData(width / 4, height / 2, width / 2, 1).data
        if (bytes.some((value, at) => at % 4 < 3 && value > 30)) return done(performance.timeOrigin + performance.now())
      }
    }
    requestAnimationFrame(look)
  }
  requestAnimationFrame(look)
})
try { localStorage.setItem('shownTours', '["basicViewerTour"]') } catch {}
"""


def spread_viewer(folder: Path) -> str:
    """The viewer as plain files with gzip beside them, for a proxy; the address below which they belong."""
    package = find_package("")
    if package is None:
        sys.exit("no viewer: make viewer")
    shutil.rmtree(folder, ignore_errors=True)
    for name, asset in package.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(asset.read("identity"))
        if "gzip" in asset.stored:
            path.with_name(path.name + ".gz").write_bytes(asset.read("gzip"))
    (folder / "app-config.js").write_bytes(script("/dicom-web"))
    return package.base


@contextmanager
def archive(name: str, work: Path):
    """One of the two, empty."""
    shutil.rmtree(work / name, ignore_errors=True)
    environment = {**os.environ, "DATA": str(work / name), "HTTP": str(ARCHIVES[name][0])}
    subprocess.run([HERE / "targets" / f"{name}.sh"], env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run([HERE / "targets" / "stop.sh", work / name / "pid"], check=False)


@contextmanager
def proxy(name: str, work: Path, base: str):
    """nginx before it, with the viewer."""
    own = work / f"proxy-{name}"
    (own / "tmp").mkdir(parents=True, exist_ok=True)
    if not (own / "files").exists():
        (own / "files").symlink_to(work / "files")
    (own / "nginx.conf").write_text(
        PROXY.format(work=own, port=ARCHIVES[name][1], archive=ARCHIVES[name][0], base=base)
    )
    process = subprocess.Popen(["nginx", "-c", own / "nginx.conf", "-e", own / "nginx.log"])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(10)


def corpus(work: Path, instances: int) -> list[Path]:
    """The files of one CT study."""
    folder = work / f"ct{instances}"
    if not (folder / "manifest.jsonl").exists():
        command = [
            sys.executable,
            str(HERE / "gen_corpus.py"),
            "--profile",
            "ct",
            "--instances",
            str(instances),
            "--out",
            str(folder),
        ]
        subprocess.run(command, check=True)
    return sorted(folder.rglob("*.dcm"))


def load(name: str, files: list[Path]) -> None:
    """Stores the files, by ten in a request."""
    for at in range(0, len(files), 10):
        body = b"".join(
            b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n"
            for file in files[at : at + 10]
        )
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        address = f"http://127.0.0.1:{ARCHIVES[name][0]}/dicom-web/studies"
        with urllib.request.urlopen(urllib.request.Request(address, body + b"--b--\r\n", headers)) as answer:
            assert answer.status == 200


def measure(playwright, name: str, images: int) -> dict[str, float]:
    """One visit with a fresh profile: the list is open and its scripts are read when the click comes."""
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.add_init_script(WATCH)
    finished = []
    page.context.on("requestfinished", lambda request: finished.append(request))
    page.goto(f"http://127.0.0.1:{ARCHIVES[name][1]}/viewer/")
    row = page.locator(
        "tbody tr", has_text=re.compile(r"-(19|20)\d\d")
    ).first  # Orthanc 1.10 lists no descriptions to OHIF
    row.wait_for()
    page.wait_for_timeout(1500)
    finished.clear()
    clicked = page.evaluate("performance.timeOrigin + performance.now()")
    row.dblclick()
    first = page.evaluate("window.pictured") - clicked
    frames: dict[str, float] = {}
    deadline = time.monotonic() + 180
    while len(frames) < images:
        assert time.monotonic() < deadline, f"{name}: {len(frames)} of {images} images"
        page.wait_for_timeout(100)
        frames = {
            request.url: request.timing["startTime"] + request.timing["responseEnd"]
            for request in finished
            if "/frames/" in request.url
        }
    asked = [request for request in finished if "/dicom-web/" in request.url]
    waited = sum(max(0.0, request.timing["responseEnd"] - request.timing["requestStart"]) for request in asked)
    browser.close()
    return {
        "first picture, s": first / 1000,
        "all images, s": (max(frames.values()) - clicked) / 1000,
        "archive, s": waited / 1000,
        "requests": len(asked),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench-viewer")
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    files = corpus(work, options.instances)
    base = spread_viewer(work / "files")
    results: dict[str, list[dict[str, float]]] = {name: [] for name in ARCHIVES}
    with ExitStack() as stack:
        for name in ARCHIVES:
            stack.enter_context(archive(name, work))
            stack.enter_context(proxy(name, work, base))
            load(name, files)
        playwright = stack.enter_context(sync_playwright())
        for _ in range(options.runs):
            for name in ARCHIVES:
                results[name].append(measure(playwright, name, len(files)))
                print(name, json.dumps(results[name][-1]), flush=True)
    print("| median | Orthanc | Fileroom | ratio | target |\n| --- | --- | --- | --- | --- |")
    for what, target in TARGETS.items():
        theirs, ours = (statistics.median(run[what] for run in results[name]) for name in ARCHIVES)
        print(f"| {what} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.2f} | {target} |")


if __name__ == "__main__":
    main()
