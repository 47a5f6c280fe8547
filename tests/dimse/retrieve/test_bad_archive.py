"""C-MOVE before an archive that breaks off, changes under us, or gives something else than was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_MOVE
from dimse_bridge.association.commands import move_rq
from dimse_bridge.user.identifiers import parse_key
from dimse_bridge.user.remote import Retrieved
from tests.dimse.retrieve.conftest import open_bridge
from tests.dimse.retrieve.scripted import Destination, destination
from tests.dimse.retrieve.test_dcmtk import study_of
from tests.dimse.retrieve.test_statuses import SC, ask
from tests.support.samples import Sample
from tests.unit.bridge.scripted_server import Exchange, serving

JSON = "application/dicom+json"
PARTS = 'multipart/related; type="application/dicom"; boundary=B'
LARGE = 40_000
"""Rows of an instance of 2.5 MB."""


@dataclass
class Script:
    """An archive of one study; `study` answers for all of it."""

    samples: list[Sample]
    study: Callable[[bytes], bytes] = lambda body: body
    single: Callable[[bytes], bytes] = lambda body: body
    extra: list[Sample] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        path = exchange.head.split(" ")[1].partition("?")[0]
        self.asked.append(path.partition("/dicom-web")[2])
        if path.endswith("/instances"):
            await exchange.answer(200, JSON, json.dumps([self.result(one) for one in self.samples]).encode())
        elif "/instances/" in path:
            chosen = [one for one in self.samples if path.endswith(one.sop)]
            await self.send(exchange, chosen, self.single)
        else:
            await self.send(exchange, [*self.extra, *self.samples], self.study)

    async def send(self, exchange: Exchange, samples: list[Sample], change: Callable[[bytes], bytes]) -> None:
        head = b"\r\n--B\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + one.encode() for one in samples) + b"\r\n--B--\r\n"
        sent = change(body)
        if not sent:
            await exchange.answer(404, "application/json", b"{}")
            return
        exchange.writer.write(
            f"HTTP/1.1 200 X\r\nContent-Type: {PARTS}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        exchange.writer.write(sent)
        await exchange.writer.drain()
        if len(sent) < len(body):
            exchange.writer.close()

    @staticmethod
    def result(one: Sample) -> dict[str, object]:
        uids = {"0020000D": one.study, "0020000E": one.series, "00080018": one.sop, "00080016": SC}
        return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}


async def moved(script: Script) -> tuple[Retrieved, Destination]:
    async with serving(script) as server, open_bridge(server.root) as bridge, destination() as there:
        bridge.peers["DEST"] = there.peer
        keys = [parse_key(f"StudyInstanceUID={script.samples[0].study}")]
        return (await ask(bridge, move_rq(7, STUDY_ROOT_MOVE, "DEST"), keys))[-1], there


async def test_a_study_comes_in_one_answer() -> None:
    script = Script(study_of(2, 5))
    last, _ = await moved(script)
    assert (last.status, last.completed) == (0, 10)
    assert script.asked == [f"/studies/{script.samples[0].study}/instances", f"/studies/{script.samples[0].study}"]


@pytest.mark.parametrize("cut", [1, 300, 4000, 7000, 9500])
async def test_what_broke_off_is_asked_for_again(cut: int) -> None:
    script = Script(study_of(1, 4), study=lambda body: body[:cut])
    last, there = await moved(script)
    assert (last.status, last.completed) == (0, 4)
    assert all(one.encode().endswith(there.received[one.sop][1]) for one in script.samples)


async def test_one_that_cannot_be_had_fails_alone() -> None:
    samples = study_of(1, 4)
    bad = samples[2].token.encode()
    script = Script(samples, lambda body: body[: body.index(bad)], lambda body: body[:900] if bad in body else body)
    last, there = await moved(script)
    assert (last.status, last.completed, last.failed) == (0xB000, 3, 1)
    assert last.failed_uids == (samples[2].sop,)
    assert samples[2].sop not in there.received


async def test_an_archive_that_is_gone_is_not_asked_for_each() -> None:
    script = Script(study_of(1, 20), lambda body: body[:1], lambda body: body[:1])
    last, _ = await moved(script)
    assert (last.status, last.failed) == (0xA702, 20)
    assert len(script.asked) <= 5


async def test_what_was_deleted_meanwhile_fails_and_what_came_meanwhile_is_left_out() -> None:
    script = Script(study_of(1, 3), extra=study_of(1, 1))
    gone = script.samples[1]
    script.study = lambda body: body.replace(gone.sop.encode(), b"9" * len(gone.sop))
    script.single = lambda body: b""
    last, there = await moved(script)
    assert (last.completed, last.failed, last.failed_uids) == (2, 1, (gone.sop,))
    assert len(there.commands) == 2


@pytest.mark.parametrize("junk", [b"nonsense", b"\r\n--B\r\n\r\nno file\r\n--B--\r\n"])
async def test_nonsense(junk: bytes) -> None:
    script = Script(study_of(1, 2), lambda body: junk.ljust(len(body)), lambda body: junk.ljust(len(body)))
    last, there = await moved(script)
    assert (last.status, last.failed) == (0xA702, 2)
    assert there.received == {}


async def test_after_a_large_instance_that_breaks_off_the_rest_goes_over_another_association() -> None:
    samples = [Sample(one.study, one.series, one.sop, one.token, LARGE) for one in study_of(1, 3)]
    half = len(samples[0].encode()) * 3 // 2
    script = Script(samples, lambda body: body[:half])
    last, there = await moved(script)
    assert (last.status, last.completed, last.failed) == (0, 3, 0)
    assert all(one.encode().endswith(there.received[one.sop][1]) for one in samples)
    assert there.associations == 2


async def test_a_large_instance_that_always_breaks_off_fails_alone() -> None:
    samples = [Sample(one.study, one.series, one.sop, one.token, LARGE) for one in study_of(1, 4)]
    bad, half = samples[1].token.encode(), len(samples[0].encode()) * 3 // 2
    script = Script(samples, lambda body: body[:half], lambda body: body[: half // 2] if bad in body else body)
    last, there = await moved(script)
    assert (last.status, last.completed, last.failed) == (0xB000, 3, 1)
    assert last.failed_uids == (samples[1].sop,)
    assert there.received.keys() == {one.sop for one in samples} - {samples[1].sop}
    assert there.associations == 3


async def test_large_instances_pass_whole() -> None:
    samples = [Sample(one.study, one.series, one.sop, one.token, LARGE) for one in study_of(1, 3)]
    last, there = await moved(Script(samples))
    assert last.completed == 3
    assert all(one.encode().endswith(there.received[one.sop][1]) for one in samples)
