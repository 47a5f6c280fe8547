"""An archive with the viewer and one study of each kind, and a browser that visits it; both for the whole folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.ui.viewer_package import find_package
from tests.support.archive import RunningArchive, start_archive
from tests.support.database import DatabaseServer
from tests.support.dicomweb import Client
from tests.viewer import studies
from tests.viewer.browser import Visit, chromium, visiting


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseServer) -> Iterator[RunningArchive]:
    """The archive."""
    chromium()
    if find_package("") is None:
        pytest.skip("the viewer is not installed: `make viewer` fetches it from npm")
    url = database_server.create()
    running = start_archive(tmp_path_factory.mktemp("clinic") / "data", FILEROOM_DATABASE_URL=url)
    try:
        client = Client(running.port)
        for file in studies.everything():
            stored = client.store(file)
            assert (stored.status, stored.failed) == (200, {})
        client.close()
        yield running
    finally:
        assert running.stop() == 0
        database_server.drop(url)


@pytest.fixture(scope="module")
def browser(clinic: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """The browser."""
    with visiting(clinic.url, tmp_path_factory.mktemp("profile")) as visit:
        yield visit


@pytest.fixture
def visit(browser: Visit) -> Iterator[Visit]:
    """The browser, for one test: nothing may go wrong in it meanwhile (10)."""
    browser.trouble.clear()
    browser.answers.clear()
    yield browser
    assert browser.trouble == []
