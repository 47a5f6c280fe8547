"""DNS rebinding: what an archive without authentication answers when a page came in by a name of its own."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import Settings


async def ask(host: str, tmp_path: Path, database_url: str, **settings: str) -> int:
    app = create_app(Settings(data=tmp_path, **settings), database_url)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.get("/dicom-web/studies", headers={"host": host})).status_code


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost:8080", "pacs", "Pacs.local:80", "10.0.0.7", "a.localhost."],
)
async def test_G26_names_of_this_machine_are_answered(host: str, tmp_path: Path, database_url: str) -> None:
    assert await ask(host, tmp_path, database_url) in (200, 204)


@pytest.mark.parametrize("host", ["rebound.example.com:8080", "127.0.0.1.evil.com", "evil.com.", "localhost.evil.com"])
async def test_G26_a_name_that_a_stranger_may_have_is_refused(host: str, tmp_path: Path, database_url: str) -> None:
    assert await ask(host, tmp_path, database_url) == 403


async def test_the_name_of_the_public_root_is_answered(tmp_path: Path, database_url: str) -> None:
    root = "https://images.hospital.org/dicom-web"
    assert await ask("images.hospital.org", tmp_path, database_url, public_root=root) in (200, 204)


async def test_with_tokens_any_name_is_answered(tmp_path: Path, database_url: str) -> None:
    assert await ask("images.hospital.org", tmp_path, database_url, auth="token") == 401
