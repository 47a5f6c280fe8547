"""Peers that are away, refuse, stay silent or answer nonsense, and what a web user is told."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.associate_pdus import AssociateRequest
from dimse_bridge.association.association import Association, Message
from dimse_bridge.association.commands import response
from dimse_bridge.association.endings import AssociationEnded
from dimse_bridge.association.negotiation import Acceptance, Caller, Rejection
from dimse_bridge.user.identifiers import encode_identifier, parse_key
from tests.dimse.remote.conftest import Site, read_events
from tests.support.archive import free_port

Answer = Callable[[Association, Message], Awaitable[None]]
_titles = itertools.count(1)
STUDY = "1.2.840.99.1"


@pytest.fixture
async def user(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site.archive.url, timeout=30) as client:
        yield client


@asynccontextmanager
async def peer(site: Site, answer: Answer, judge: Any = accept_all) -> AsyncIterator[str]:
    """A registered peer that answers requests so; its AE title."""

    async def serve(association: Association) -> None:
        while True:
            message = await association.receive()
            await message.drain()
            await answer(association, message)

    aet = f"BAD{next(_titles)}"
    async with await serve_associations("127.0.0.1", 0, judge, serve) as listener:
        await asyncio.to_thread(site.register, aet, listener.port)
        yield aet


def match(*keys: str, terms: str = "ISO_IR 192") -> Callable[[Message], bytes]:
    """A match with these keys, in the syntax of the request."""
    return lambda message: encode_identifier(
        [parse_key(key) for key in keys], "STUDY", message.context.transfer_syntax, terms
    )


def matches(*found: Callable[[Message], bytes], status: int = 0, comment: str = "") -> Answer:
    """Answers C-FIND with these matches."""

    async def answer(association: Association, message: Message) -> None:
        for one in found:
            await association.send(message.context, response(message.command, 0xFF00, has_data_set=True), one(message))
        await association.send(message.context, response(message.command, status, comment=comment))

    return answer


async def silence(association: Association, message: Message) -> None:
    await asyncio.sleep(60)


async def test_who_cannot_be_called(site: Site, user: httpx.AsyncClient) -> None:
    await asyncio.to_thread(site.register, "MUTE", None)
    await asyncio.to_thread(site.register, "AWAY", free_port())
    asked = (("POST", "echo", None), ("GET", "studies", None), ("POST", "retrieve", {"study": STUDY}))
    for method, resource, body in asked:
        for aet, status in (("NOBODY", 404), ("NO%5CTITLE", 404), ("MUTE", 409), ("AWAY", 502)):
            answer = await user.request(method, f"/peers/{aet}/{resource}", json=body)
            assert answer.status_code == status, (aet, resource, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status


async def test_rejected(site: Site, user: httpx.AsyncClient) -> None:
    async def judge(request: AssociateRequest, caller: Caller) -> Acceptance | Rejection:
        return Rejection(1, 1, 3, "we do not know you")

    async with peer(site, silence, judge) as aet:
        answer = await user.get(f"/peers/{aet}/studies")
        problem = answer.json()
        assert (answer.status_code, problem["result"], problem["source"], problem["reason"]) == (502, 1, 1, 3)


async def test_silent_before_and_after_the_association(site: Site, user: httpx.AsyncClient) -> None:
    async with peer(site, silence) as aet:
        for method, resource in (("POST", "echo"), ("GET", "studies")):
            assert (await user.request(method, f"/peers/{aet}/{resource}")).status_code == 504
    mute = await asyncio.start_server(lambda reader, writer: asyncio.sleep(30), "127.0.0.1", 0)
    async with mute:
        await asyncio.to_thread(site.register, "SILENT", mute.sockets[0].getsockname()[1])
        assert (await user.post("/peers/SILENT/echo")).status_code == 504


async def test_a_failure_and_its_comment_are_told(site: Site, user: httpx.AsyncClient) -> None:
    async with peer(site, matches(status=0xA700, comment="the disk\x07 is full")) as aet:
        answer = await user.get(f"/peers/{aet}/studies")
        problem = answer.json()
        assert (answer.status_code, problem["dimse_status"], problem["comment"]) == (502, "A700", "the disk  is full")


async def test_what_is_found_passes_on(site: Site, user: httpx.AsyncClient) -> None:
    found = [
        match(f"StudyInstanceUID={STUDY}.1", "PatientID=ANOTHER", "ModalitiesInStudy=CT\\MR", "PatientComments=x"),
        match(f"StudyInstanceUID={STUDY}.2", "ModalitiesInStudy=US"),
        match(
            f"StudyInstanceUID={STUDY}.3", "PatientName=Ж^Я", "NumberOfStudyRelatedInstances=many", terms="ISO_IR 144"
        ),
        match(f"StudyInstanceUID={STUDY}.4", "RequestAttributesSequence.RequestedProcedureID=7", "Rows=5"),
    ]
    async with peer(site, matches(*found)) as aet:
        answer = await user.get(f"/peers/{aet}/studies", params={"PatientID": "P", "ModalitiesInStudy": "MR"})
    first, second, third = answer.json()
    assert [one["0020000D"]["Value"] for one in (first, second, third)] == [[f"{STUDY}.{at}"] for at in (1, 3, 4)]
    assert first["00100020"]["Value"] == ["ANOTHER"]
    assert first["00104000"] == {"vr": "LT", "Value": ["x"]}
    assert second["00100010"]["Value"] == [{"Alphabetic": "Ж^Я"}]
    assert second["00201208"] == {"vr": "IS", "Value": ["many"]}
    assert third["00400275"]["Value"] == [{"00401001": {"vr": "SH", "Value": ["7"]}}]
    assert third["00280010"] == {"vr": "US", "Value": [5]}


NONSENSE = {
    "cut": b"\x08\0\x05\0CS\xff\xffISO",
    "no data set": bytes(range(256)),
    "deep": b"".join(struct.pack("<HHII", 0x40, 0x275, 0xFFFFFFFF, 0) for _ in range(500)),
}


@pytest.mark.parametrize("kind", NONSENSE)
async def test_nonsense_is_a_failure_and_never_a_short_success(site: Site, user: httpx.AsyncClient, kind: str) -> None:
    good = match(f"StudyInstanceUID={STUDY}")
    async with peer(site, matches(lambda message: NONSENSE[kind], good)) as aet:
        answer = await user.get(f"/peers/{aet}/studies")
        assert (answer.status_code, "cannot be read" in answer.json()["detail"]) == (502, True)
    async with peer(site, matches(good, lambda message: NONSENSE[kind])) as aet:
        with pytest.raises(httpx.RemoteProtocolError):
            await user.get(f"/peers/{aet}/studies")


async def test_a_peer_that_never_ends_is_left_at_the_limit(site: Site, user: httpx.AsyncClient) -> None:
    ended = asyncio.Event()
    good = match(f"StudyInstanceUID={STUDY}")

    async def answer(association: Association, message: Message) -> None:
        try:
            while True:
                head = response(message.command, 0xFF00, has_data_set=True)
                await association.send(message.context, head, good(message))
                await asyncio.sleep(0)
        except AssociationEnded:
            ended.set()
            raise

    async with peer(site, answer) as aet:
        found = await user.get(f"/peers/{aet}/studies", params={"limit": "7"})
        assert len(found.json()) == 7
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_retrieve_that_is_refused_at_once(site: Site, user: httpx.AsyncClient) -> None:
    async with peer(site, matches(status=0xA801, comment="who is that?")) as aet:
        answer = await user.post(f"/peers/{aet}/retrieve", json={"study": STUDY})
        assert (answer.status_code, answer.json()["dimse_status"]) == (502, "A801")
        assert answer.json()["comment"] == "who is that?"


async def test_progress_then_failure(site: Site, user: httpx.AsyncClient) -> None:
    for status, last in ((0xB000, "done"), (0xA702, "failed")):

        async def answer(association: Association, message: Message, status: int = status) -> None:
            context, command = message.context, message.command
            await association.send(context, response(command, 0xFF00, remaining=1, completed=1, failed=0, warning=0))
            encoded = encode_identifier([parse_key("FailedSOPInstanceUIDList=1.2.3")], "", context.transfer_syntax)
            final = response(command, status, completed=1, failed=1, warning=0, has_data_set=True)
            await association.send(context, final, encoded)

        async with peer(site, answer) as aet:
            text = (await user.post(f"/peers/{aet}/retrieve", json={"study": STUDY})).text
        (_, progress), (name, data) = read_events(text)
        assert (progress["status"], progress["completed"], progress["remaining"]) == ("FF00", 1, 1)
        assert name == last
        if last == "done":
            assert (data["status"], data["failed"], data["failed_uids"]) == ("B000", 1, ["1.2.3"])
        else:
            assert (data["status"], data["dimse_status"]) == (502, "A702")


async def test_who_goes_away_ends_the_association(site: Site, user: httpx.AsyncClient) -> None:
    ended = asyncio.Event()

    async def answer(association: Association, message: Message) -> None:
        await association.send(message.context, response(message.command, 0xFF00, remaining=9, completed=1))
        try:
            await association.receive()
        finally:
            ended.set()

    async with peer(site, answer) as aet:
        async with user.stream("POST", f"/peers/{aet}/retrieve", json={"study": STUDY}) as reply:
            assert "progress" in await anext(reply.aiter_text())
        async with asyncio.timeout(25):
            await ended.wait()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"study": 1}',
        '{"study": "x"}',
        '{"study": "1.2", "instances": ["1.3"]}',
        '{"study": "1", "to": "X"}',
    ],
)
async def test_wishes_that_make_no_sense(site: Site, user: httpx.AsyncClient, body: str) -> None:
    async with peer(site, silence) as aet:
        answer = await user.post(f"/peers/{aet}/retrieve", content=body)
        assert answer.status_code == 400


async def test_searches_that_make_no_sense(site: Site, user: httpx.AsyncClient) -> None:
    async with peer(site, matches()) as aet:
        for query in ("StudyDate=yesterday", "limit=-1", "includefield=Nothing", "SpecificCharacterSet=KLINGON"):
            assert (await user.get(f"/peers/{aet}/studies?{query}")).status_code == 400, query
        assert (await user.get(f"/peers/{aet}/studies/1.2.x/series")).status_code == 404
        xml = await user.get(f"/peers/{aet}/studies", headers={"accept": "application/dicom+xml"})
        assert xml.status_code == 406
