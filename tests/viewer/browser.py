"""Chromium without a window, driven by playwright: one profile for the run, what went wrong in it, and what its
pictures look like in numbers."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Response, sync_playwright

from tests.style.measure import ROOT

SHOTS = ROOT / "build" / "screenshots"
SECONDS = 30
MIDDLE = 360
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_NO_TOUR = (
    "try { localStorage.setItem('shownTours', '[\"basicViewerTour\"]') } catch { /* a document without storage */ }"
)


def chromium() -> str:
    """Its command; skips the test when there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium here: `make test` as root installs Debian's")
    return found


class Look(NamedTuple):
    """A picture in numbers: how many shades of grey it has, and how much of it is lit."""

    shades: int
    lit: float

    @property
    def is_blank(self) -> bool:
        """Whether nothing is drawn, or something flat."""
        return self.shades <= 20 or self.lit < 0.02


class Visit:
    """One page on the archive at `url`, and what it asked for."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.trouble: list[str] = []
        self.answers: list[tuple[str, str, int]] = []
        page.set_default_timeout(SECONDS * 1000)
        page.context.on("response", self._note)
        page.context.on("requestfailed", self._note_failure)
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.trouble.append(f"page error: {error}"))

    def _note(self, response: Response) -> None:
        address = response.url.removeprefix(self.url)
        self.answers.append((response.request.method, address, response.status))
        if address == response.url and address.startswith("http"):  # not of the browser itself, nor blob: and data:
            self.trouble.append(f"asked another origin: {address}")
        if response.status >= 500:
            self.trouble.append(f"{response.status} {address}")

    def _note_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # of a page that was left
            self.trouble.append(f"failed: {request.url} {request.failure}")

    def _listen(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Cross-Origin" in message.text:
            self.trouble.append(message.text)

    def open(self, mode: str, *uids: str, **more: str) -> None:
        """A deep link into the viewer, as our own pages would have it."""
        query = "&".join([f"StudyInstanceUIDs={','.join(uids)}", *(f"{name}={value}" for name, value in more.items())])
        self.page.goto(f"{self.url}/viewer/{mode}?{query}")

    def asked(self, part: str, method: str = "GET") -> list[int]:
        """Statuses of the answers to requests whose address holds `part`."""
        return [status for asked, address, status in self.answers if asked == method and part in address]

    def show(self, label: str) -> None:
        """Opens the series with this text in the side panel."""
        self.page.locator("[data-cy^=study-browser-thumbnail]", has_text=label).first.dblclick()

    def panes(self) -> Locator:
        """Where pictures are drawn."""
        return self.page.locator("[data-cy=viewport-pane]")

    def shoot(self, name: str) -> None:
        """Keeps a picture of the page for people."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Returns when the condition holds; fails when it never does."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not within {SECONDS} s"
            self.page.wait_for_timeout(250)

    def wait_for_picture(self, place: Locator | None = None) -> Locator:
        """Returns when something is drawn there, or else in the first pane; the place."""
        where = place or self.panes().first
        self.wait_until(lambda: not look(where).is_blank)
        return where

    def drag(self, *places: tuple[int, int]) -> None:
        """Presses the mouse at the first place, moves to the others and lets go; from the middle of the first pane."""
        box = self.panes().first.bounding_box()
        assert box is not None
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        mouse = self.page.mouse
        for number, (x, y) in enumerate(places):
            mouse.move(middle[0] + x, middle[1] + y, steps=5)
            if number == 0:
                mouse.down()
        mouse.up()


def pixels(place: Locator) -> Any:
    """The middle of it, as an array of rows, columns and colours: large enough to judge, and quick to read."""
    box = place.bounding_box()
    if box is None:
        return np.zeros((1, 1, 3), np.uint8)
    width, height = min(box["width"], MIDDLE), min(box["height"], MIDDLE)
    x, y = box["x"] + (box["width"] - width) / 2, box["y"] + (box["height"] - height) / 2
    shot = place.page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def look(place: Locator) -> Look:
    """What stands there, in numbers."""
    grey = pixels(place).mean(-1).astype(int)
    return Look(len(np.unique(grey)), float((grey > 24).mean()))


@contextmanager
def visiting(url: str, profile: Path, **options: Any) -> Iterator[Visit]:
    """A browser with a fresh profile, on its first page."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium(), args=_ARGUMENTS, viewport={"width": 1400, "height": 720}, **options
        )
        context.add_init_script(_NO_TOUR)
        try:
            yield Visit(context.pages[0], url)
        finally:
            context.close()
