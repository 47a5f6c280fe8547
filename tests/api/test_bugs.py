"""What a bug of ours looks like from outside: a problem document that tells nothing of what went wrong inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.settings import Settings


async def test_a_bug_behind_the_router_is_answered_as_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(self: object) -> dict[str, Any]:
        raise RuntimeError("DOE^JOHN")

    app = create_app(Settings(data=tmp_path), "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setattr(type(app), "openapi", bug)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://archive") as client:
        answer = await client.get("/openapi.json")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "DOE" not in answer.text
