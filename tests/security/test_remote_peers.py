"""Who may work with remote peers: searching needs `read`, retrieving `write`; bridges and archives share a secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import ValidationError

from app.errors import CannotStart
from app.main import create_app
from app.settings import Settings
from dimse_bridge.settings import Settings as BridgeSettings
from tests.security.test_asserted_peer import on_behalf, register
from tests.security.test_guard import Site, site_on

SECRET = "sixteen letters or more"
NEEDED = {
    ("POST", "/peers/CT1/echo"): "read",
    ("GET", "/peers/CT1/studies"): "read",
    ("GET", "/peers/CT1/studies/1.2/series"): "read",
    ("GET", "/peers/CT1/studies/1.2/series/1.3/instances"): "read",
    ("POST", "/peers/CT1/retrieve"): "write",
}


@pytest_asyncio.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with site_on(database_url, tmp_path, auth="token") as site:
        yield site


@pytest.mark.parametrize("scope", ["read", "write", "delete", "admin", "bridge"])
async def test_G26_scopes_of_remote_peers(site: Site, scope: str) -> None:
    token = await site.token(scope)
    for (method, path), needed in NEEDED.items():
        assert (await site.ask(method, path)).status_code == 401
        status = (await site.ask(method, path, token)).status_code
        assert status == (503 if scope == needed else 403), (method, path, status)


async def test_G27_no_peer_asks_another_peer_through_us(site: Site) -> None:
    await register(site)
    mighty = await site.token("bridge", "read", "write", "admin")
    for method, path in NEEDED:
        assert (await site.ask(method, path, mighty, headers=on_behalf())).status_code == 403


async def test_a_title_that_ends_like_a_resource_is_no_way_around_a_scope(site: Site) -> None:
    """`/peers/X/studies` is the search of X for everybody, never the registration of an AE title with a slash."""
    await register(site, "X%2Fstudies")
    reader = await site.token("read")
    assert (await site.ask("GET", "/peers/X%2Fstudies", reader)).status_code == 503
    assert (await site.ask("GET", "/peers/X%2Fother", reader)).status_code == 403


def test_a_secret_is_wanted_at_both_ends(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="remote_token"):
        BridgeSettings(dimse_remote="127.0.0.1:11181", remote_token="short")
    assert BridgeSettings(dimse_remote="127.0.0.1:11181", remote_token=SECRET).dimse_remote
    for token in ("", "short"):
        settings = Settings(data=tmp_path, remote_bridges=("http://127.0.0.1:1",), remote_token=token)
        with pytest.raises(CannotStart, match="FILEROOM_REMOTE_TOKEN"):
            create_app(settings, "postgresql://localhost/none")
    assert SECRET not in repr(Settings(data=tmp_path, remote_token=SECRET))
