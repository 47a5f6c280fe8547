"""OHIF on the archive in Chromium: every kind of study is drawn, and what is measured or marked comes back. Screenshots
are left in build/screenshots. Nothing may ask another origin, break the policy, throw, or meet a 5xx (see `visit`)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, TimeoutError

from tests.support.archive import RunningArchive
from tests.support.dicomweb import Client, first
from tests.support.samples import new_sample
from tests.viewer.browser import Visit, look, pixels
from tests.viewer.studies import FRAMES, PAPERS, PATHOLOGY, SLICES, STACK

pytestmark = pytest.mark.flaky(reruns=1)
"""It is others' software that is clicked on, and what it draws anew at the wrong moment is not ours."""
LIST = ["ACC-STACK", "ACC-FRAMES", "ACC-SLIDE", "ACC-PAPERS"]


@pytest.fixture
def client(clinic: RunningArchive) -> Client:
    return Client(clinic.port)


def test_addresses_and_caching(client: Client) -> None:
    for path in ("/viewer", "/viewer/", f"/viewer/viewer?StudyInstanceUIDs={STACK}"):
        status, headers, page = client.request("GET", path)
        assert (status, headers["cache-control"]) == (200, "no-cache")
        assert b'<div id="root">' in page
    assert client.request("GET", "/viewer/unknown.js")[0] == 404
    script = page.decode().split('<script defer src="')[1].split('"')[0]
    status, headers, body = client.request("GET", script, headers={"Accept-Encoding": "gzip"})
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert "immutable" in headers["cache-control"]
    assert len(body) < 5_000_000


def test_the_list_shows_every_study_and_filters(visit: Visit) -> None:
    page = visit.page
    page.goto(visit.url + "/viewer/")
    rows = page.locator("tbody tr", has_text="ACC-")
    rows.first.wait_for()
    assert {row.split("ACC-")[1].split()[0] for row in rows.all_inner_texts()} == {name[4:] for name in LIST}
    stack = rows.filter(has_text="ACC-STACK").inner_text()
    for text in ("Stack, Computed", "29-Feb-2024", "CT", "CT of a phantom", str(SLICES + 5 * 3 + 2)):
        assert text in stack
    visit.shoot("list")
    name = page.locator("td input").first
    name.fill("frames")
    visit.wait_until(lambda: rows.count() == 1)
    assert "ACC-FRAMES" in rows.inner_text()
    visit.wait_until(lambda: visit.asked("PatientName=*frames*") == [200])
    name.fill("nobody")
    page.get_by_text("No studies available").wait_for()
    assert visit.asked("PatientName=*nobody*") == [204]
    page.goto(visit.url + "/viewer/?modalities=SM,ECG&startDate=20240101&endDate=20241231")
    visit.wait_until(lambda: rows.count() == 2)
    assert visit.asked("ModalitiesInStudy=SM%2CECG") == visit.asked("StudyDate=20240101-20241231") == [200]


def test_a_study_of_many_kinds_of_series_is_read(visit: Visit) -> None:
    """Scrolling, a thumbnail of each transfer syntax, a measurement and a segmentation that others made."""
    page = visit.page
    visit.open("viewer", STACK)
    pane = visit.wait_for_picture()
    assert page.evaluate("crossOriginIsolated")
    visit.shoot("stack")
    before = pixels(pane)
    pane.hover()
    page.mouse.wheel(0, 300)
    visit.wait_until(lambda: float((pixels(pane) != before).mean()) > 0.01)
    _check_thumbnails(visit)
    visit.show("measurement")
    pane.get_by_text("70.00 mm").wait_for()
    visit.shoot("measurement")
    visit.show("lungs")
    page.locator("[data-cy=ModalityLoadBadge-default]", has_text="SEG").wait_for()
    load = page.get_by_text("LOAD", exact=True)
    visit.wait_until(lambda: _redness(pane) > 0.02 or (load.is_visible() and load.click()))  # type: ignore[func-returns-value]
    visit.shoot("segmentation")


def _check_thumbnails(visit: Visit) -> None:
    thumbnails = visit.page.locator("[data-cy=study-browser-thumbnail]")
    visit.wait_until(lambda: thumbnails.count() == 8)
    texts = thumbnails.all_inner_texts()
    for label in ("native", "JPEG 2000", "RLE", "JPEG-LS", "JPEG Baseline", "High-Throughput JPEG 2000"):
        assert any(label in text for text in texts), label
    for number in range(thumbnails.count()):
        thumbnails.nth(number).scroll_into_view_if_needed()
        visit.wait_for_picture(thumbnails.nth(number).locator("img"))


def _redness(pane: Locator) -> float:
    picture = pixels(pane).astype(int)
    return float((picture[..., 0] - picture[..., 1:].max(-1) > 80).mean())


def test_multi_frame_images_are_drawn_and_play(visit: Visit) -> None:
    visit.open("viewer", FRAMES)
    pane = visit.wait_for_picture()
    visit.shoot("enhanced")
    visit.show("cine")
    play = visit.page.locator("[data-cy=cine-player-play-pause]")
    play.wait_for()
    visit.wait_until(lambda: np.ptp(pixels(pane), axis=-1).max() > 100)  # colours
    before = pixels(pane).astype(int)
    visit.shoot("cine")
    play.click()
    visit.wait_until(lambda: float((np.abs(pixels(pane) - before) > 40).mean()) > 0.02)
    assert set(visit.asked(f"{FRAMES}.2.1/frames/")) == {200}


def test_three_planes_are_drawn(visit: Visit) -> None:
    visit.open("viewer", STACK, SeriesInstanceUIDs=f"{STACK}.1", hangingProtocolId="mpr")
    visit.wait_until(lambda: visit.panes().count() == 3)
    for number in range(3):
        visit.wait_for_picture(visit.panes().nth(number))
    visit.shoot("planes")


def test_a_slide_shows_its_tiles(visit: Visit) -> None:
    visit.open("microscopy", PATHOLOGY)
    pane = visit.panes().first
    visit.wait_until(lambda: look(pane).lit > 0.5 and look(pane).shades > 100)
    visit.shoot("slide")
    assert set(visit.asked("/frames/")) == {200}
    assert len(visit.asked("/frames/")) >= 12


def test_an_ecg_and_a_letter_are_shown(visit: Visit, client: Client) -> None:
    visit.open("viewer", PAPERS)
    visit.wait_for_picture()
    visit.shoot("ecg")
    assert visit.asked("/bulkdata/") == [200]
    address = f"/studies/{PAPERS}/series/{PAPERS}.2/instances/{PAPERS}.2.1/rendered"
    status, headers, _ = client.request("GET", f"/dicom-web{address}", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (status, headers["content-type"]) == (200, "application/pdf")
    visit.show("DOC")
    letter = visit.page.locator("object")
    letter.wait_for()
    visit.wait_until(lambda: look(letter).shades > 100)
    visit.shoot("letter")
    assert set(visit.asked(address)) == {200}


def test_what_is_drawn_is_stored_and_can_be_read_at_once(visit: Visit, client: Client) -> None:
    """A length becomes a structured report, a brush stroke a segmentation; both are there when the page opens again."""
    page = visit.page
    visit.open("viewer", STACK, SeriesInstanceUIDs=f"{STACK}.1")
    visit.wait_for_picture()
    page.locator("[data-cy=Length]").click()
    visit.drag((-100, 0), (0, 10), (100, 20))
    page.locator("[data-cy=prompt-begin-tracking-yes-btn]").click()
    page.locator("[data-cy=trackedMeasurements-btn]").click()
    page.get_by_text("Create SR").click()
    visit.shoot("length")
    report = _save(visit, client)
    visit.open("segmentation", STACK, SeriesInstanceUIDs=f"{STACK}.1,{report}")
    page.locator("[data-cy^=study-browser-thumbnail]", has_text="SR").wait_for()
    visit.wait_for_picture()
    page.get_by_text("Add segmentation").click()
    page.locator("[data-cy=Brush-btn]").click()
    visit.drag((-60, 0), (0, 10), (60, 20))
    visit.shoot("brush")
    _export(page)
    marked = _save(visit, client)
    assert {report, marked} <= {str(first(row, "0020000E")) for row in client.search(f"/studies/{STACK}/series")}


def _export(page: Page) -> None:
    """Chooses Export, DICOM SEG; again when the panel was drawn anew, which closes its menus."""
    for patience in (4000, 8000, 16000, 30000):
        try:
            page.locator("[data-cy=segmentation-collapsed-more-btn-Labelmap]").click(timeout=patience)
            page.get_by_role("menuitem", name="Export").hover(timeout=patience)
            page.get_by_role("menuitem", name="DICOM SEG").click(timeout=patience)
            return
        except TimeoutError:
            page.keyboard.press("Escape")
            page.keyboard.press("Escape")
    raise AssertionError("the menu never stayed open")


def _save(visit: Visit, client: Client) -> str:
    """Presses Save, and reads what was stored as soon as the archive has said so; its series."""
    with visit.page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        visit.page.get_by_role("button", name="Save").click()
    assert posted.value.status == 200
    (stored,) = json.loads(posted.value.body())["00081199"]["Value"]
    sop = str(first(stored, "00081155"))
    (found,) = client.search(f"/instances?SOPInstanceUID={sop}&includefield=SeriesInstanceUID")
    series = str(first(found, "0020000E"))
    assert client.retrieve(f"/studies/{STACK}/series/{series}/instances/{sop}")[0] == 200
    return series


def test_files_are_uploaded_one_by_one(visit: Visit, client: Client) -> None:
    page = visit.page
    samples = [new_sample() for _ in range(3)]
    contents = [sample.encode() for sample in samples]
    broken = contents[0][:200] + bytes(100)
    page.goto(visit.url + "/viewer/")
    page.get_by_text("Upload").click()
    files = [
        {"name": f"{number}.dcm", "mimeType": "application/dicom", "buffer": content}
        for number, content in enumerate([*contents, broken])
    ]
    page.locator("input[type=file]").first.set_input_files(files)  # type: ignore[arg-type]
    page.get_by_text("4 files completed").wait_for()
    page.get_by_text("Completed with 1 error").wait_for()
    visit.shoot("upload")
    assert [client.retrieve(sample.path) for sample in samples] == [(200, content) for content in contents]


def test_an_unknown_study_has_its_message(visit: Visit) -> None:
    visit.open("viewer", "1.2.3.4")
    visit.page.get_by_text("not available at this time").wait_for()
    visit.shoot("unknown")


@pytest.mark.parametrize("route", ["viewer/dicomjson", "viewer/dicomwebproxy"])
def test_G34_links_cannot_name_another_data_source(visit: Visit, route: str) -> None:
    """`visit` fails when the page asks another origin; the viewer takes the unknown source for the only one."""
    elsewhere = "http://127.0.0.1:9/elsewhere"
    visit.page.goto(
        f"{visit.url}/viewer/{route}?StudyInstanceUIDs=1.2.3.4&url={elsewhere}.json&configUrl={elsewhere}.js"
    )
    visit.page.wait_for_load_state("networkidle")
    assert visit.asked("elsewhere") == [200], "the page itself, whose address holds it"
