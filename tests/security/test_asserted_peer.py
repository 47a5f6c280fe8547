"""A bridge asks as itself on behalf of a peer: what the peer may is looked up in the archive, and bounds it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.dicom.peer import SERVICES
from app.security import asserted
from app.security.policy import PEER_RULES
from tests.security.test_guard import Site, routes, site_on
from tests.support.small_files import data_set, encode, path_of

LONGEST_BELIEF = asserted.CACHE_SECONDS
DICOM = {"Content-Type": "application/dicom"}


def on_behalf(calling: str = "CT1", called: str = "FILEROOM", association: str = "a-1") -> dict[str, str]:
    return {
        "Fileroom-Calling-AE": calling,
        "Fileroom-Called-AE": called,
        "Fileroom-Association": association,
    }


@pytest_asyncio.fixture
async def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(asserted, "CACHE_SECONDS", 0.0)
    async with site_on(database_url, tmp_path, auth="token") as site:
        yield site


async def register(site: Site, aet: str = "CT1", **members: object) -> None:
    answer = await site.ask("PUT", f"/peers/{aet}", await site.token("admin"), json=members)
    assert answer.status_code in (201, 204), answer.text


ACTS = {
    "store": ("POST", "/dicom-web/studies", {"store"}),
    "store in a study": ("POST", "/dicom-web/studies/1.2", {"store"}),
    "search studies": ("GET", "/dicom-web/studies", {"find", "get", "move"}),
    "search patients": ("GET", "/dicom-web/patients", {"find", "get", "move"}),
    "search series": ("GET", "/dicom-web/studies/1.2/series", {"find", "get", "move"}),
    "search instances": ("GET", "/dicom-web/studies/1.2/series/1.3/instances", {"find", "get", "move"}),
    "retrieve a study": ("GET", "/dicom-web/studies/1.2", {"get", "move"}),
    "retrieve a series": ("GET", "/dicom-web/studies/1.2/series/1.3", {"get", "move"}),
    "retrieve an instance": ("GET", "/dicom-web/studies/1.2/series/1.3/instances/1.4", {"get", "move"}),
    "retrieve metadata": ("GET", "/dicom-web/studies/1.2/metadata", {"get", "move"}),
    "retrieve frames": ("GET", "/dicom-web/studies/1.2/series/1.3/instances/1.4/frames/1", {"get", "move"}),
}


@pytest.mark.parametrize("service", SERVICES)
async def test_G27_a_peer_gets_what_it_may_and_nothing_else(site: Site, service: str) -> None:
    await register(site, may=[service])
    bridge = await site.token("bridge")
    for name, (method, path, needed) in ACTS.items():
        answer = await site.ask(method, path, bridge, headers=on_behalf() | DICOM)
        assert (answer.status_code == 403) is (service not in needed), (name, answer.status_code)
        assert answer.status_code != 401


async def test_G27_the_rights_of_the_bridge_never_widen_those_of_the_peer(site: Site) -> None:
    """Whatever the token could do by itself: for a peer it is no more than the peer may."""
    await register(site, may=["echo"])
    mighty = await site.token("bridge", "read", "write", "delete", "admin")
    for method, path in routes(site.app):
        if path in ("/healthz", "/readyz", "/docs", "/openapi.json") or path.startswith("/viewer"):
            continue
        answer = await site.ask(method, path, mighty, headers=on_behalf())
        assert answer.status_code == 403, (method, path, answer.status_code)


async def test_G27_a_peer_with_every_right_neither_deletes_nor_administers(site: Site) -> None:
    await register(site)
    mighty = await site.token("bridge", "read", "write", "delete", "admin")
    for method, path in (("DELETE", "/dicom-web/studies/1.2"), ("GET", "/peers"), ("PUT", "/peers/CT1")):
        assert (await site.ask(method, path, mighty, headers=on_behalf(), json={})).status_code == 403
        assert (await site.ask(method, path, mighty, json={})).status_code != 403


async def test_G27_only_a_bridge_may_assert(site: Site) -> None:
    await register(site)
    for scopes in (("read",), ("write",), ("read", "write", "delete", "admin")):
        token = await site.token(*scopes)
        assert (await site.ask("GET", "/dicom-web/studies", token, headers=on_behalf())).status_code == 403
    assert (await site.ask("GET", "/dicom-web/studies", headers=on_behalf())).status_code == 401


async def test_G27_a_bridge_by_itself_reads_the_peers_only(site: Site) -> None:
    await register(site)
    bridge = await site.token("bridge")
    assert list((await site.ask("GET", "/peers", bridge)).json()["peers"]) == ["CT1"]
    for method, path, _ in ACTS.values():
        assert (await site.ask(method, path, bridge)).status_code == 403
    assert (await site.ask("PUT", "/peers/CT2", bridge, json={})).status_code == 403
    assert (await site.ask("DELETE", "/peers/CT1", bridge)).status_code == 403


async def test_G26_an_unknown_peer_is_denied_unless_those_are_admitted(database_url: str, tmp_path: Path) -> None:
    for auth, unknown, status in (("token", "auto", 403), ("token", "admit", 204), ("none", "auto", 204)):
        async with site_on(database_url, tmp_path, auth=auth, unknown_peers=unknown) as site:
            token = await site.token("bridge") if auth == "token" else ""
            answer = await site.ask("GET", "/dicom-web/studies", token, headers=on_behalf("NOBODY"))
            assert answer.status_code in (status, 200 if status == 204 else status), (auth, unknown)
    async with site_on(database_url, tmp_path, unknown_peers="reject") as site:
        assert (await site.ask("GET", "/dicom-web/studies", headers=on_behalf("NOBODY"))).status_code == 403


async def test_G27_a_peer_may_call_only_the_ae_titles_it_was_given(site: Site) -> None:
    await register(site, called=["FIRST"])
    bridge = await site.token("bridge")
    for called, denied in (("FIRST", False), ("SECOND", True)):
        answer = await site.ask("GET", "/dicom-web/studies", bridge, headers=on_behalf(called=called))
        assert (answer.status_code == 403) is denied


async def test_titles_are_percent_encoded(site: Site) -> None:
    await register(site, "CT%201%2F2")
    bridge = await site.token("bridge")
    assert (await site.ask("GET", "/dicom-web/studies", bridge, headers=on_behalf("CT%201%2F2"))).status_code < 300
    assert (await site.ask("GET", "/dicom-web/studies", bridge, headers=on_behalf("CT 1/2"))).status_code < 300


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Fileroom-Calling-AE", ""),
        ("Fileroom-Calling-AE", "x" * 17),
        ("Fileroom-Calling-AE", "a%5Cb"),
        ("Fileroom-Called-AE", "%00"),
        ("Fileroom-Association", ""),
        ("Fileroom-Association", "a b"),
        ("Fileroom-Association", "x" * 65),
    ],
)
async def test_malformed_assertions_are_refused(site: Site, name: str, value: str) -> None:
    await register(site)
    bridge = await site.token("bridge", "read")
    answer = await site.ask("GET", "/dicom-web/studies", bridge, headers=on_behalf() | {name: value})
    assert answer.status_code == 400


async def test_half_or_double_assertions_are_refused(site: Site) -> None:
    await register(site)
    bridge = await site.token("bridge", "read")
    for left_out in on_behalf():
        headers = {name: value for name, value in on_behalf().items() if name != left_out}
        assert (await site.ask("GET", "/dicom-web/studies", bridge, headers=headers)).status_code == 400
    twice = [*on_behalf().items(), ("fileroom-calling-ae", "CT2"), ("Authorization", f"Bearer {bridge}")]
    assert (await site.client.get("/dicom-web/studies", headers=twice)).status_code == 400


async def test_G27_changes_count_within_a_second(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LONGEST_BELIEF <= 1
    monkeypatch.setattr(asserted, "CACHE_SECONDS", 0.2)
    await register(site, may=["find"])
    bridge = await site.token("bridge")
    assert (await site.ask("GET", "/dicom-web/studies", bridge, headers=on_behalf())).status_code < 300
    await register(site, may=["store"])
    await asyncio.sleep(0.25)
    assert (await site.ask("GET", "/dicom-web/studies", bridge, headers=on_behalf())).status_code == 403


async def test_the_peers_policy_decides_about_other_content(site: Site) -> None:
    bridge = await site.token("bridge")
    for aet, policy in (("OLD", "reject"), ("ODD", "keep"), ("NEW", "replace")):
        await register(site, aet, behaviour={"duplicate_policy": policy})
    ds = data_set(PatientName="First")

    async def store(aet: str, name: str) -> httpx.Response:
        ds.PatientName = name
        headers = on_behalf(aet) | DICOM
        return await site.ask("POST", "/dicom-web/studies", bridge, content=encode(ds), headers=headers)

    async def name() -> str:
        answer = await site.ask("GET", f"/dicom-web{path_of(ds)}/metadata", bridge, headers=on_behalf("NEW"))
        value: str = answer.json()[0]["00100010"]["Value"][0]["Alphabetic"]
        return value

    assert (await store("NEW", "First")).status_code == 200
    refused = await store("OLD", "Second")
    assert (refused.status_code, await name()) == (409, "First")
    assert ((await store("ODD", "Third")).status_code, await name()) == (200, "First")
    assert ((await store("NEW", "Fourth")).status_code, await name()) == (200, "Fourth")
    kinds = await site.catalog.fetch("SELECT kind FROM conflict ORDER BY id")
    assert [row["kind"] for row in kinds if row["kind"] != "demographics"] == ["rejected", "kept", "replaced"]


async def test_the_association_stands_in_the_log_of_its_work(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await register(site)
    bridge = await site.token("bridge")
    with caplog.at_level(logging.DEBUG, "fileroom.http"):
        await site.ask("GET", "/dicom-web/studies", bridge, headers=on_behalf(association="b7f-12"))
    fields = [getattr(record, "fields", {}) for record in caplog.records if record.name == "fileroom.http"]
    assert (fields[-1]["association"], fields[-1]["peer"]) == ("b7f-12", "CT1")


def test_every_act_of_a_bridge_stands_in_the_table_of_rules() -> None:
    for method, path, needed in ACTS.values():
        rows = [services for methods, pattern, services in PEER_RULES if method in methods and pattern.fullmatch(path)]
        assert rows[0] == needed, (method, path)
