"""The HTTP client of the bridge before a server that misbehaves in every way: an error each time, never a hang, never a
success that was not given."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl

import orjson
import pytest

from app.archive.receipts import Receipt as ArchiveReceipt
from app.dicom.status import STATUSES, Outcome
from app.dicomweb import stow_answer
from app.errors import (
    ArchiveUnreachable,
    BadRequest,
    CannotStart,
    FileroomError,
    Forbidden,
    LimitExceeded,
    NotFound,
    Overloaded,
    StorageFull,
)
from dimse_bridge.archive_client.archive import ONE_STORED, Archive, Receipt
from dimse_bridge.archive_client.connection import WINDOW, Times
from dimse_bridge.archive_client.faults import ArchiveFailed
from tests.support.waiting import PATIENCE
from tests.unit.bridge.scripted_server import Exchange, Script, serving

JSON = "application/dicom+json"
SOON = Times(connect=1.0, answer=0.2, stall=0.2)
STORED = json.dumps(
    {
        "00081199": {
            "vr": "SQ",
            "Value": [{"00081150": {"vr": "UI", "Value": ["1.2"]}, "00081155": {"vr": "UI", "Value": ["1.2.3"]}}],
        }
    }
).encode()


async def store_well(exchange: Exchange) -> None:
    await exchange.body()
    await exchange.answer(200, JSON, STORED)


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


def answering(status: int, content_type: str, body: bytes, *more: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(status, content_type, body, *more)

    return script


async def test_one_connection_is_kept_for_many_requests() -> None:
    async with serving(store_well) as server:
        archive = Archive(server.root)
        for _ in range(5):
            assert await archive.store([b"file"]) == [Receipt(True, "1.2", "1.2.3")]
        assert await archive.store_stream(pieces(b"fi", b"le")) == [Receipt(True, "1.2", "1.2.3")]
        archive.close()
    assert server.connections == 1


async def test_a_fileroom_gets_a_file_as_it_is() -> None:
    bodies = []

    async def script(exchange: Exchange) -> None:
        bodies.append(await exchange.body())
        await exchange.answer(200, JSON, STORED)

    async with serving(script) as server:
        archive = Archive(server.root)
        await archive.store([b"fi", b"le"])
        await archive.store_stream(pieces(b"f", b"", b"ile"))
        archive.close()
    assert bodies == [b"file"] * 2
    assert all("\r\nContent-Type: application/dicom\r\n" in head for head in server.heads)


async def test_a_store_elsewhere_is_multipart_with_one_part_whole_or_streamed() -> None:
    bodies = []

    async def script(exchange: Exchange) -> None:
        boundary = exchange.header("Content-Type").partition("boundary=")[2].encode()
        bodies.append((await exchange.body()).replace(boundary, b"BOUNDARY"))
        await exchange.answer(200, JSON, STORED)

    async with serving(script) as server:
        archive = Archive(server.root, ours=False)
        await archive.store([b"fi", b"le"])
        await archive.store_stream(pieces(b"f", b"", b"ile"))
        archive.close()
    assert bodies == [b"--BOUNDARY\r\nContent-Type: application/dicom\r\n\r\nfile\r\n--BOUNDARY--\r\n"] * 2
    assert server.heads[0].startswith("POST /dicom-web/studies HTTP/1.1\r\n")
    assert 'multipart/related; type="application/dicom"; boundary=' in server.heads[0]


async def test_ours_is_told_who_asks_and_others_are_not() -> None:
    async with serving(store_well) as server:
        for ours in (True, False):
            archive = Archive(server.root, "secret", ours=ours)
            await archive.on_behalf(calling="CT 1\xe9", called="FILEROOM", association="a1").store([b"file"])
            archive.close()
    told, not_told = server.heads
    assert (
        "\r\nFileroom-Calling-AE: CT%201%C3%A9\r\nFileroom-Called-AE: FILEROOM\r\nFileroom-Association: a1\r\n" in told
    )
    assert "Fileroom-" not in not_told
    assert all("\r\nAuthorization: Bearer secret\r\n" in head for head in server.heads)


async def test_a_small_store_is_sent_once_more_when_an_idle_connection_was_closed_under_us() -> None:
    bodies = []

    async def script(exchange: Exchange) -> None:
        bodies.append(await exchange.body())
        if exchange.number == 2:
            exchange.writer.close()
            return
        await exchange.answer(200, JSON, STORED)

    async with serving(script) as server:
        archive = Archive(server.root)
        await archive.store([b"one"])
        assert (await archive.store([b"two"]))[0].stored
        archive.close()
    assert bodies[1] == bodies[2] != bodies[0]
    assert server.connections == 2


async def test_a_stream_is_never_sent_twice() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.body()
        if exchange.number == 2:
            exchange.writer.close()
            return
        await exchange.answer(200, JSON, STORED)

    async with serving(script) as server:
        archive = Archive(server.root)
        await archive.store([b"one"])
        with pytest.raises(ArchiveUnreachable):
            await archive.store_stream(pieces(b"two"))
        archive.close()
    assert len(server.heads) == 2


async def test_what_a_new_connection_did_not_answer_is_not_sent_again() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.body()
        exchange.writer.close()

    async with serving(script) as server:
        archive = Archive(server.root)
        with pytest.raises(ArchiveUnreachable):
            await archive.store([b"one"])
        archive.close()
    assert len(server.heads) == 1


async def test_what_was_half_answered_is_not_sent_again() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.body()
        if exchange.number == 2:
            exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            exchange.writer.close()
            return
        await exchange.answer(200, JSON, STORED)

    async with serving(script) as server:
        archive = Archive(server.root)
        await archive.store([b"one"])
        with pytest.raises(ArchiveUnreachable):
            await archive.store([b"two"])
        archive.close()
    assert len(server.heads) == 2


async def test_nobody_there_is_an_error_at_once() -> None:
    async with serving(store_well) as server:
        pass
    with pytest.raises(ArchiveUnreachable):
        await Archive(server.root).store([b"file"])


async def _silent(exchange: Exchange) -> None:
    await asyncio.sleep(60)


async def _half_a_head(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\n")
    await asyncio.sleep(60)


async def _half_a_body(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 100\r\n\r\n{")
    await asyncio.sleep(60)


@pytest.mark.parametrize("script", [_silent, _half_a_head, _half_a_body])
async def test_silence_ends_in_an_error(script: Script) -> None:
    async with serving(script) as server:
        archive = Archive(server.root, times=SOON)
        with pytest.raises(ArchiveUnreachable, match="in time"):
            await archive.store([b"file"])
        with pytest.raises(ArchiveUnreachable, match="in time"):
            async for _ in archive.search("/studies"):
                pass
        archive.close()


async def test_a_server_that_takes_no_more_of_a_body_ends_in_an_error_and_nothing_piles_up() -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(64 * 1024)

    async with serving(_silent) as server:
        archive = Archive(server.root, times=SOON)
        with pytest.raises(ArchiveUnreachable, match="in time"):
            await archive.store_stream(endless())
        archive.close()
    assert given * 64 * 1024 < 16 * 1024 * 1024  # what sockets hold, and our window


@pytest.mark.parametrize(
    "answer",
    [
        b"220 ready\r\n\r\n",
        b"\x00\xff" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 3\r\n\r\n{]}",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 16\r\n\r\n{"00081199":"x"}',
        b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
async def test_nonsense_is_no_success(answer: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.body()
        exchange.writer.write(answer)
        exchange.writer.close()

    async with serving(script) as server:
        archive = Archive(server.root, times=SOON)
        with pytest.raises(ArchiveUnreachable):
            await archive.store([b"file"])
        archive.close()


STORED_OR_NOT = [Outcome.STORED, Outcome.STORED_COERCED, Outcome.STORED_WITH_WARNING, Outcome.CONFLICT]


@pytest.mark.parametrize("outcome", STORED_OR_NOT)
async def test_what_our_archive_says_is_the_same_read_at_a_glance_or_parsed(outcome: Outcome) -> None:
    theirs = ArchiveReceipt(outcome, "1.2.840.1", "1.2.3", "1.2", "1.2.2")
    said = stow_answer.data_set([theirs], "http://archive:80/dicom-web", None)
    at_a_glance, parsed = orjson.dumps(said), orjson.dumps(said, option=orjson.OPT_INDENT_2)
    found = []
    for body in (at_a_glance, parsed):
        async with serving(answering(200, JSON, body)) as server:
            archive = Archive(server.root)
            found += await archive.store((b"file",))
            archive.close()
    assert found == [Receipt(theirs.stored, "1.2.840.1", "1.2.3", STATUSES[outcome].reason or 0)] * 2
    assert (ONE_STORED.fullmatch(at_a_glance) is not None) == (outcome is Outcome.STORED)


async def test_a_store_without_receipts_has_none() -> None:
    async with serving(answering(200, JSON, b"{}")) as server:
        archive = Archive(server.root)
        assert await archive.store([b"file"]) == []
        archive.close()


async def test_failures_are_told_with_reason_and_comment() -> None:
    failed = {
        "00081155": {"vr": "UI", "Value": ["1.2.3"]},
        "00081197": {"vr": "US", "Value": [0xA700]},
        "00000902": {"vr": "LO", "Value": ["full"]},
    }
    body = json.dumps({"00081198": {"vr": "SQ", "Value": [failed]}}).encode()
    async with serving(answering(507, JSON, body)) as server:
        archive = Archive(server.root)
        assert await archive.store([b"file"]) == [Receipt(False, "", "1.2.3", 0xA700, "full")]
        archive.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (403, Forbidden),
        (404, NotFound),
        (413, LimitExceeded),
        (429, Overloaded),
        (500, ArchiveFailed),
        (503, Overloaded),
        (504, ArchiveUnreachable),
        (507, StorageFull),
        (418, ArchiveFailed),
    ],
)
async def test_a_status_is_an_error_with_the_detail_of_the_problem(status: int, error: type[FileroomError]) -> None:
    problem = json.dumps({"title": "x", "detail": "why", "limit": "part"}).encode()
    script = answering(status, "application/problem+json", problem, "Retry-After: 7")
    async with serving(script) as server:
        archive = Archive(server.root)
        with pytest.raises(error) as raised:
            await archive.store([b"file"])
        assert raised.value.detail == "why"
        if error is Overloaded:
            assert raised.value.extra == {"retry_after": 7}
        archive.close()


async def test_what_is_no_problem_document_is_not_passed_on() -> None:
    async with serving(answering(400, "text/plain", b"Doe^John has no such file")) as server:
        archive = Archive(server.root)
        with pytest.raises(BadRequest) as raised:
            await archive.store([b"file"])
        assert raised.value.detail == "the archive answered 400"
        archive.close()


async def test_a_body_that_breaks_off_reaches_the_server_without_its_end() -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(exchange: Exchange) -> None:
        try:
            got.set_result(await exchange.reader.read(-1))
        except ConnectionError:
            got.set_result(b"")

    async def breaking() -> AsyncIterator[bytes]:
        yield b"half a file"
        raise ValueError("the modality aborted")

    async with serving(script) as server:
        archive = Archive(server.root)
        with pytest.raises(ValueError, match="aborted"):
            await archive.store_stream(breaking())
        seen = await got
        archive.close()
    assert b"--\r\n" not in seen
    assert not seen.endswith(b"0\r\n\r\n")


async def test_an_early_refusal_ends_the_sending() -> None:
    given = 0

    async def slow() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(1000):
            given += 1
            yield bytes(1000)
            await asyncio.sleep(0.001)

    async def script(exchange: Exchange) -> None:
        await exchange.reader.read(10)
        await exchange.answer(413, "application/problem+json", b'{"limit":"part","detail":"too long"}')

    async with serving(script) as server:
        archive = Archive(server.root)
        with pytest.raises(LimitExceeded):
            await archive.store_stream(slow())
        archive.close()
    assert given < 1000


async def test_a_reader_that_stops_holds_the_server_back() -> None:
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n\r\n")
        while True:
            exchange.writer.write(bytes(64 * 1024))
            sent += 64 * 1024
            await exchange.writer.drain()

    async with serving(script) as server:
        archive = Archive(server.root)
        parts = archive.retrieve("/studies/1", "application/dicom")
        async for part in parts:
            first = await anext(part.chunks())
            assert len(first) <= 2 * WINDOW
            before = -1
            async with asyncio.timeout(PATIENCE):
                while sent != before:
                    before = sent
                    await asyncio.sleep(0.2)
            break
        await parts.aclose()
        archive.close()


async def test_pages_are_followed_by_their_links() -> None:
    async def script(exchange: Exchange) -> None:
        query = exchange.head.partition("?")[2].partition(" ")[0]
        if "cursor=x%2By" in query:
            await exchange.answer(200, JSON, b'[{"a":3}]')
        else:
            link = 'Link: <https://elsewhere/other/studies?limit=2&cursor=x%2By>; rel="next"'
            await exchange.answer(200, JSON, b'[{"a":1},{"a":2}]', link)

    async with serving(script) as server:
        archive = Archive(server.root)
        pages = [page async for page in archive.search("/studies", [("PatientName", "O'Neill^\xe9 & *")], page=2)]
        assert [len(page) async for page in archive.search("/studies", page=2, most=1)] == [1]
        archive.close()
    assert pages == [[{"a": 1}, {"a": 2}], [{"a": 3}]]
    target = server.heads[0].partition(" ")[2].partition(" ")[0]
    assert target.startswith("/dicom-web/studies?")
    assert parse_qsl(target.partition("?")[2]) == [("PatientName", "O'Neill^\xe9 & *"), ("limit", "2")]
    assert server.heads[1].startswith("GET /dicom-web/studies?limit=2&cursor=x%2By HTTP/1.1")


async def test_servers_without_links_are_paged_by_offset() -> None:
    async def script(exchange: Exchange) -> None:
        query = exchange.head.partition("?")[2].partition(" ")[0]
        offset = int(query.partition("offset=")[2] or 0)
        results = [{"a": n} for n in range(offset, min(offset + 2, 5))]
        await (exchange.answer(200, JSON, json.dumps(results).encode()) if results else exchange.answer(204, JSON, b""))

    async with serving(script) as server:
        archive = Archive(server.root, ours=False)
        pages = [page async for page in archive.search("/studies", page=2)]
        archive.close()
    assert [result["a"] for page in pages for result in page] == [0, 1, 2, 3, 4]


async def test_a_server_that_knows_no_offset_is_found_out() -> None:
    async with serving(answering(200, JSON, b'[{"a":1},{"a":2}]')) as server:
        archive = Archive(server.root, ours=False)
        with pytest.raises(ArchiveUnreachable, match="same page"):
            async for _ in archive.search("/studies", page=2):
                pass
        archive.close()


async def test_a_page_that_fails_is_not_the_end() -> None:
    async def script(exchange: Exchange) -> None:
        if "cursor" in exchange.head:
            await exchange.answer(503, "text/plain", b"")
        else:
            await exchange.answer(200, JSON, b'[{"a":1}]', 'Link: <x?cursor=1>; rel="next"')

    async with serving(script) as server:
        archive = Archive(server.root)
        with pytest.raises(Overloaded):
            async for _ in archive.search("/studies"):
                pass
        archive.close()


async def test_a_document_is_read_again_only_when_it_changed() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.header("If-None-Match") == '"1"':
            await exchange.answer(304, "application/json", b"", 'ETag: "1"')
        else:
            await exchange.answer(200, "application/json", b'{"peers":[]}', 'ETag: "1"')

    async with serving(script) as server:
        archive = Archive(server.root)
        assert await archive.get_changed("/peers", "") == ('"1"', {"peers": []})
        assert await archive.get_changed("/peers", '"1"') is None
        assert await archive.get_json("/peers") == {"peers": []}
        archive.close()


@pytest.mark.parametrize("root", ["ftp://host/dicom-web", "host:80", "/dicom-web"])
def test_an_address_that_is_none_is_told_at_start(root: str) -> None:
    with pytest.raises(CannotStart):
        Archive(root)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 and its key, signed by itself."""
    path = tmp_path / "server.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost".split()
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(tmp_path / "own.pem")]
    subprocess.run(command, check=True, capture_output=True)
    with path.open("ab") as file:
        file.write((tmp_path / "own.pem").read_bytes())
    return path


async def test_https_to_a_server_that_is_trusted_and_to_none_else(certificate: Path) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    async with serving(store_well, theirs) as server:
        trusting = Archive(server.root, tls=ssl.create_default_context(cafile=str(certificate)))
        assert (await trusting.store([bytes(100_000)]))[0].stored
        assert (await trusting.store_stream(pieces(b"fi", b"le")))[0].stored
        trusting.close()
        with pytest.raises(ArchiveUnreachable):
            await Archive(server.root).store([b"file"])
        await asyncio.sleep(0.05)
    assert len(server.heads) == 2
