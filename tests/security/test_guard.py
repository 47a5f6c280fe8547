"""Who may do what over HTTP: every route has a rule, tokens carry scopes, refusals tell nothing about what exists."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.blobs.local import LocalBlobStore
from app.catalog import tokens
from app.catalog.engine import Catalog
from app.errors import CannotStart, NotAuthenticated
from app.main import create_app
from app.security import identity
from app.security.guard import SMALL_BODY
from app.security.identity import PREFIX, digest_of, new_token, token_of
from app.security.policy import BRIDGE, PUBLIC, SCOPES, check_routes, rule_for
from app.settings import Settings
from tests.support.small_files import data_set, encode, path_of

VOLATILE = ("date", "x-request-id")


class Site:
    """An archive with authentication, in process, and a token of each scope."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, catalog: Catalog) -> None:
        self.app = app
        self.client = client
        self.catalog = catalog

    async def token(self, *scopes: str) -> str:
        """A new token."""
        token = new_token()
        assert await tokens.create(self.catalog, token[-12:], digest_of(token), scopes)
        return token

    async def ask(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        """One request."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client.request(method, path, headers=headers | options.pop("headers", {}), **options)


@asynccontextmanager
async def site_on(database_url: str, data: Path, **settings: Any) -> AsyncIterator[Site]:
    app = create_app(Settings(data=data, reserve_mib=0, **settings), database_url)
    catalog = Catalog(database_url, size=2)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://archive") as client:
            yield Site(app, client, catalog)
    await catalog.close()


@pytest_asyncio.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with site_on(database_url, tmp_path, auth="token") as site:
        yield site


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every (method, path) that the archive answers, with names filled in."""
    found = []
    for route in iter_route_contexts(app.routes):
        path = re.sub(r"{[^}]*}", "1", str(route.path))
        found += [(method, path) for method in route.methods or ()]
    return sorted(set(found))


def test_G26_every_route_has_a_rule(site: Site) -> None:
    found = routes(site.app)
    assert len(found) > 30
    assert [route for route in found if rule_for(*route) is None] == []
    assert {rule.scope for route in found if (rule := rule_for(*route))} <= {PUBLIC, *SCOPES}


def test_G26_a_route_without_a_rule_fails_start_up(site: Site) -> None:
    async def endpoint(request: object) -> None: ...

    site.app.add_route("/backdoor", endpoint, methods=["GET"])  # type: ignore[arg-type]
    with pytest.raises(CannotStart, match="no rule for GET /backdoor"):
        check_routes(iter_route_contexts(site.app.routes))


def test_G26_a_mount_fails_start_up(site: Site) -> None:
    site.app.mount("/files", FastAPI())
    with pytest.raises(CannotStart, match="/files"):
        check_routes(iter_route_contexts(site.app.routes))


async def test_G26_scopes_open_exactly_their_routes(site: Site) -> None:
    holders = {scope: await site.token(scope) for scope in SCOPES}
    for method, path in routes(site.app):
        rule = rule_for(method, path)
        assert rule is not None
        if rule.scope == PUBLIC:
            assert (await site.ask(method, path)).status_code != 401, (method, path)
            continue
        assert (await site.ask(method, path)).status_code == 401, (method, path)
        for scope, token in holders.items():
            status = (await site.ask(method, path, token)).status_code
            opened = scope == rule.scope or (scope == BRIDGE and rule.bridge)
            assert (status == 403) is not opened, (method, path, scope, status)
            assert status != 401


async def test_G26_unknown_paths_need_credentials_too(site: Site) -> None:
    token = await site.token("read")
    assert (await site.ask("GET", "/nothing")).status_code == 401
    assert (await site.ask("GET", "/nothing", token)).status_code == 404
    assert (await site.ask("PUT", "/dicom-web/studies", token)).status_code == 405


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", "Digest x", "Basic !!!", "Basic " + base64.b64encode(b"user").decode(), "Bearer frm_no"],
)
async def test_wrong_credentials_are_refused(site: Site, value: str) -> None:
    answer = await site.ask("GET", "/dicom-web/studies", headers={"Authorization": value})
    assert answer.status_code == 401
    challenges = answer.headers.get_list("WWW-Authenticate")
    assert [challenge.split()[0] for challenge in challenges] == ["Bearer", "Basic"]
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_basic_takes_the_token_as_password(site: Site) -> None:
    credentials = httpx.BasicAuth("anybody", await site.token("read"))
    assert (await site.client.get("/dicom-web/studies", auth=credentials)).status_code < 300


def test_two_authorization_headers_are_refused() -> None:
    with pytest.raises(NotAuthenticated):
        token_of([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")])


async def test_tokens_are_kept_as_hashes_and_are_hard_to_guess(site: Site) -> None:
    token = await site.token("read")
    kept = await site.catalog.fetch("SELECT * FROM token")
    assert token not in str([dict(row) for row in kept])
    assert token.startswith(PREFIX)
    assert len(token) >= len(PREFIX) + 43


async def test_G26_a_revoked_token_ends_within_seconds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert identity.CACHE_SECONDS < 5
    monkeypatch.setattr(identity, "CACHE_SECONDS", 0.2)
    token = await site.token("read")
    assert (await site.ask("GET", "/dicom-web/studies", token)).status_code < 300
    assert await tokens.revoke(site.catalog, token[-12:])
    await asyncio.sleep(0.25)
    assert (await site.ask("GET", "/dicom-web/studies", token)).status_code == 401


async def test_use_of_a_token_is_noted(site: Site) -> None:
    token = await site.token("read")
    await site.ask("GET", "/dicom-web/studies", token)
    (kept,) = await tokens.everyone(site.catalog)
    assert kept.last_used_at is not None


async def test_the_principal_is_known_to_what_follows(site: Site) -> None:
    token = await site.token("write", "delete")
    ds = data_set()
    dicom = {"Content-Type": "application/dicom"}
    assert (await site.ask("POST", "/dicom-web/studies", token, content=encode(ds), headers=dicom)).status_code == 200
    assert (await site.ask("DELETE", f"/dicom-web{path_of(ds)}", token)).status_code < 300
    assert await site.catalog.fetchval("SELECT principal FROM deletion") == token[-12:]


def seen(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [(name, value) for name, value in answer.headers.items() if name not in VOLATILE]
    return answer.status_code, headers, answer.content


async def test_G35_existence_is_not_leaked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, ds = await site.token("write"), data_set()
    dicom = {"Content-Type": "application/dicom"}
    assert (await site.ask("POST", "/dicom-web/studies", writer, content=encode(ds), headers=dicom)).status_code == 200
    absent = "/studies/1.2.3/series/4.5.6/instances/7.8.9"
    queries = itertools.count()
    take = Catalog._take

    async def counted(catalog: Catalog) -> Any:
        next(queries)
        return await take(catalog)

    monkeypatch.setattr(Catalog, "_take", counted)
    for method, token in itertools.product(("GET", "DELETE"), ("", writer)):
        answers = []
        for path in (path_of(ds), absent):
            before = next(queries)
            answers.append((seen(await site.ask(method, f"/dicom-web{path}", token)), next(queries) - before))
        assert answers[0] == answers[1]
        assert answers[0][0][0] == (403 if token else 401)


async def test_G31_bodies_are_short_but_at_store(site: Site) -> None:
    token = await site.token("write", "delete")
    path = "/dicom-web/deletions/1/undo"
    too_long = bytes(SMALL_BODY + 1)
    answer = await site.ask("POST", path, token, content=too_long)
    assert (answer.status_code, answer.json()["limit"]) == (413, "request")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(SMALL_BODY // 10)

    answer = await site.ask("POST", "/dicom-web/studies", token, content=chunks())
    assert answer.status_code == 409, "Store reads it, and says that zeros are no DICOM"


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "17179869185"])
async def test_G31_odd_announced_lengths_are_refused(site: Site, length: str) -> None:
    token = await site.token("write")
    answer = await site.ask("POST", "/dicom-web/studies", token, content=b"", headers={"Content-Length": length})
    assert answer.status_code in (400, 413)


async def test_compressed_bodies_are_refused(site: Site) -> None:
    token = await site.token("write")
    answer = await site.ask("POST", "/dicom-web/studies", token, content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


async def test_G13_database_down_is_503_not_401(tmp_path: Path) -> None:
    async with site_on("postgresql://postgres@127.0.0.1:1/none", tmp_path, auth="token") as site:
        answer = await site.ask("GET", "/dicom-web/studies", new_token())
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert (await site.ask("GET", "/healthz")).status_code == 200
        ready = await site.ask("GET", "/readyz")
        assert (ready.status_code, ready.json()["blobs"]) == (503, "ok")


async def test_G12_a_store_that_fails_to_write_is_not_ready(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await site.ask("GET", "/readyz")).status_code == 200
    monkeypatch.setattr(LocalBlobStore, "suspect", True)
    ready = await site.ask("GET", "/readyz")
    assert (ready.status_code, ready.json()["blobs"]) == (503, "writes failed lately")
    assert (await site.ask("GET", "/healthz")).status_code == 200
