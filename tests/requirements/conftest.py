"""A client of the running archive."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.archive import RunningArchive


@pytest.fixture(scope="session")
def client(archive: RunningArchive) -> Iterator[httpx.Client]:
    """Requests below the DICOMweb root."""
    with httpx.Client(base_url=archive.root, timeout=60) as client:
        yield client
