"""Pages for people: whole without scripts, and without any other host."""

from __future__ import annotations

import re

import httpx

from tests.support.archive import RunningArchive


def test_the_api_page_names_every_operation_and_loads_nothing(archive: RunningArchive) -> None:
    page = httpx.get(archive.url + "/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    document = httpx.get(archive.url + "/openapi.json").json()
    assert len(document["paths"]) > 20
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<b>{method.upper()}</b><code>{path}</code>" in page.text
    assert re.findall(r"(?:src|href)=\"(?!openapi\.json)[^\"]*", page.text) == []
    assert "<script" not in page.text


def test_pages_of_the_framework_that_load_from_elsewhere_are_off(archive: RunningArchive) -> None:
    assert httpx.get(archive.url + "/redoc").status_code == 404
    assert httpx.get(archive.url + "/docs/oauth2-redirect").status_code == 404
