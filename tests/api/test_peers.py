"""The registry of DIMSE peers: read, written, deleted; what is wrong in a description is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from app.dicom.peer import PRESETS, SERVICES
from app.main import create_app
from app.settings import Settings
from tests.support.database import DatabaseServer


@pytest_asyncio.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(data=tmp_path, reserve_mib=0), database_url)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://archive") as client:
            yield client


async def test_a_peer_is_registered_changed_and_forgotten(client: httpx.AsyncClient) -> None:
    assert (await client.put("/peers/CT1", json={"host": "127.0.0.1", "port": 11113})).status_code == 201
    kept = (await client.get("/peers/CT1")).json()
    assert (kept["host"], kept["port"], kept["may"]) == ("127.0.0.1", 11113, list(SERVICES))
    assert kept["behaviour"] == {"preset": "standard"}
    assert (await client.put("/peers/CT1", json={"host": "::1", "may": ["store"]})).status_code == 204
    kept = (await client.get("/peers/CT1")).json()
    assert (kept["host"], kept["port"], kept["may"]) == ("::1", 104, ["store"])
    assert (await client.delete("/peers/CT1")).status_code == 204
    assert (await client.delete("/peers/CT1")).status_code == 404
    assert (await client.get("/peers/CT1")).status_code == 404


async def test_all_are_listed_with_what_happens_to_others(client: httpx.AsyncClient) -> None:
    assert (await client.get("/peers")).json() == {"unknown": "admit", "peers": {}}
    for aet in ("B", "A"):
        await client.put(f"/peers/{aet}", json={"behaviour": "onepacs"})
    listed = (await client.get("/peers")).json()
    assert list(listed["peers"]) == ["A", "B"]
    assert listed["peers"]["A"] == (await client.get("/peers/A")).json()


@pytest.mark.parametrize("settings", [{"auth": "token"}, {"unknown_peers": "reject"}])
async def test_others_are_rejected_when_access_is_limited(
    database_url: str, tmp_path: Path, settings: dict[str, Any]
) -> None:
    assert not Settings(data=tmp_path, **settings).admits_unknown_peers
    assert Settings(data=tmp_path, **settings | {"unknown_peers": "admit"}).admits_unknown_peers


async def test_what_is_known_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/peers")
    known = {"If-None-Match": first.headers["ETag"]}
    assert (await client.get("/peers", headers=known)).status_code == 304
    await client.put("/peers/CT1", json={})
    again = await client.get("/peers", headers=known)
    assert (again.status_code, list(again.json()["peers"])) == (200, ["CT1"])


@pytest.mark.parametrize("aet", ["CT 1", "CT/1", "ÄE"[1:], "'; DROP", "%5B", "x" * 16, "*"])
async def test_odd_titles_that_the_standard_allows(client: httpx.AsyncClient, aet: str) -> None:
    path = f"/peers/{quote(aet, safe='')}"
    assert (await client.put(path, json={"port": 4})).status_code == 201
    assert (await client.get(path)).json()["port"] == 4
    assert list((await client.get("/peers")).json()["peers"]) == [aet]
    assert (await client.delete(path)).status_code == 204


@pytest.mark.parametrize("aet", ["x" * 17, "a\\b", " ", "Ä", "a\tb", "a\0b"])
async def test_what_is_no_ae_title_is_refused(client: httpx.AsyncClient, aet: str) -> None:
    answer = await client.put(f"/peers/{quote(aet, safe='')}", json={})
    assert (answer.status_code, answer.json()["member"]) == (400, "aet")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("host", "two words"),
        ("host", 5),
        ("host", "a" * 300),
        ("port", 0),
        ("port", 65536),
        ("port", True),
        ("port", "104"),
        ("tls", "yes"),
        ("certificate", "abc"),
        ("certificate", "ab" * 32),
        ("character_set", "LATIN"),
        ("called", "FILEROOM"),
        ("called", ["a\\b"]),
        ("may", ["store", "everything"]),
        ("may", None),
        ("may", ["store"] * 65),
        ("addresses", ["host.example"]),
        ("addresses", ["10.0.0.0/33"]),
        ("aet", "CT2"),
        ("colour", "red"),
        ("behaviour", []),
        ("behaviour.preset", {"preset": "pacs"}),
        ("behaviour.preset", {"preset": ["onepacs"]}),
        ("behaviour.query_levels", {"query_levels": ["STUDIES"]}),
        ("behaviour.transfer_syntaxes", {"transfer_syntaxes": ["1.2.x"]}),
        ("behaviour.transfer_syntax_choice", {"transfer_syntax_choice": "last"}),
        ("behaviour.duplicate_policy", {"duplicate_policy": {}}),
        ("behaviour.store_out_of_resources", {"store_out_of_resources": 0}),
        ("behaviour.find_failure", {"find_failure": False}),
        ("behaviour.find_failure", {"find_failure": 0xA700}),
        ("behaviour.attempts", {"attempts": 0}),
        ("behaviour.colour", {"colour": "red"}),
        ("behaviour.find_cancel", {"find_cancel": 1}),
    ],
)
async def test_the_member_that_is_wrong_is_named(client: httpx.AsyncClient, member: str, value: object) -> None:
    answer = await client.put("/peers/CT1", json={member.partition(".")[0]: value})
    assert (answer.status_code, answer.json()["member"]) == (400, member)
    assert (await client.get("/peers")).json()["peers"] == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"CT1"', b"null", b"\xff", b"[" * 100_000])
async def test_what_is_no_description_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.put("/peers/CT1", content=body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("preset", PRESETS)
async def test_what_was_read_can_be_written(client: httpx.AsyncClient, preset: str) -> None:
    given = {
        "host": "ct.example",
        "port": 11113,
        "tls": True,
        "certificate": "AB:" * 31 + "AB",
        "character_set": "ISO_IR 100",
        "called": ["FILEROOM "],
        "may": ["find", "echo"],
        "addresses": ["10.0.0.7", "fd00::/8"],
        "behaviour": {"preset": preset, "attempts": 7, "query_levels": ["STUDY", "SERIES"], "find_failure": 0xC002},
    }
    assert (await client.put("/peers/CT1", json=given)).status_code == 201
    read = (await client.get("/peers/CT1")).json()
    assert (read["certificate"], read["called"], read["may"]) == ("ab" * 32, ["FILEROOM"], ["echo", "find"])
    assert read["behaviour"]["attempts"] == 7
    assert (await client.put("/peers/CT1", json={"aet": "CT1", **read})).status_code == 204
    assert (await client.get("/peers/CT1")).json() == read


async def test_the_registry_outlives_the_process(
    client: httpx.AsyncClient, database_url: str, database_server: DatabaseServer, tmp_path: Path
) -> None:
    await client.put("/peers/CT1", json={"port": 5})
    app = create_app(Settings(data=tmp_path), database_url)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://archive") as other:
        assert (await other.get("/peers/CT1")).json()["port"] == 5
    await app.state.context.catalog.close()
