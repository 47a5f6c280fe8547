"""A page of another site changes nothing in the name of who runs the browser; it could not read the answer anyway."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.security.test_guard import site_on

ALLOWED = "https://viewer.example"
UNDO = "/dicom-web/deletions/1/undo"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://pacs.example"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://archive"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": ALLOWED}, False),
        ({"Origin": ALLOWED}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, True),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://other.pacs.example"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "http://archive.evil.example"}, True),
        ({"Origin": "null"}, True),
    ],
)
async def test_G34_changes_by_pages_of_other_sites_are_refused(
    database_url: str, tmp_path: Path, headers: dict[str, str], refused: bool
) -> None:
    async with site_on(database_url, tmp_path, cors_origins=(ALLOWED,)) as site:
        for method, path in (("POST", UNDO), ("DELETE", "/dicom-web/studies/1.2.3"), ("POST", "/dicom-web/studies")):
            answer = await site.client.request(method, path, headers=headers)
            assert (answer.status_code == 403) is refused, (method, answer.status_code)
        assert (await site.client.get("/dicom-web/studies", headers=headers)).status_code < 300


async def test_G34_only_credentials_that_browsers_add_by_themselves_are_in_question(
    database_url: str, tmp_path: Path
) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    async with site_on(database_url, tmp_path, auth="token") as site:
        token = await site.token("delete")
        assert (await site.ask("POST", UNDO, token, headers=foreign)).status_code == 404
        basic = httpx.BasicAuth("reader", token)
        assert (await site.client.post(UNDO, headers=foreign, auth=basic)).status_code == 403
        assert (await site.client.post(UNDO, auth=basic)).status_code == 404
