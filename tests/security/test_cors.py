"""Pages of the origins in the settings may call the archive, and read its errors; others may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.test_guard import site_on

VIEWER = "https://viewer.example"
PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,accept"}


async def test_preflight_needs_no_credentials(database_url: str, tmp_path: Path) -> None:
    async with site_on(database_url, tmp_path, auth="token", cors_origins=(VIEWER,)) as site:
        answer = await site.ask("OPTIONS", "/dicom-web/studies", headers=PREFLIGHT | {"Origin": VIEWER})
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == VIEWER
        assert "DELETE" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization,accept"
        assert answer.headers["Vary"] == "Origin"


async def test_other_origins_get_nothing(database_url: str, tmp_path: Path) -> None:
    async with site_on(database_url, tmp_path, cors_origins=(VIEWER,)) as site:
        for origin in ("https://evil.example", "null", f"{VIEWER}.evil.example"):
            answer = await site.ask("OPTIONS", "/dicom-web/studies", headers=PREFLIGHT | {"Origin": origin})
            assert answer.status_code == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
            answer = await site.ask("GET", "/dicom-web/studies", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Origin" in answer.headers.get_list("Vary", split_commas=True)


@pytest.mark.parametrize(("path", "status"), [("/dicom-web/studies", 401), ("/dicom-web/nothing", 401)])
async def test_errors_can_be_read_too(database_url: str, tmp_path: Path, path: str, status: int) -> None:
    async with site_on(database_url, tmp_path, auth="token", cors_origins=("*",)) as site:
        answer = await site.ask("GET", path, headers={"Origin": VIEWER})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Warning" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_bug_can_be_read_too(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site_on(database_url, tmp_path, cors_origins=("*",)) as site:
        monkeypatch.setattr(site.app.state, "context", None)
        answer = await site.ask("GET", "/dicom-web/studies", headers={"Origin": VIEWER})
        assert answer.status_code == 500
        assert answer.json() == {"type": "about:blank", "title": "Processing failure", "status": 500}
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_without_the_setting_there_are_no_such_headers(database_url: str, tmp_path: Path) -> None:
    async with site_on(database_url, tmp_path) as site:
        answer = await site.ask("GET", "/dicom-web/studies", headers={"Origin": VIEWER})
        assert not [name for name in answer.headers if name.startswith("access-control")]
